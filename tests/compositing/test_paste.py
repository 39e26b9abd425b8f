"""An edit goes back into its photograph, and what it did not touch stays to the bit."""

import io
import itertools
import tracemalloc

import numpy as np
import pytest
from PIL import Image, ImageFilter

from framework.compositing.geometry import fit_geometry, photo_box, to_canvas
from framework.compositing.membrane import membrane
from framework.compositing.paste import (
    CHANGE_REACH_PX,
    CHANGED_LEVELS,
    REPLACED_LEVELS,
    SEAMS,
    paste_back,
    seam_sides,
)
from framework.errors import UserError
from framework.media.images import decode

CANVAS = (32, 32)
GEOMETRIES = {
    "as it is": fit_geometry((90, 120), CANVAS, box=(50, 20, 82, 52)),
    "shrunk": fit_geometry((90, 120), CANVAS, box=(10, 5, 111, 83)),
    "enlarged": fit_geometry((90, 120), CANVAS, box=(50, 20, 63, 33)),
    "padded": fit_geometry((90, 120), CANVAS, "pad", box=(-20, 10, 70, 60)),
    "stretched": fit_geometry((90, 120), CANVAS, "stretch", box=(3, 4, 117, 44)),
    "turned": fit_geometry((90, 120), CANVAS, box=(40, 20, 90, 70), rotate_deg=33),
    "turned, enlarged": fit_geometry((90, 120), CANVAS, box=(50, 30, 66, 46), rotate_deg=-70),
    "whole": fit_geometry((90, 120), CANVAS, "pad"),
}
cases = pytest.mark.parametrize("name", GEOMETRIES)
seams = pytest.mark.parametrize("seam", SEAMS)


def photograph(size=(90, 120), blur_px=0.0, seed=0):
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(blur_px)) if blur_px else image)


def canvas_of(seed, size=CANVAS):
    return np.random.default_rng(seed).uniform(0, 255, (*size, 3)).astype(np.float32)


def places(geometry, slack_px=1e-6):
    """Canvas coordinates of every photo pixel, (h, w, 2), and whether it is in the valid box."""
    y, x = np.mgrid[: geometry.photo_size[0], : geometry.photo_size[1]]
    at = geometry.to_canvas_points(np.stack([x, y], axis=-1))
    left, top, right, bottom = geometry.valid_box
    low, high = np.array([left, top]) - 0.5, np.array([right, bottom]) - 0.5
    return at, ((at > low - slack_px) & (at < high + slack_px)).all(axis=-1)


@cases
@seams
def test_outside_of_the_box_every_pixel_stays_to_the_bit(name, seam):
    geometry, photo = GEOMETRIES[name], photograph()
    before = photo.copy()
    _, inside = places(geometry)
    for original in (None, canvas_of(1)):
        pasted = paste_back(photo, canvas_of(2), geometry, original=original, seam=seam)
        assert pasted.shape == photo.shape and pasted.dtype == np.uint8
        assert np.array_equal(pasted[~inside], photo[~inside])
        assert (pasted[inside] != photo[inside]).mean() > 0.5
    assert np.array_equal(photo, before)


@cases
@seams
def test_no_edit_changes_nothing_where_the_reconstruction_is_known(name, seam):
    photo, geometry = photograph(), GEOMETRIES[name]
    for canvas in (canvas_of(3), canvas_of(3).round().astype(np.uint8)):
        for only in (False, True):
            pasted = paste_back(
                photo, canvas, geometry, original=canvas.copy(), seam=seam, changed_only=only
            )
            assert np.array_equal(pasted, photo)


