"""Each change of ADA alone, against naive versions with numpy and scipy."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from framework.errors import UserError
from framework.training.stylegan2.ada.changes import CHANGES, Source
from framework.training.stylegan2.ada.color import Color, ColorDraw
from framework.training.stylegan2.ada.corruption import (
    BAND_POWER,
    SYM2,
    Cutout,
    CutoutDraw,
    Filter,
    Noise,
    band_filters,
)
from framework.training.stylegan2.ada.geometry import Geometry, GeometryDraw
from framework.training.stylegan2.ada.lines import Lines, bands, fold
from framework.training.stylegan2.ada.warp import SYM6, Warp

ALL = dict.fromkeys(CHANGES, 1.0)
BLITS = {"xflip": 1.0, "rotate90": 1.0, "xint": 1.0}


def source(count, p=1.0, seed=0):
    return Source(count, torch.tensor(p), torch.Generator().manual_seed(seed))


def still(count, **changes):
    """A draw that changes nothing but what is given."""
    one, zero = torch.ones(count), torch.zeros(count)
    neutral = GeometryDraw(
        mirror=one,
        turns=zero.long(),
        shift_px=torch.zeros(count, 2),
        scale=one,
        pre=zero,
        aniso=one,
        post=zero,
        move_px=torch.zeros(count, 2),
        warps=torch.ones(count, dtype=torch.bool),
    )
    return neutral._replace(**{name: torch.as_tensor(value) for name, value in changes.items()})


def smooth(count, height, width):
    noise = np.random.default_rng(0).standard_normal((count, 3, height, width))
    return ndimage.gaussian_filter(noise, (0, 0, 2.5, 2.5)).astype(np.float32) * 5


# ------------------------------------------------------------------------------ pixel blits


def test_flips_and_quarter_turns_move_whole_pixels():
    images = torch.randn(8, 3, 9, 9)
    mirror = torch.tensor([1.0, -1.0]).repeat(4)
    turns = torch.arange(4).repeat_interleave(2)
    moved = Geometry((9, 9), BLITS)(images, still(8, mirror=mirror, turns=turns))
    for n in range(8):
        flipped = images[n].flip(2) if n % 2 else images[n]
        assert torch.equal(moved[n], torch.rot90(flipped, -(n // 2), (1, 2)))


def test_integer_translation_reflects():
    images = torch.randn(3, 2, 6, 8)
    shift = torch.tensor([[2.0, -1.0], [-3.0, 2.0], [0.0, 0.0]])
    moved = Geometry((6, 8), BLITS)(images, still(3, shift_px=shift))
    for n, (dx, dy) in enumerate(shift.int().tolist()):
        padded = np.pad(images[n].numpy(), ((0, 0), (4, 4), (4, 4)), mode="reflect")
        expected = padded[:, 4 - dy : 10 - dy, 4 - dx : 12 - dx]
        assert np.array_equal(moved[n].numpy(), expected)


def test_blits_stay_exact_beside_geometry():
    """Where only whole pixels move, nothing is interpolated, whatever else could have acted."""
    images = torch.from_numpy(smooth(4, 24, 24))
    warps = torch.tensor([False, False, True, True])
    draw = still(4, mirror=-torch.ones(4), turns=torch.arange(4), warps=warps)
    both, alone = Geometry((24, 24), ALL)(images, draw), Geometry((24, 24), BLITS)(images, draw)
    assert torch.equal(both[:2], alone[:2])
    assert not torch.equal(both[2:], alone[2:])
    # A mirrored filter is not quite its own inverse: the outermost pixels show it.
    torch.testing.assert_close(both, alone, atol=0.05, rtol=0)


def test_quarter_turns_are_for_squares():
    assert (Geometry((8, 8), ALL).draw(source(100)).turns > 0).any()
    assert (Geometry((8, 10), ALL).draw(source(100)).turns == 0).all()


def test_fold_is_a_reflected_border():
    line = np.arange(5)
    shown = np.pad(line, 14, mode="reflect")
    assert np.array_equal(fold(torch.arange(-14, 19), 4).numpy(), shown)


# --------------------------------------------------------------------------- general geometry


def forward_matrix(draw, n):
    """What a draw does to (x, y, 1) from the centre, step by step in the paper's order."""

    def turn(angle):
        c, s = math.cos(angle), math.sin(angle)
        return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])

    def shift(xy):
        return np.array([[1, 0, xy[0]], [0, 1, xy[1]], [0, 0, 1]])

    value = {name: getattr(draw, name)[n].numpy() for name in draw._fields}
    steps = [
        np.diag([value["mirror"], 1, 1]),
        turn(value["turns"] * math.pi / 2),
        shift(value["shift_px"]),
        np.diag([value["scale"], value["scale"], 1]),
        turn(value["pre"]),
        np.diag([value["aniso"], 1 / value["aniso"], 1]),
        turn(value["post"]),
        shift(value["move_px"]),
    ]
    total = np.eye(3)
    for step in steps:
        total = step @ total
    return total


