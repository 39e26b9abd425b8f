"""Colours in words: drawn patches of known colours, borders between words, things on grounds."""

import numpy as np
import pytest

from framework.data.colours import PLAIN, WORDS, Seen, named, oklab, seen, shade

# CSS's names of colours, and what anybody calls them.
PATCHES = {
    (0, 0, 0): "black", (40, 40, 40): "black", (105, 105, 105): "grey", (128, 128, 128): "grey",
    (192, 192, 192): "grey", (245, 245, 245): "white", (255, 255, 255): "white",
    (255, 0, 0): "red", (139, 0, 0): "red", (178, 34, 34): "red", (128, 0, 32): "red",
    (255, 165, 0): "orange", (255, 140, 0): "orange", (255, 127, 80): "orange",
    (139, 69, 19): "brown", (160, 82, 45): "brown", (210, 180, 140): "brown",
    (255, 255, 0): "yellow", (255, 215, 0): "yellow", (240, 230, 140): "yellow",
    (0, 128, 0): "green", (0, 255, 0): "green", (128, 128, 0): "green", (144, 238, 144): "green",
    (0, 0, 255): "blue", (0, 0, 128): "blue", (135, 206, 235): "blue", (0, 255, 255): "blue",
    (70, 130, 180): "blue", (128, 0, 128): "purple", (138, 43, 226): "purple",
    (221, 160, 221): "purple", (255, 192, 203): "pink", (255, 105, 180): "pink",
    (255, 20, 147): "pink", (240, 128, 128): "pink",
}  # fmt: skip
SHADED = {
    (139, 0, 0): "dark", (0, 0, 128): "dark", (0, 80, 0): "dark", (60, 30, 10): "dark",
    (90, 90, 90): "dark", (173, 216, 230): "pale", (255, 182, 193): "pale", (200, 200, 200): "pale",
    (240, 230, 140): "pale", (255, 0, 0): PLAIN, (0, 0, 255): PLAIN, (255, 255, 0): PLAIN,
    (128, 128, 128): PLAIN, (0, 0, 0): PLAIN, (255, 255, 255): PLAIN,
}  # fmt: skip


def word_of(colour) -> str:
    return str(named(oklab(np.array(colour, np.uint8))))


def picture(ground, thing, size: int = 64) -> np.ndarray:
    """A disc of a colour in the middle half of a ground."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size - 0.5
    disc = np.hypot(y, x)[..., None] < 0.3
    return np.where(disc, np.uint8(thing), np.uint8(ground))


def test_oklab_is_the_published_one():
    """White has no colour; the primaries are where CSS Color 4 has them."""
    assert np.allclose(oklab(np.uint8([255, 255, 255])), (1, 0, 0), atol=1e-3)
    red, green, blue = oklab(np.uint8([[255, 0, 0], [0, 255, 0], [0, 0, 255]]))
    assert np.allclose(red, (0.628, 0.225, 0.126), atol=1e-3)
    assert np.allclose(green, (0.866, -0.234, 0.179), atol=1e-3)
    assert np.allclose(blue, (0.452, -0.032, -0.312), atol=1e-3)


def test_patches_have_their_words():
    assert {colour: word_of(colour) for colour in PATCHES} == PATCHES


def test_every_word_is_tested_and_every_colour_has_one():
    assert set(PATCHES.values()) == set(WORDS)
    every = np.stack(np.meshgrid(*[np.arange(0, 256, 15)] * 3), axis=-1).astype(np.uint8)
    assert set(np.unique(named(oklab(every)))) == set(WORDS)


def test_patches_have_their_shades():
    assert {c: shade(word_of(c), oklab(np.uint8(c))) for c in SHADED} == SHADED


def test_greys_go_from_black_to_white_once():
    words = [word_of((level, level, level)) for level in range(256)]
    changes = [(level, words[level]) for level in range(1, 256) if words[level] != words[level - 1]]
    assert words[0] == "black" and [word for _, word in changes] == ["grey", "white"]
    (dark, _), (light, _) = changes
    assert 60 < dark < 80 and 195 < light < 215


def test_hues_go_round_once_and_meet_at_their_borders():
    """At one lightness and chroma in OKLab, all colours of the circle lie between two words."""
    angle = np.radians(np.arange(720) / 2)
    circle = np.stack([np.full(720, 0.7), 0.12 * np.cos(angle), 0.12 * np.sin(angle)], axis=-1)
    words = named(circle)
    borders = {(str(words[i - 1]), str(words[i])): i / 2 for i in range(720)
               if words[i] != words[i - 1]}  # fmt: skip
    assert list(borders) == [
        ("pink", "red"), ("red", "orange"), ("orange", "yellow"), ("yellow", "green"),
        ("green", "blue"), ("blue", "purple"), ("purple", "pink"),
    ]  # fmt: skip
    assert borders["green", "blue"] == 190 and borders["red", "orange"] == 37


@pytest.mark.parametrize("thing", [(200, 20, 20), (20, 40, 160), (250, 250, 250), (20, 20, 20),
                                   (60, 160, 60), (250, 220, 20)])  # fmt: skip
@pytest.mark.parametrize("ground", [(128, 128, 128), (60, 110, 50), (235, 235, 235), (30, 30, 30)])
def test_a_thing_and_its_ground_are_told_apart(thing, ground):
    view = seen(picture(ground, thing))
    assert (view.colour, view.background) == (word_of(thing), word_of(ground))
    assert view.shade == shade(view.colour, oklab(np.uint8(thing)))


def test_a_thing_of_the_colour_of_its_ground_is_of_that_colour():
    assert seen(picture((128, 128, 128), (128, 128, 128))) == Seen(
        "grey", PLAIN, "grey", PLAIN, pytest.approx(0.6, abs=0.01)
    )


def test_glass_and_shadow_do_not_count():
    """Half of a red thing is nearly black; a tenth that is white is its gloss."""
    pixels = picture((120, 120, 120), (190, 30, 30))
    pixels[34:] = np.where(pixels[34:] == np.uint8((190, 30, 30)), np.uint8(25), pixels[34:])
    pixels[14:18, 28:36] = 255
    assert seen(pixels).colour == "red"


def test_tinted_light_on_a_grey_ground_is_taken_away():
    """A dull red under a greenish light is grey by its numbers, and red beside its ground."""
    pixels = picture((128, 139, 131), (92, 79, 82))
    assert seen(pixels).colour == "red" and word_of((92, 79, 82)) == "grey"
    grey = picture((128, 139, 131), (82, 89, 84))  # the same light on grey
    assert word_of((82, 89, 84)) == "grey" == seen(grey).colour
    green = picture((90, 130, 90), (128, 128, 128))  # a lawn is no grey ground
    assert seen(green)[0] == "grey" and seen(green)[2] == "green"


def test_lightness_is_of_the_whole_picture():
    black, white = (seen(np.full((16, 16, 3), level, np.uint8)) for level in (0, 255))
    assert (black.lightness, white.lightness) == pytest.approx((0, 1), abs=1e-6)


@pytest.mark.parametrize("size", [(8, 8), (8, 40), (100, 64)])
def test_any_shape_is_read(size):
    assert seen(np.full((*size, 3), (0, 0, 200), np.uint8)).colour == "blue"
