"""Holes are filled with what the rest of the photograph has, and the rest stays as it was."""

import numpy as np
import pytest
import torch

from framework.compositing.copies import TURNS, Copies
from framework.compositing.fill_registry import fill_methods
from framework.compositing.filling import Filling, FillSettings
from framework.compositing.patch_field import PatchField, depths, touching
from framework.compositing.photograph import Photograph
from framework.compositing.poisson import screened
from framework.errors import UserError

Y, X = np.mgrid[:48, :56]
STRIPES = (60 + 120 * (X // 4 % 2)).astype(np.uint8)[..., None]
COLOURS = np.concatenate([STRIPES, STRIPES // 2, 255 - STRIPES], axis=2)


def hole(*box: int, size=(48, 56)) -> np.ndarray:
    mask = np.zeros(size, np.float32)
    left, top, right, bottom = box
    mask[top:bottom, left:right] = 1
    return mask


MIDDLE = hole(20, 16, 36, 30)


def filled(levels: np.ndarray, mask: np.ndarray, white=255, **settings) -> np.ndarray:
    filling = Filling(Photograph(levels, white), mask)
    steps = list(filling.steps(FillSettings(**settings)))
    numbers = [step.step for step in steps]
    assert numbers == sorted(set(numbers)) and numbers[-1] == steps[-1].steps
    return filling.filled(steps[-1]).levels


@pytest.mark.parametrize("method", fill_methods())
def test_the_rest_keeps_every_bit_and_the_hole_comes_from_the_rest(method):
    spoiled = np.where(MIDDLE[..., None] > 0, np.uint8(255), COLOURS)
    result = filled(spoiled, MIDDLE, method=method)
    assert result.dtype == np.uint8
    outside = MIDDLE == 0
    assert np.array_equal(result[outside], COLOURS[outside])
    inside = result[~outside].astype(int)
    assert (inside.min(axis=0) >= COLOURS.min(axis=(0, 1)) - 1).all()
    assert (inside.max(axis=0) <= COLOURS.max(axis=(0, 1)) + 1).all()


def test_patches_continue_what_repeats():
    result = filled(np.where(MIDDLE[..., None] > 0, np.uint8(0), COLOURS), MIDDLE)
    assert np.abs(result.astype(int) - COLOURS).mean() < 1


@pytest.mark.parametrize("method", fill_methods())
def test_what_was_in_the_hole_does_not_matter_and_the_seed_decides(method):
    noise = np.random.default_rng(0).integers(0, 256, COLOURS.shape, np.uint8)
    first, second = (
        filled(np.where(MIDDLE[..., None] > 0, content, COLOURS), MIDDLE, method=method)
        for content in (np.uint8(0), noise)
    )
    assert np.array_equal(first, second)


# H21f
@pytest.mark.parametrize("method", fill_methods())
@pytest.mark.parametrize(
    "mask",
    [
        1 - hole(10, 10, 40, 40),  # touches every border
        hole(0, 0, 56, 6) + hole(0, 42, 56, 48) + hole(0, 6, 6, 42) + hole(50, 6, 56, 42),
        1 - hole(20, 20, 24, 24),  # less is known than a patch
        (np.add(*np.mgrid[:48, :56]) % 3 > 0).astype(np.float32),  # no patch is known
    ],
    ids=["all but the middle", "frame", "almost everything", "dots"],
)
def test_holes_at_every_border_and_of_almost_everything_are_filled(method, mask):
    result = filled(COLOURS, mask, method=method)
    inside = result[mask > 0].astype(int)
    assert (inside >= COLOURS.min(axis=(0, 1)) - 1).all()
    assert (inside <= COLOURS.max(axis=(0, 1)) + 1).all()
    assert np.array_equal(result[mask == 0], COLOURS[mask == 0])


# H20f
@pytest.mark.parametrize(
    ("mask", "complaint"),
    [
        (np.zeros((48, 56)), "empty: paint white"),
        (np.ones((48, 56)), "covers everything"),
        (np.ones((56, 48)), "48x56 px, the photograph 56x48"),
    ],
)
def test_a_mask_of_nothing_everything_or_another_size_is_refused(mask, complaint):
    with pytest.raises(UserError, match=complaint):
        Filling(Photograph(COLOURS), mask)


# H22f
@pytest.mark.parametrize("method", fill_methods())
@pytest.mark.parametrize("size", [(1, 9), (3, 4), (8, 5)])
def test_pictures_smaller_than_a_patch_are_filled(method, size):
    levels = np.full((*size, 3), 90, np.uint8)
    mask = hole(0, 0, 2, 1, size=size)
    assert (filled(levels, mask, method=method, patch_px=9) == 90).all()


# H23f
@pytest.mark.parametrize("method", fill_methods())
def test_grey_sixteen_bits_and_transparency_come_back_in_kind(method):
    assert filled(STRIPES, MIDDLE, method=method).shape == STRIPES.shape
    deep = STRIPES.astype(np.uint16) * 257
    result = filled(deep, MIDDLE, white=65535, method=method)
    assert result.dtype == np.uint16 and np.array_equal(result[MIDDLE == 0], deep[MIDDLE == 0])
    assert result.max() <= deep.max() + 257
    see_through = np.concatenate([COLOURS, np.full_like(STRIPES, 100)], axis=2)
    see_through[..., :3][Y > 40] = 7  # colour that nobody sees
    see_through[..., 3][Y > 40] = 0
    result = filled(see_through, MIDDLE, method=method)
    assert np.array_equal(result[MIDDLE == 0], see_through[MIDDLE == 0])
    assert set(np.unique(result[MIDDLE > 0][:, 3] // 3)) <= set(range(35))
    assert np.abs(result[17, 24, :3].astype(int) - COLOURS[17, 24]).max() < 140


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"method": "magic"}, "method"), ({"patch_px": 4}, "patch_px"), ({"patch_px": 99}, "patch_px"),
     ({"seed": -1}, "seed")],
)  # fmt: skip
def test_settings_are_checked(settings, name):
    with pytest.raises(UserError, match=name):
        FillSettings(**settings)


def test_touching_patches_and_depths_are_what_a_loop_says():
    mask = torch.from_numpy(hole(3, 2, 9, 7, size=(12, 14)) > 0)
    naive = [[bool(mask[y : y + 3, x : x + 3].any()) for x in range(12)] for y in range(10)]
    assert touching(mask, 3).tolist() == naive
    inside = mask.nonzero().tolist()
    outside = (~mask).nonzero()
    naive_depths = {
        (y, x): int((outside - torch.tensor([y, x])).abs().max(dim=1).values.min())
        for y, x in inside
    }
    steps = depths(mask)
    assert {(y, x): int(steps[y, x]) for y, x in inside} == naive_depths
    assert not steps[~mask].any()
    assert depths(mask, most=2).max() == 2


def test_a_field_that_is_carried_to_a_finer_size_keeps_its_moves():
    active, allowed = torch.ones(10, 12) > 0, torch.ones(10, 12) > 0
    own = torch.stack(torch.meshgrid(torch.arange(10), torch.arange(12), indexing="ij"), 2)
    field = PatchField((own + 1).clamp(max=9).int(), torch.zeros(10, 12), active, allowed, 3)
    finer = field.finer(torch.ones(22, 26) > 0, torch.ones(22, 26) > 0)
    assert finer.neighbours[5, 6].tolist() == [7, 8]
    assert finer.neighbours.amin() >= 0 and finer.neighbours[..., 0].amax() <= 21


def test_votes_are_the_mean_of_what_neighbours_show():
    source = torch.rand(8, 9, 2, generator=torch.Generator().manual_seed(0))
    active = torch.zeros(6, 7, dtype=torch.bool)
    active[1:4, 2:5] = True
    field = PatchField.random(active, torch.ones(6, 7) > 0, 3)
    weights = torch.rand(6, 7, generator=torch.Generator().manual_seed(1))
    sums, total = field.votes(source, weights, (8, 9))
    naive, count = torch.zeros(8, 9, 2), torch.zeros(8, 9)
    for y, x in active.nonzero().tolist():
        v, u = field.neighbours[y, x].tolist()
        naive[y : y + 3, x : x + 3] += weights[y, x] * source[v : v + 3, u : u + 3]
        count[y : y + 3, x : x + 3] += weights[y, x]
    torch.testing.assert_close(sums, naive.reshape(72, 2))
    torch.testing.assert_close(total[:, 0], count.flatten())


# ------------------------------------------------------------------------------------- melding


def error(truth: np.ndarray, mask: np.ndarray, method: str) -> float:
    """Mean absolute error in a hole that was filled."""
    result = filled(np.where(mask[..., None] > 0, np.uint8(0), truth), mask, method=method)
    return float(np.abs(result.astype(float) - truth)[mask > 0].mean())


def grain(height: int, width: int) -> np.ndarray:
    """Blurred noise, which nowhere repeats."""
    noise = torch.randn(1, 1, height, width, generator=torch.Generator().manual_seed(5))
    soft = torch.nn.functional.avg_pool2d(noise, 5, 1, 2)[0, 0].numpy()
    return np.repeat((127 + 250 * soft).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize(
    "turned", [np.fliplr, lambda x: np.rot90(x, 3)], ids=["mirrored", "turned"]
)
def test_melding_finds_what_is_there_mirrored_or_turned(turned):
    half = grain(40, 40)
    truth = np.concatenate([half, turned(half)], axis=1)
    mask = hole(54, 14, 66, 26, size=(40, 80))
    assert error(truth, mask, "meld") < 0.5 * error(truth, mask, "criminisi")


def test_melding_takes_a_pattern_into_a_light_that_is_nowhere_else():
    y, x = np.mgrid[:64, :64]
    light = 1 - np.hypot(y - 32, x - 32) / 50  # brightest in the hole
    levels = 60 + 120 * light + 30 * ((x // 4 + y // 4) % 2)
    truth = np.repeat(levels.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    mask = hole(24, 24, 40, 40, size=(64, 64))
    assert error(truth, mask, "meld") < 0.5 * error(truth, mask, "patches")


def test_a_screened_poisson_equation_is_the_least_squares_of_colours_and_slopes():
    rng = np.random.default_rng(0)
    mask = rng.random((5, 6)) < 0.4
    mask[0, 0], mask[4, 5] = True, False
    colours, down, across, picture = rng.normal(size=(4, 5, 6, 2))
    solved = screened(colours, (down, across), picture, mask, 3.0)
    rows, wanted = [], []
    for y, x in zip(*np.nonzero(mask), strict=True):
        rows.append(np.eye(30)[y * 6 + x])
        wanted.append(colours[y, x])
    for slope, (dy, dx) in ((down, (1, 0)), (across, (0, 1))):
        for y in range(5 - dy):
            for x in range(6 - dx):
                if mask[y, x] or mask[y + dy, x + dx]:
                    row = np.eye(30)[(y + dy) * 6 + x + dx] - np.eye(30)[y * 6 + x]
                    rows.append(3.0**0.5 * row)
                    wanted.append(3.0**0.5 * slope[y, x])
    rows, wanted, free = np.array(rows), np.array(wanted), mask.ravel()
    wanted -= rows[:, ~free] @ picture.reshape(30, 2)[~free]
    naive = np.linalg.lstsq(rows[:, free], wanted, rcond=None)[0]
    assert np.allclose(solved[mask], naive, atol=1e-4)
    assert np.array_equal(solved[~mask], picture[~mask])


def test_copies_are_turned_and_mirrored_and_a_finer_field_stays_in_its_copy():
    picture = torch.arange(24.0).view(4, 6, 1)
    known = picture[..., 0] != 7
    copies = Copies.of(picture, known)
    assert len(copies.tops) == 8 and copies.known.sum() == 8 * 23
    for top, (height, width), (quarters, flip) in zip(
        copies.tops.tolist(), copies.sizes.tolist(), TURNS, strict=True
    ):
        wanted = np.rot90(picture.numpy(), quarters)
        wanted = wanted[:, ::-1] if flip else wanted
        assert np.array_equal(copies.picture[top : top + height, :width].numpy(), wanted)
        assert not copies.known[top + height].any()
    larger = Copies.of(torch.zeros(8, 12, 1), torch.ones(8, 12) > 0)
    field = PatchField.random(torch.ones(2, 4) > 0, ~touching(~copies.known, 3), 3, seed=1)
    allowed = ~touching(~larger.known, 3)
    finer = copies.finer(field, larger, torch.ones(6, 10) > 0, allowed, seed=2)
    y, x = finer.neighbours.long().unbind(dim=2)
    assert allowed[y, x].all()
    of = [torch.bucketize(rows.contiguous(), c.tops, right=True) - 1
          for rows, c in ((field.neighbours[..., 0].long(), copies), (y, larger))]  # fmt: skip
    assert torch.equal(of[1][::2, ::2][:2, :4], of[0])