def naive_warp(image, draw, n):
    """Cubic splines at the undone positions; scipy counts (row, column) from the corner."""
    height, width = image.shape[1:]
    back = np.linalg.inv(forward_matrix(draw, n))
    matrix = back[:2, :2][::-1, ::-1]
    centre = np.array([height - 1, width - 1]) / 2
    offset = centre + back[:2, 2][::-1] - matrix @ centre
    return np.stack(
        [ndimage.affine_transform(c, matrix, offset, order=3, mode="mirror") for c in image]
    )


@pytest.mark.parametrize("size", [(32, 32), (24, 35)])
@pytest.mark.parametrize(
    "changes",
    [
        {"scale": [0.7, 1.5]},
        {"pre": [0.4, -2.5]},
        {"aniso": [0.8, 1.3]},
        {"post": [1.0, 3.0]},
        {"move_px": [[3.3, -1.6], [-7.25, 0.5]]},
        {
            "mirror": [-1.0, 1.0],
            "turns": [1, 3],
            "shift_px": [[2.0, 3.0], [-1.0, 0.0]],
            "scale": [0.8, 1.2],
            "pre": [0.5, 1.0],
            "aniso": [1.2, 0.9],
            "post": [-0.3, 2.0],
            "move_px": [[1.5, -2.2], [4.1, 0.3]],
        },
    ],
    ids=lambda changes: "+".join(changes),
)
def test_geometry_is_the_affine_map(size, changes):
    images, draw = smooth(2, *size), still(2, **changes)
    warped = Geometry(size, ALL)(torch.from_numpy(images), draw).numpy()
    for n in range(2):
        error = np.abs(warped[n] - naive_warp(images[n], draw, n))
        assert error.mean() < 0.015 * images.std()  # a twentieth of a pixel off would be more
        assert error.max() < 0.15 * images.std()  # bilinear reading at the doubled resolution


@pytest.mark.parametrize("size", [(4, 4), (16, 16), (13, 22), (200, 11)])
def test_a_warp_that_stays_gives_the_picture_back(size):
    """The low-pass is orthonormal, so even white noise survives, to the outermost pixel."""
    images = torch.randn(2, 3, *size)
    stays = Warp(size)(images, torch.eye(2).expand(2, 2, 2), torch.zeros(2, 2))
    torch.testing.assert_close(stays, images, atol=1e-3, rtol=0)


@pytest.mark.parametrize(("taps", "moments"), [(SYM6, 6), (SYM2, 2)])
def test_wavelets_by_their_definition(taps, moments):
    """Orthonormal shifts by two, a mean of sqrt 2, and the vanishing moments in the name."""
    taps, n = np.array(taps), len(taps)
    for lag in range(0, n, 2):
        assert np.dot(taps[lag:], taps[: n - lag]) == pytest.approx(float(lag == 0), abs=1e-11)
    assert taps.sum() == pytest.approx(math.sqrt(2))
    index = np.arange(n) - n / 2
    for moment in range(moments):
        assert np.sum((-1.0) ** np.arange(n) * index**moment * taps) == pytest.approx(0, abs=1e-7)


def test_the_symlet_is_the_nearly_symmetric_one():
    centre = np.dot(np.arange(12), SYM6) / np.sum(SYM6)
    assert abs(centre - 5.5) < 0.5  # 1.4 for the extremal-phase filter with the same moments


