"""Captions of toy cars: what they name is true, words that others test are not among them."""

from collections import Counter

from framework.data.toycars_captions import TRAITS, captions, full_caption, traits
from framework.data.toycars_parameters import draw_parameters
from framework.models.text.words import words_of

CARS = [draw_parameters(3, i) for i in range(400)]


def test_what_a_caption_names_is_the_cars_and_is_in_its_words():
    named = Counter()
    for index, p in enumerate(CARS):
        values = traits(p)
        for caption in captions(p, 3, index, 4):
            assert caption.named.items() <= values.items()
            words = words_of(caption.text)
            assert ("left" in words or "right" in words) == ("facing" in caption.named)
            for name in ("colour", "sky", "rims"):
                if name in caption.named:
                    assert all(word in words for word in caption.named[name].split())
            assert ("spoiler" in words) == ("spoiler" in caption.named)
            skies = ("sky" in caption.named) + (caption.named.get("colour") == "sky blue")
            assert words.count("sky") == skies
            named.update(caption.named.keys())
    assert set(named) == set(TRAITS)
    assert 0.8 < named["colour"] / 1600 < 1 and 0.05 < named["height"] / 1600 < 0.5


def test_captions_are_the_same_everywhere_and_vary():
    first = captions(CARS[5], 3, 5, 6)
    assert captions(CARS[5], 3, 5, 3) == first[:3] and len({c.text for c in first}) > 3
    assert captions(CARS[5], 4, 5, 3) != first[:3]


def test_the_full_caption_names_all_that_can_be_named():
    for p in CARS[:50]:
        unnamed = traits(p).items() - full_caption(p).named.items()
        assert {value for _, value in unnamed} <= {"medium", "none", "no", "plain"}


def test_every_value_is_one_of_its_trait():
    for p in CARS:
        assert all(value in TRAITS[name] for name, value in traits(p).items())
    wheels = Counter(traits(p)["wheels"] for p in CARS)
    assert 0.15 < wheels["big"] / 400 < 0.35 and 0.15 < wheels["small"] / 400 < 0.35


def test_paraphrases_that_are_measured_are_never_learned():
    words = {
        word for i, p in enumerate(CARS) for c in captions(p, 3, i, 8) for word in words_of(c.text)
    }
    assert not words & {"auto", "automobile", "vehicle", "crimson", "scarlet", "azure"}
    assert {"red", "car", "sky"} <= words