@seams
def test_the_photo_itself_pasted_differs_by_one_level_at_most(seam):
    geometry, photo = GEOMETRIES["as it is"], photograph()
    pasted = paste_back(photo, to_canvas(photo, geometry), geometry, seam=seam)
    assert np.abs(pasted.astype(int) - photo).max() <= 1
    soft = photograph((360, 480), blur_px=30)  # where the canvas can hold what the photo shows
    for rotate_deg, levels in ((0, 1), (20, 2)):  # turned, it is rounded to 8 bits thrice more
        box = (100, 80, 300, 280)
        geometry = fit_geometry((360, 480), (64, 64), box=box, rotate_deg=rotate_deg)
        pasted = paste_back(soft, to_canvas(soft, geometry), geometry, seam=seam)
        assert np.abs(pasted.astype(int) - soft).max() <= levels


@cases
def test_a_hard_seam_pastes_the_whole_box(name):
    geometry, photo = GEOMETRIES[name], photograph()
    _, inside = places(geometry, -1e-6)
    flat = np.full((*CANVAS, 3), 200, np.uint8)
    pasted = paste_back(photo, flat, geometry, seam="hard")
    assert (pasted[inside] == 200).all()


@cases
def test_an_edit_lands_where_it_was_made(name):
    geometry, photo = GEOMETRIES[name], np.full((90, 120, 3), 80, np.uint8)
    left, top, right, bottom = geometry.valid_box
    at = np.array([left + 0.4 * (right - left), top + 0.6 * (bottom - top)])
    y, x = np.mgrid[:32, :32]
    bump = 19 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 8)[..., None]
    original = canvas_of(5)
    pasted = paste_back(photo, original + bump, geometry, original=original)
    mass = pasted[..., 0].astype(float) - 80
    y, x = np.mgrid[:90, :120]
    centre = np.array([(mass * x).sum(), (mass * y).sum()]) / mass.sum()
    assert np.abs(geometry.to_canvas_points(centre) - at).max() < 0.5
    assert 15 <= mass.max() <= 20


def test_the_photos_own_detail_survives_small_changes_of_colour():
    photo = photograph((400, 400)) // 2 + 50
    geometry = fit_geometry((400, 400), CANVAS, box=(40, 40, 360, 360))
    original = canvas_of(1)
    pasted = paste_back(photo, original + 12, geometry, original=original, seam="hard")
    change = pasted.astype(int) - photo
    assert (change[40:360, 40:360] == 12).all()
    blurred = paste_back(photo, to_canvas(photo, geometry) + 12.0, geometry, seam="hard")
    assert blurred[40:360, 40:360].std() < 0.5 * photo.std()


def test_what_moved_leaves_no_ghost():
    photo = np.full((320, 320, 3), 200, np.uint8)
    photo[140:180, 140:180] = 20
    geometry = fit_geometry((320, 320), CANVAS, box=(32, 32, 288, 288))
    original = to_canvas(photo, geometry)
    edited = np.roll(original, 8, axis=1)  # 64 photo pixels to the right
    pasted = paste_back(photo, edited, geometry, original=original)
    assert np.abs(pasted[135:185, 100:190].astype(int) - 200).max() <= 20
    assert np.abs(pasted[145:175, 210:238].astype(int) - 20).max() <= 20
    assert np.ptp(original) > REPLACED_LEVELS[1]


@cases
@seams
def test_changed_only_leaves_everything_else_to_the_bit(name, seam):
    geometry, photo = GEOMETRIES[name], photograph()
    left, top, right, bottom = geometry.valid_box
    x, y = (left + right) // 2, (top + bottom) // 2
    original = canvas_of(4)
    drift = np.random.default_rng(6).uniform(-1, 1, original.shape) * CHANGED_LEVELS * 0.99
    edited = original + drift.astype(np.float32)
    edited[y, x] = original[y, x] + 90
    pasted = paste_back(photo, edited, geometry, original=original, changed_only=True, seam=seam)
    at, inside = places(geometry)
    photo_px = max(1.0, *np.linalg.norm(np.array(geometry.affine)[:, :2], axis=0))
    far = np.abs(at - [x, y]).max(axis=-1) > CHANGE_REACH_PX * photo_px
    assert far[inside].any() and np.array_equal(pasted[far], photo[far])
    near = np.abs(at - [x, y]).max(axis=-1) < 0.6 * photo_px
    assert (pasted[near] != photo[near]).any()
    everything = paste_back(photo, edited, geometry, original=original, seam=seam)
    assert not np.array_equal(everything[far], photo[far])