def test_lines_are_dense_products_and_blocks_leave_nothing_out():
    rows, cols = (torch.randn(n, m).tril(9).triu(-400) for n, m in ((500, 300), (7, 5)))
    x = torch.randn(2, 3, 300, 5)
    torch.testing.assert_close(Lines(rows, cols)(x), rows @ x @ cols.mT, atol=1e-3, rtol=1e-4)
    for matrix, blocks in ((rows, bands(rows).blocks), (rows.T, bands(rows).transposed)):
        kept = torch.zeros_like(matrix)
        for a, b, c, d in blocks:
            kept[a:b, c:d] = matrix[a:b, c:d]
        assert len(blocks) > 1 and torch.equal(kept, matrix)


# ------------------------------------------------------------------------------------- colour

HUES = [0.7, -2.0, math.pi]


def color_draw(count=3, **changes):
    neutral = {"brightness": 0.0, "contrast": 1.0, "luma": 1.0, "hue": 0.0, "saturation": 1.0}
    values = {name: torch.full((count,), value) for name, value in neutral.items()}
    return ColorDraw(**values | {name: torch.tensor(value) for name, value in changes.items()})


def naive_colors(pixel, draw, n):
    """Homogeneous matrices one after the other, as the appendix lists them."""
    brightness, contrast, luma, hue, saturation = (float(value[n]) for value in draw)
    axis = np.ones(3) / math.sqrt(3)
    onto = np.outer(axis, axis)
    cross = np.cross(np.eye(3), axis)  # rows e_i x v, so that cross @ u is v x u
    pixel = pixel + brightness
    pixel = contrast * pixel
    pixel = pixel - (1 - luma) * onto @ pixel
    pixel = pixel + math.sin(hue) * cross @ pixel + (1 - math.cos(hue)) * cross @ cross @ pixel
    return (onto + saturation * (np.eye(3) - onto)) @ pixel


@pytest.mark.parametrize(
    "changes",
    [
        {"brightness": [0.3, -0.2, 0.0]},
        {"contrast": [0.5, 1.7, 1.0]},
        {"luma": [-1.0, 1.0, -1.0]},
        {"hue": HUES},
        {"saturation": [0.2, 2.5, 1.0]},
        {
            "brightness": [0.3, -0.2, 0.1],
            "contrast": [0.5, 1.7, 1.1],
            "luma": [-1.0, 1.0, -1.0],
            "hue": HUES,
            "saturation": [0.2, 2.5, 1.4],
        },
    ],
    ids=lambda changes: "+".join(changes),
)
def test_colours_by_hand(changes):
    images, draw = torch.rand(3, 4, 2, 3) * 2 - 1, color_draw(**changes)
    rgb = Color(3, ALL)(images[:, :3], draw)
    for n, y, x in np.ndindex(3, 2, 3):
        expected = naive_colors(images[n, :3, y, x].numpy().astype(float), draw, n)
        np.testing.assert_allclose(rgb[n, :, y, x], expected, atol=2e-6)
    rgba = Color(4, ALL)(images, draw)
    assert torch.equal(rgba[:, 3], images[:, 3])
    torch.testing.assert_close(rgba[:, :3], rgb)


def test_a_turn_by_a_third_changes_the_channels_around():
    red = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    green = Color(3, ALL)(red, color_draw(1, hue=[2 * math.pi / 3]))
    torch.testing.assert_close(green, red.roll(1, 1), atol=1e-6, rtol=0)


def test_grey_pictures_change_as_a_grey_colour_does():
    grey = torch.rand(3, 1, 4, 4) * 2 - 1
    draw = Color(3, ALL).draw(source(3))
    changed, colored = Color(1, ALL)(grey, draw), Color(3, ALL)(grey.expand(3, 3, 4, 4), draw)
    torch.testing.assert_close(changed.expand(3, 3, 4, 4), colored, atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [2, 6])
def test_colour_of_other_channels_is_refused(channels):
    with pytest.raises(UserError, match=f"1, 3 or 4 channels, not {channels}"):
        Color(channels, ALL)


# ------------------------------------------------------------------------- filter and corruption


