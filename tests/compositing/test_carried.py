"""Detail finds its place: shifts are found, applied to the pixel, and never made up."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import shift as shifted

from framework.compositing.carried import carried_detail, left_out, unlike_photo
from framework.compositing.geometry import fit_geometry, to_canvas
from framework.compositing.paste import paste_back


def canvas(seed, size=(40, 44), grain_px=3):
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (size[0] // grain_px, size[1] // grain_px, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize(size[::-1], Image.Resampling.BICUBIC)
    return np.asarray(picture, np.float32)


@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize(("dx", "dy"), [(5, -3), (-9, 0), (2.5, 1.25)])
def test_a_shift_is_found_to_a_quarter_of_a_pixel(dx, dy, scale):
    size = (40 * scale, 44 * scale)
    before = canvas(0, size, 3 * scale)
    after = shifted(before, (-dy * scale, -dx * scale, 0), mode="nearest")
    moved = np.zeros(size, bool)
    moved[14 * scale : 28 * scale, 14 * scale : 30 * scale] = True
    pieces = carried_detail(before, after, moved, np.ones(size, bool))
    assert pieces[0].mask.sum() > 0.9 * moved.sum()
    assert (pieces[0].shift_x, pieces[0].shift_y) == (dx * scale, dy * scale)


def test_pieces_are_disjoint_within_what_moved_and_come_from_what_is_trusted():
    before = canvas(0, grain_px=8)
    after = np.roll(before, (4, 7), axis=(0, 1))
    moved = np.zeros((40, 44), bool)
    moved[8:34, 10:40] = True
    trusted = np.zeros((40, 44), bool)
    trusted[:, :22] = True
    pieces = carried_detail(before, after, moved, trusted)
    assert pieces and (sum(piece.mask.astype(int) for piece in pieces) <= moved).all()
    for piece in pieces:
        y, x = np.nonzero(piece.mask)
        assert trusted[y + round(piece.shift_y), x + round(piece.shift_x)].all()


def test_what_nothing_explains_gets_nothing():
    before, after = canvas(0), canvas(1) / 4
    moved = np.ones((40, 44), bool)
    assert not carried_detail(np.full_like(before, 255), after, moved, moved)
    assert not carried_detail(before, before, ~moved, moved)
    assert not carried_detail(before, before, moved, ~moved)


def test_an_outline_that_the_model_leaves_out_is_no_texture():
    rng = np.random.default_rng(0)
    before = np.full((60, 60, 3), 120, np.float32)
    photo = before + rng.uniform(-12, 12, before.shape)
    photo[30, 10:50] -= 80
    found = left_out(before, photo)
    assert found[30, 10:50].all() and found[:26].mean() < 0.05
    assert not unlike_photo(before, before + 8).any() and unlike_photo(before, before + 20).all()


def test_what_moved_keeps_its_detail_to_the_level():
    rng = np.random.default_rng(0)
    ground = rng.integers(90, 140, (256, 256, 3), dtype=np.uint8)
    thing = canvas(2, (80, 80), 10).astype(np.uint8) // 2 + rng.integers(
        0, 40, (80, 80, 1), np.uint8
    )
    photo, truth = (ground.copy() for _ in range(2))
    photo[88:168, 40:120] = thing
    truth[88:168, 80:160] = thing
    geometry = fit_geometry((256, 256), (64, 64))
    before, after = (to_canvas(picture, geometry) for picture in (photo, truth))
    pasted = paste_back(photo, after, geometry, original=before)
    off = np.abs(pasted[100:156, 92:148].astype(int) - truth[100:156, 92:148])
    assert (off <= 2).mean() > 0.95
    plain = paste_back(photo, after, geometry, original=before, carry=False)
    assert np.abs(plain[100:156, 92:148].astype(int) - truth[100:156, 92:148]).mean() > 8


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (4, 3)])
def test_a_canvas_smaller_than_a_patch_is_pasted_all_the_same(size):
    photo = np.full((20, 20, 3), 90, np.uint8)
    geometry = fit_geometry((20, 20), size, "stretch", box=(4, 4, 16, 16))
    before = np.full((*size, 3), 90, np.uint8)
    pasted = paste_back(photo, before + 100, geometry, original=before, seam="hard")
    assert (pasted[5:15, 5:15] == 190).all() and np.array_equal(pasted[:4], photo[:4])