def step_along(picture, geometry):
    """Largest mean difference between rows just inside and just outside of the box' top."""
    left, top, right, _ = photo_box(geometry)
    rows = picture[top - 1 : top + 1, left + 4 : right - 4].astype(float)
    return np.abs(rows[1] - rows[0]).mean()


def test_soft_seams_are_not_seen():
    photo = photograph((200, 200), blur_px=12)
    geometry = fit_geometry((200, 200), CANVAS, box=(50, 60, 130, 140))
    own = step_along(photo, geometry)
    shifted = to_canvas(photo, geometry).astype(np.float32) + 30
    steps = {s: step_along(paste_back(photo, shifted, geometry, seam=s), geometry) for s in SEAMS}
    assert steps["hard"] > 25
    assert steps["feather"] < own + 2 and steps["gradient"] < own + 2


def test_the_gradient_seam_takes_a_shift_of_colour_back_everywhere():
    photo = photograph((200, 200), blur_px=12)
    geometry = fit_geometry((200, 200), CANVAS, box=(50, 60, 130, 140))
    y, x = np.mgrid[:32, :32]
    tilt = (10 + x / 4 - y / 8)[..., None]  # harmonic: what a membrane can do
    for original in (None, canvas_of(2)):
        base = to_canvas(photo, geometry) if original is None else original
        pasted = paste_back(photo, base + tilt, geometry, original=original, seam="gradient")
        left = paste_back(photo, base, geometry, original=original, seam="gradient")
        assert np.abs(pasted.astype(int) - left).max() <= 1


def test_where_the_photo_ends_there_is_no_seam():
    whole = fit_geometry((90, 120), CANVAS, "pad")
    assert seam_sides(whole) == (False,) * 4
    assert seam_sides(fit_geometry((90, 120), CANVAS)) == (True, False, True, False)
    corner = fit_geometry((90, 120), CANVAS, box=(-30, 10, 50, 90))  # the lower left
    assert seam_sides(corner) == (False, True, True, False)
    turned = fit_geometry((120, 90), CANVAS, "stretch", rotate_deg=90)
    assert seam_sides(turned) == (True, False, True, False)  # wider than the photo is
    assert seam_sides(fit_geometry((90, 120), CANVAS, rotate_deg=20)) == (True,) * 4
    photo = photograph()
    pasted = paste_back(photo, np.full((*CANVAS, 3), 200, np.uint8), whole, seam="feather")
    assert (pasted == 200).all()


def test_the_feather_is_as_wide_as_asked():
    photo = np.zeros((128, 128, 3), np.uint8)
    geometry = fit_geometry((128, 128), CANVAS, box=(32, 32, 96, 96))  # two photo pixels each
    white = np.full((*CANVAS, 3), 255, np.uint8)
    row = paste_back(photo, white, geometry, feather_px=5)[64, :, 0]
    assert (row[:32] == 0).all() and (row[42:86] == 255).all() and (row[96:] == 0).all()
    ramp = row[32:43].astype(int)
    assert (np.diff(ramp) >= 0).all() and 0 <= ramp[0] < 10 and ramp[9] < 255
    assert np.array_equal(
        paste_back(photo, white, geometry, feather_px=0),
        paste_back(photo, white, geometry, seam="hard"),
    )