def test_the_bands_share_the_spectrum_as_the_wavelet_does():
    """Their spectra: products of the wavelet's energy at one, two and four times the frequency."""
    frequency = np.linspace(0, np.pi, 65)

    def low(angle):
        return np.abs(np.exp(-1j * np.outer(angle, np.arange(4))) @ SYM2) ** 2 / 2

    one, two, four = low(frequency), low(2 * frequency), low(4 * frequency)
    expected = [one * two * four, one * two * (1 - four), one * (1 - two), 1 - one]
    filters = band_filters().numpy()
    reach = filters.shape[1] // 2
    spectra = filters @ np.cos(np.outer(np.arange(-reach, reach + 1), frequency))
    np.testing.assert_allclose(spectra, expected, atol=1e-10)
    # Each keeps the middle of its octave and loses the others'.
    middles = [2, 12, 24, 52]  # of 64 steps to pi; the octaves end at 8, 16, 32 and 64
    np.testing.assert_allclose(spectra[:, middles], np.eye(4), atol=0.3)


@pytest.mark.parametrize("size", [(64, 64), (20, 33)])
def test_filter_is_the_same_line_filter_along_both_axes(size):
    gains = torch.tensor([[1.0, 0.0, 2.0, 0.5], [0.3, 1.0, 1.0, 4.0]])
    images = torch.randn(2, 3, *size)
    filtered = Filter(size, 1.0)(images, gains).numpy()
    for n in range(2):
        taps = gains[n].double().numpy() @ band_filters().numpy()
        expected = images[n].double().numpy()
        for axis in (1, 2):
            expected = ndimage.correlate1d(expected, taps, axis, mode="mirror")
        np.testing.assert_allclose(filtered[n], expected, atol=2e-5)


def test_gains_of_one_change_no_bit():
    images = torch.randn(2, 3, 16, 24)
    assert torch.equal(Filter((16, 24), 1.0)(images, torch.ones(2, 4)), images)


def test_a_louder_band_takes_its_power_from_the_others(monkeypatch):
    """One band alone changes the expected power of a natural picture by nothing."""
    acts = iter([False, True, False, False])
    monkeypatch.setattr(Source, "acts", lambda self, p: torch.full((self.count,), next(acts)))
    gains = Filter((8, 8), 1.0).draw(source(50))
    power = (gains.square() * torch.tensor(BAND_POWER)).sum(1)
    torch.testing.assert_close(power, torch.ones(50))
    assert torch.equal(gains[:, 0], gains[:, 2]) and torch.equal(gains[:, 0], gains[:, 3])
    ratio = (gains[:, 1] / gains[:, 0]).log2()
    assert 0.6 < float(ratio.std()) < 1.4 and abs(float(ratio.mean())) < 0.6


def test_noise_has_the_drawn_strength():
    noise = Noise((3, 32, 32), 1.0)
    draw = noise.draw(source(2000))
    assert float(draw.sigma.square().mean().sqrt()) == pytest.approx(0.1, rel=0.08)
    assert (draw.sigma >= 0).all()
    added = noise(torch.zeros(2000, 3, 32, 32), draw)
    torch.testing.assert_close(added.std(dim=(1, 2, 3)), draw.sigma, rtol=0.08, atol=1e-4)
    assert abs(float(added.mean())) < 1e-3
    assert abs(float((added[:, 0] * added[:, 1]).mean())) < 1e-4  # channels on their own


def test_cutout_by_loop():
    images = torch.rand(3, 2, 10, 7) + 1
    acts = torch.tensor([True, True, False])
    x, y = torch.tensor([0.5, 0.05, 0.5]), torch.tensor([0.4, 0.9, 0.5])
    cut = Cutout((10, 7), 1.0)(images, CutoutDraw(acts, x, y))
    expected = images.clone()
    for n, i, j in np.ndindex(3, 10, 7):
        if acts[n] and abs((j + 0.5) / 7 - x[n]) < 0.25 and abs((i + 0.5) / 10 - y[n]) < 0.25:
            expected[n, :, i, j] = 0
    assert torch.equal(cut, expected)
    assert (cut[0] == 0).sum() == 2 * 5 * 3 and torch.equal(cut[2], images[2])


# ------------------------------------------------------------------------------ distributions

COUNT = 20_000


