"""Styles by optimisation: how far they go, what they keep, pictures of every kind and size."""

import numpy as np
import pytest
import torch

from framework.compositing.photograph import Photograph
from framework.data.toycars import ToyCars
from framework.errors import UserError
from framework.models.features.lite0 import load_lite0
from framework.models.features.weights import LITE0, find_weights
from framework.models.style.statistics import gram, gram_distance
from framework.style.settings import StyleNetworks, StyleSettings
from framework.style.styling import Styling

FILE = find_weights(LITE0)
needs_weights = pytest.mark.skipif(FILE is None, reason=f"no {LITE0.file}: {LITE0.install}")
SIDE = 64
CAR = ToyCars(SIDE, 4).image(3)


def stripes(height: int = SIDE, width: int = SIDE) -> np.ndarray:
    """Slanted stripes of two colours, uint8 (H, W, 3)."""
    y, x = np.mgrid[:height, :width]
    on = ((x + y) // 4 % 2)[..., None]
    return np.where(on, [230, 200, 40], [40, 20, 90]).astype(np.uint8)


class Edges(torch.nn.Module):
    """Stand-in for features: colours, slopes and their blurred halves, rectified."""

    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        outputs = []
        for _ in range(4):
            pictures = torch.nn.functional.avg_pool2d(pictures, 2, ceil_mode=True)
            across = torch.diff(pictures, dim=3, append=pictures[..., -1:])
            down = torch.diff(pictures, dim=2, append=pictures[:, :, -1:])
            outputs.append(torch.relu(torch.cat([1 + pictures, across, -across, down, -down], 1)))
        return outputs


FAST = StyleNetworks(Edges())


def styled(photo, style, networks=FAST, **settings) -> Photograph:
    settings = {"steps": 6, "work_px": SIDE, **settings}
    photo, style = (Photograph(x) if isinstance(x, np.ndarray) else x for x in (photo, style))
    styling = Styling(photo, style, StyleSettings(**settings))
    *_, last = styling.steps(networks)
    assert last.step == last.steps
    return styling.styled(last)


@pytest.fixture(scope="module")
def lite0() -> StyleNetworks:
    assert FILE is not None
    return StyleNetworks(load_lite0(FILE).rectified)


def to_float(levels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(levels.copy()).movedim(2, 0)[None].float() / 127.5 - 1


def manner_apart(a: np.ndarray, b: np.ndarray, networks: StyleNetworks) -> float:
    wanted = [gram(f) for f in networks.features(to_float(b))]
    return float(gram_distance(networks.features(to_float(a)), wanted))


def content_apart(a: np.ndarray, b: np.ndarray, networks: StyleNetworks) -> float:
    one, other = (networks.features(to_float(x))[2] for x in (a, b))
    return float((one - other).square().mean() / other.square().mean())


@needs_weights
def test_the_manner_comes_near_and_the_content_stays(lite0):
    made = styled(CAR, stripes(), lite0, steps=25).levels
    assert manner_apart(made, stripes(), lite0) < 0.6 * manner_apart(CAR, stripes(), lite0)
    kept, lost = (content_apart(x, CAR, lite0) for x in (made, stripes()))
    assert kept < 0.6 * lost


@needs_weights
def test_more_strength_is_more_of_the_manner(lite0):
    apart = [
        manner_apart(styled(CAR, stripes(), lite0, steps=8, strength=s).levels, stripes(), lite0)
        for s in (0.2, 0.5, 1.0)
    ]
    assert apart[0] > apart[1] > apart[2]


@pytest.mark.parametrize("method", ["gatys", "photo"])
def test_a_pictures_own_style_changes_nearly_nothing(method):
    made = styled(CAR, CAR, method=method).levels.astype(int)
    assert np.abs(made - CAR).mean() < 2


def crookedness(levels: np.ndarray) -> float:
    """Root mean square of the rows' strongest edge from the straight line x = 20 + y / 4, in px."""
    slopes = np.abs(np.diff(levels.astype(float).mean(axis=2), axis=1))
    return float(np.sqrt(np.mean((slopes.argmax(axis=1) + 0.5 - 20 - np.arange(SIDE) / 4) ** 2)))


def test_a_photograph_keeps_its_edges_where_gatys_bends_them():
    y, x = np.mgrid[:SIDE, :SIDE]
    halves = np.where((x > 20 + y / 4)[..., None], [70, 90, 120], [160, 150, 130]).astype(np.uint8)
    bent, straight = (
        styled(halves, stripes(), steps=30, method=method).levels for method in ("gatys", "photo")
    )
    assert crookedness(halves) < 0.4 and crookedness(straight) < 0.6
    assert crookedness(bent) > 3 * crookedness(straight)
    # It has taken on the style's colours all the same.
    goal = stripes().mean(axis=(0, 1))
    assert np.abs(straight.mean(axis=(0, 1)) - goal).mean() < 25
    assert np.abs(halves.mean(axis=(0, 1)) - goal).mean() > 2 * 25 / 2


def test_no_strength_changes_nearly_nothing():
    made = styled(CAR, stripes(), strength=0.0).levels.astype(int)
    assert np.abs(made - CAR).max() <= 1


# H31f
@pytest.mark.parametrize("style", [(8, 8), (9, 200), (130, 40)], ids=str)
@pytest.mark.parametrize("photo", [(8, 8), (12, 90), (100, 70)], ids=str)
def test_pictures_of_any_size_and_a_style_of_another(photo, style):
    content = np.random.default_rng(0).integers(0, 255, (*photo, 3), np.uint8)
    made = styled(content, stripes(*style), steps=2)
    assert made.levels.shape == content.shape and made.levels.dtype == np.uint8


# H31f
@pytest.mark.parametrize(("photo", "style"), [(0, 0), (255, 0), (128, 200)])
def test_pictures_of_one_colour_stay_finite_and_flat(photo, style):
    made = styled(np.full((20, 24, 3), photo, np.uint8), np.full((30, 9, 3), style, np.uint8))
    assert np.abs(made.levels.astype(int) - style).mean() < 12
    assert made.levels.std() < 3


# H30f
def test_depth_grey_transparency_and_facts_of_the_file_stay():
    grey = CAR.mean(axis=2).astype(np.uint16)[..., None]
    deep = Photograph(grey * 257, white=65535, profile=None, dpi=(300.0, 300.0))
    alpha = np.zeros((SIDE, SIDE, 1), np.uint8)
    alpha[8:, 8:], alpha[40:, 40:] = 255, 100
    clear = np.concatenate([CAR, alpha], axis=2)
    for photo in (deep, Photograph(clear), Photograph(clear[..., [0, 3]])):
        made = styled(photo, stripes())
        assert made.levels.shape == photo.levels.shape and made.levels.dtype == photo.levels.dtype
        assert (made.white, made.dpi) == (photo.white, photo.dpi)
        assert np.abs(made.levels - photo.levels.astype(float)).max() > 0.1 * photo.white
    assert len(np.unique(styled(deep, stripes()).levels)) > 1000  # of the depth, too
    made = styled(clear, stripes()).levels
    assert np.array_equal(made[..., 3], alpha[..., 0])
    assert np.array_equal(made[:8], clear[:8])  # what is hidden is not touched
    assert not np.array_equal(made[8:, 8:, :3], clear[8:, 8:, :3])


# H30f
def test_styles_of_every_kind_are_taken_for_colours():
    flat = stripes()[..., :1]
    kinds = [
        Photograph(flat), Photograph(flat.astype(np.uint16) * 257, white=65535),
        Photograph(np.dstack([flat, np.full_like(flat, 255)])),
    ]  # fmt: skip
    wanted = styled(CAR, np.repeat(flat, 3, axis=2)).levels
    for style in kinds:
        assert np.array_equal(styled(CAR, style).levels, wanted)


@pytest.mark.parametrize(
    "wrong",
    [{"method": "x"}, {"strength": 11}, {"strength": -0.1}, {"steps": 0}, {"work_px": 7}],
    ids=str,
)
def test_settings_that_cannot_be_are_named(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        StyleSettings(**wrong)