def test_a_photo_in_a_corner_of_a_turned_picture_comes_back_into_it():
    upright = photograph((90, 120))
    exif = Image.Exif()
    exif[0x0112] = 8
    buffer = io.BytesIO()
    stored = np.ascontiguousarray(np.rot90(upright, -1))
    Image.fromarray(stored).save(buffer, "PNG", exif=exif)
    photo = decode(buffer.getvalue()).pixels
    assert np.array_equal(photo, upright)
    geometry = fit_geometry(photo.shape[:2], CANVAS, box=(88, 0, 120, 32))  # the upper right
    assert np.array_equal(to_canvas(photo, geometry), upright[:32, 88:])
    pasted = paste_back(photo, 255 - to_canvas(photo, geometry), geometry, seam="hard")
    wanted = upright.copy()
    wanted[:32, 88:] = 255 - wanted[:32, 88:]
    assert np.array_equal(pasted, wanted)


@pytest.mark.parametrize("rotate_deg", [0, 10])
def test_memory_is_of_the_region_and_not_of_the_photo(rotate_deg):
    photo = np.zeros((4000, 5000, 3), np.uint8)
    box = (900, 900, 1300, 1300)
    geometry = fit_geometry((4000, 5000), (64, 64), box=box, rotate_deg=rotate_deg)
    edited = canvas_of(1, (64, 64))
    tracemalloc.start()
    pasted = paste_back(photo, edited, geometry)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    region = 3 * 550 * 550
    assert pasted.any() and peak < photo.nbytes + 30 * region


def test_bands_leave_no_trace(monkeypatch):
    photo = photograph((90, 120))
    for geometry in GEOMETRIES.values():
        whole = paste_back(photo, canvas_of(1), geometry)
        monkeypatch.setattr("framework.compositing.paste._BAND_PIXELS", 300)
        banded = paste_back(photo, canvas_of(1), geometry)
        monkeypatch.undo()
        assert np.abs(whole.astype(int) - banded).max() <= 1


@pytest.mark.parametrize("fixed", [*itertools.product([False, True], repeat=4)], ids=str)
def test_the_membrane_solves_laplaces_equation(fixed):
    values = np.random.default_rng(0).normal(size=(9, 12, 2))
    field = membrane(values, fixed)
    if not any(fixed):
        assert not field.any()
        return
    around = np.pad(field, ((1, 1), (1, 1), (0, 0)), mode="edge")  # free sides are level
    neighbours = around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, :-2] + around[1:-1, 2:]
    left, top, right, bottom = fixed
    inner = np.s_[int(top) : 9 - bottom, int(left) : 12 - right]
    assert np.abs((4 * field - neighbours)[inner]).max() < 1e-12
    borders = (np.s_[:, 0], np.s_[0], np.s_[:, -1], np.s_[-1])
    for is_fixed, border in zip(fixed, borders, strict=True):
        assert not is_fixed or np.array_equal(field[border], values[border])


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 2), (3, 1)], ids=str)
def test_the_membrane_of_a_few_pixels(size):
    values = np.ones((*size, 3))
    assert np.allclose(membrane(values, (True, True, True, True)), 1)
    assert np.isfinite(membrane(values, (True, False, False, False))).all()


def test_mistakes_are_one_line():
    geometry, photo, canvas = GEOMETRIES["shrunk"], photograph(), canvas_of(0)
    mistakes = {
        "seam soft: give hard, feather or gradient": {"seam": "soft"},
        "changed_only: give the reconstruction": {"changed_only": True},
        "original picture .* but the geometry": {"original": canvas[1:]},
        "feather -1: give": {"feather_px": -1},
        "feather nan: give": {"feather_px": float("nan")},
        "holds NaN": {"original": canvas * np.nan},
    }
    for message, wrong in mistakes.items():
        with pytest.raises(UserError, match=message):
            paste_back(photo, canvas, geometry, **wrong)
    with pytest.raises(UserError, match="photo of 119x90"):
        paste_back(photo[:, 1:], canvas, geometry)
    with pytest.raises(UserError, match="uint8"):
        paste_back(photo[..., :1], canvas, geometry)