def about(share, measured):
    """Within five standard deviations of a binomial share."""
    return abs(measured - share) < 5 * math.sqrt(share * (1 - share) / COUNT)


def acting(p):
    """How often each change was drawn."""
    moved = Geometry((64, 64), ALL).draw(source(COUNT, p))
    colors = Color(3, ALL).draw(source(COUNT, p, 1))
    gains = Filter((8, 8), 1.0).draw(source(COUNT, p, 2))
    noise = Noise((1, 1, 1), 1.0).draw(source(COUNT, p, 3))
    cutout = Cutout((8, 8), 1.0).draw(source(COUNT, p, 4))
    zero = 1 - (1 / 16) ** 2  # shares of the whole-pixel shifts of 64 px that are not (0, 0)
    return (
        {
            "xflip": (moved.mirror < 0, 1 / 2),
            "rotate90": (moved.turns > 0, 3 / 4),
            "xint": ((moved.shift_px != 0).any(1), zero),
            "scale": (moved.scale != 1, 1),
            "rotate": ((moved.pre != 0) | (moved.post != 0), 1),
            "aniso": (moved.aniso != 1, 1),
            "xfrac": ((moved.move_px != 0).all(1), 1),
            "brightness": (colors.brightness != 0, 1),
            "contrast": (colors.contrast != 1, 1),
            "lumaflip": (colors.luma < 0, 1 / 2),
            "hue": (colors.hue != 0, 1),
            "saturation": (colors.saturation != 1, 1),
            "noise": (noise.sigma > 0, 1),
            "cutout": (cutout.acts, 1),
        },
        (gains != 1).any(1),
        moved,
    )


def test_each_change_acts_with_its_probability():
    p = 0.3
    drawn, filtered, moved = acting(p)
    for name, (acts, share) in drawn.items():
        assert about(p * share, float(acts.float().mean())), name
    assert about(1 - (1 - p) ** 4, float(filtered.float().mean()))
    assert about(1 - (1 - p) ** 4, float(moved.warps.float().mean()))
    # Rotations before and after are drawn on their own, scales and moves are, too.
    both = ((moved.pre != 0) & (moved.post != 0)).float().mean()
    assert about((1 - math.sqrt(1 - p)) ** 2, float(both))
    assert about(p * p, float(((moved.scale != 1) & (moved.aniso != 1)).float().mean()))


def test_draws_are_distributed_as_published():
    moved = Geometry((64, 32), ALL).draw(source(COUNT))
    colors = Color(3, ALL).draw(source(COUNT))

    def std(values):
        return float(values.std())

    assert std(moved.scale.log2()) == pytest.approx(0.2, rel=0.03)
    assert std(moved.aniso.log2()) == pytest.approx(0.2, rel=0.03)
    assert std(moved.move_px[:, 0]) == pytest.approx(32 / 8, rel=0.03)
    assert std(moved.move_px[:, 1]) == pytest.approx(64 / 8, rel=0.03)
    assert set(moved.shift_px[:, 0].tolist()) == set(range(-4, 5))
    assert set(moved.shift_px[:, 1].tolist()) == set(range(-8, 9))
    for angle in (moved.pre, moved.post, colors.hue):
        assert std(angle) == pytest.approx(2 * math.pi / math.sqrt(12), rel=0.03)
        assert float(angle.abs().max()) <= math.pi
    assert std(colors.brightness) == pytest.approx(0.2, rel=0.03)
    assert std(colors.contrast.log2()) == pytest.approx(0.5, rel=0.03)
    assert std(colors.saturation.log2()) == pytest.approx(1.0, rel=0.03)


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda m: Geometry((8, 8), {"scale": m}), lambda draw: draw.scale != 1),
        (lambda m: Color(3, {"hue": m}), lambda draw: draw.hue != 0),
        (lambda m: Noise((1, 1, 1), m), lambda draw: draw.sigma > 0),
        (lambda m: Cutout((8, 8), m), lambda draw: draw.acts),
    ],
    ids=["scale", "hue", "noise", "cutout"],
)
def test_a_multiplier_scales_the_probability(build, field):
    stage: nn.Module = build(0.5)
    assert about(0.2, float(field(stage.draw(source(COUNT, 0.4))).float().mean()))
