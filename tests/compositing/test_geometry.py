"""Where photos lie on the canvas: the encoders' own cuts, and points that go there and back."""

import io
import json
import math

import numpy as np
import pytest
from PIL import Image

from framework.compositing.geometry import (
    MODES,
    Geometry,
    fit_geometry,
    photo_box,
    to_canvas,
    to_photo_mask,
    valid_mask,
)
from framework.data.fit import fit
from framework.errors import UserError
from framework.media.images import MAX_PHOTO_PIXELS, decode

SIZES = [(100, 100), (90, 70), (50, 133), (64, 48), (31, 30), (200, 9)]


def noise(size, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (*size, channels), dtype=np.uint8)


def expected(picture, size, mode):
    """The cuts that the data room has always made, written out."""
    (height, width), (h, w) = size, picture.shape[:2]
    inner_w, inner_h = width, height
    if mode == "center":
        scale = min(w / width, h / height)
        cut_w, cut_h = max(1, round(width * scale)), max(1, round(height * scale))
        top, left = (h - cut_h) // 2, (w - cut_w) // 2
        picture = picture[top : top + cut_h, left : left + cut_w]
    elif mode == "pad":
        scale = min(width / w, height / h)
        inner_w, inner_h = max(1, round(w * scale)), max(1, round(h * scale))
    flat = picture[..., 0] if picture.shape[2] == 1 else picture
    resized = np.asarray(Image.fromarray(flat).resize((inner_w, inner_h), Image.Resampling.LANCZOS))
    whole = np.full((height, width, picture.shape[2]), 255, np.uint8)
    top, left = (height - inner_h) // 2, (width - inner_w) // 2
    whole[top : top + inner_h, left : left + inner_w] = resized.reshape(inner_h, inner_w, -1)
    return whole


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_canvas_has_the_pixels_that_encoders_are_trained_on(mode, size):
    for canvas in [(64, 64), (32, 80), (48, 40)]:
        for channels in (1, 3, 4):
            photo = noise(size, channels)
            geometry = fit_geometry(size, canvas, mode)
            wanted = expected(photo, canvas, mode)
            assert np.array_equal(to_canvas(photo, geometry), wanted)
            assert np.array_equal(fit(photo, canvas, mode), wanted)
            inside = valid_mask(geometry).astype(bool)
            assert (to_canvas(np.zeros_like(photo), geometry)[inside][..., :3] == 0).all()
            assert (wanted[~inside] == 255).all()
            assert inside.all() or mode == "pad"


@pytest.mark.parametrize("mode", MODES)
def test_a_box_is_cut_before_it_is_fitted(mode):
    photo = noise((90, 120))
    geometry = fit_geometry((90, 120), (32, 48), mode, box=(20, 10, 75, 81))
    wanted = expected(photo[10:81, 20:75], (32, 48), mode)
    assert np.array_equal(to_canvas(photo, geometry), wanted)


def test_a_box_that_leaves_the_photo_shows_the_pad_colour_there():
    photo = np.full((60, 80, 3), 40, np.uint8)
    geometry = fit_geometry((60, 80), (64, 64), "center", box=(-40, -20, 40, 60))
    assert geometry.valid_box == (32, 16, 64, 64)
    canvas = to_canvas(photo, geometry)
    inside = valid_mask(geometry) == 1
    assert (canvas[inside] == 40).all() and (canvas[~inside] == 255).all()
    odd = fit_geometry((60, 80), (64, 64), "center", box=(-41, 0, 19, 60))
    left, *_ = odd.valid_box
    assert left == math.ceil(41 / 60 * 64)  # a pixel that is half photograph is none
    assert (to_canvas(photo, odd)[:, left:] == 40).all()


def dot(size, at, radius):
    y, x = np.mgrid[: size[0], : size[1]]
    levels = 250 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * radius**2))
    return np.repeat(levels.round().astype(np.uint8)[..., None], 3, axis=2)


def centre(picture):
    mass = picture[..., 0].astype(float)
    y, x = np.mgrid[: mass.shape[0], : mass.shape[1]]
    return np.array([(mass * x).sum(), (mass * y).sum()]) / mass.sum()


@pytest.mark.parametrize("rotate_deg", [0, 20, -75, 90, 180])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(300, 240), (120, 333), (40, 30)], ids=str)
def test_a_point_of_the_photo_is_where_its_dot_is_drawn(mode, rotate_deg, size):
    geometry = fit_geometry(size, (64, 48), mode, rotate_deg=rotate_deg)
    left, top, right, bottom = geometry.valid_box
    on_canvas = np.array([left + 0.45 * (right - left), top + 0.55 * (bottom - top)])
    in_photo = geometry.to_photo_points(on_canvas)
    canvas = to_canvas(dot(size, in_photo, min(size) / 20), geometry)
    canvas[valid_mask(geometry) == 0] = 0
    assert np.abs(centre(canvas) - on_canvas).max() < 0.1
    assert np.allclose(geometry.to_canvas_points(in_photo), on_canvas, atol=1e-9)


def test_pixel_centres_are_whole_numbers():
    geometry = fit_geometry((128, 128), (64, 64))
    assert np.allclose(geometry.to_canvas_points([[0.5, 0.5], [126.5, 2.5]]), [[0, 0], [63, 1]])
    assert geometry.to_photo_points(np.zeros((2, 3, 2))).shape == (2, 3, 2)


def test_turning_sets_a_leaning_subject_upright():
    photo = np.zeros((201, 201, 3), np.uint8)
    photo[40:161, 95:106] = 250  # an upright post ...
    angle = 25  # ... leaned clockwise as seen, like the hand of a clock
    leaning = np.asarray(Image.fromarray(photo).rotate(-angle, Image.Resampling.BICUBIC))
    assert leaning[45:75, 125:].sum() > leaning[45:75, :75].sum()  # its top went right
    canvas = to_canvas(leaning, fit_geometry((201, 201), (64, 64), "pad", rotate_deg=angle))
    ys, xs = np.nonzero((canvas[..., 0] > 125) & (valid_mask_of(201, angle) == 1))
    assert np.ptp(xs) <= 4 and np.ptp(ys) > 30


def valid_mask_of(side, angle):
    return valid_mask(fit_geometry((side, side), (64, 64), "pad", rotate_deg=angle))


def test_a_turned_cut_stays_within_the_photo():
    for angle in (3, 45, 90, -160):
        geometry = fit_geometry((100, 160), (64, 64), "center", rotate_deg=angle)
        assert geometry.valid_box == (0, 0, 64, 64)
        assert (to_canvas(np.full((100, 160, 3), 9, np.uint8), geometry) == 9).all()


@pytest.mark.parametrize("seed", range(6))
def test_the_valid_box_is_the_largest_within_a_turned_photo(seed):
    rng = np.random.default_rng(seed)
    size = (int(rng.integers(20, 80)), int(rng.integers(20, 80)))
    geometry = fit_geometry(size, (14, 12), "stretch", rotate_deg=float(rng.uniform(0, 360)))
    covered = covered_corners(geometry)
    areas = {}
    for top in range(14):
        for bottom in range(top + 1, 15):
            for left in range(12):
                for right in range(left + 1, 13):
                    corners = covered[[top, top, bottom, bottom], [left, right, left, right]]
                    if corners.all():
                        areas[left, top, right, bottom] = (right - left) * (bottom - top)
    assert areas[geometry.valid_box] == max(areas.values())


def covered_corners(geometry):
    """Whether each corner of a canvas pixel is on the photograph."""
    height, width = geometry.canvas_size
    y, x = np.mgrid[: height + 1, : width + 1] - 0.5
    at = geometry.to_photo_points(np.stack([x, y], axis=-1)) + 0.5
    return ((at > -1e-6) & (at < np.array(geometry.photo_size[::-1]) + 1e-6)).all(axis=-1)


@pytest.mark.parametrize("rotate_deg", [0, 30])
def test_fine_detail_does_not_alias(rotate_deg):
    x = np.indices((960, 960)).sum(axis=0) if rotate_deg else np.indices((960, 960))[1]
    stripes = np.repeat(np.where(x % 3, 255, 0).astype(np.uint8)[..., None], 3, axis=2)
    canvas = to_canvas(stripes, fit_geometry((960, 960), (64, 64), rotate_deg=rotate_deg))
    assert np.abs(canvas.astype(int) - 170).max() <= 5


def test_it_travels_as_json():
    for angle in (0, 12.5):
        geometry = fit_geometry((90, 70), (64, 48), "pad", (-3, 2.5, 61, 80), angle)
        values = geometry.to_dict()
        assert Geometry.from_dict(json.loads(json.dumps(values))) == geometry
        assert json.loads(json.dumps(values)) == values


SPOILERS = {
    "photo_size": [[0, 9], [9], "large", [1 << 40, 4], [True, 4], None],
    "canvas_size": [[64.5, 64], [-1, 64]],
    "affine": [
        [[1, 0, 0]],
        [[1, 0, 0], [2, 0, 0]],
        [[1, 0, math.nan], [0, 1, 0]],
        5,
        [[1, 0], [0]],
    ],
    "valid_box": [[0, 0, 65, 64], [4, 4, 4, 9], [0, 0, 64], [-1, 0, 9, 9]],
    "pad_colour": [[0, 0, 256], "white", [0, 0]],
    "more": [1],
}


@pytest.mark.parametrize("name", SPOILERS)
def test_values_that_are_none_are_refused(name):
    good = fit_geometry((90, 70), (64, 64)).to_dict()
    for value in SPOILERS[name]:
        with pytest.raises(UserError, match=r"^geometry: ") as error:
            Geometry.from_dict({**good, name: value})
        assert "\n" not in str(error.value)
    if name in good:
        good.pop(name)
        if name != "pad_colour":
            with pytest.raises(UserError, match=f"geometry: .*{name}"):
                Geometry.from_dict(good)


def test_a_valid_box_outside_of_the_photo_is_refused():
    good = fit_geometry((90, 70), (64, 64)).to_dict()
    with pytest.raises(UserError, match="valid_box extends beyond the photograph"):
        Geometry.from_dict({**good, "affine": [[1, 0, 30], [0, 1, 0]]})


def test_mistakes_are_one_line():
    with pytest.raises(UserError, match="crop fill: give center, pad or stretch"):
        fit_geometry((90, 70), (64, 64), "fill")  # type: ignore[arg-type]
    for box in [(0, 0, 0, 9), (5, 5, 4, 9), (0, 0, math.nan, 9), (0, 0, 9), (0, 0, 1e12, 9)]:
        with pytest.raises(UserError, match="give left,top,right,bottom"):
            fit_geometry((90, 70), (64, 64), box=box)
    with pytest.raises(UserError, match="box 200,0,300,90: puts no part of the 70x90 photo"):
        fit_geometry((90, 70), (64, 64), box=(200, 0, 300, 90))
    with pytest.raises(UserError, match="photo of 70x91, but the geometry is for one of 70x90"):
        to_canvas(noise((91, 70)), fit_geometry((90, 70), (64, 64)))


def test_a_photo_turned_by_its_camera_is_laid_upright():
    upright = noise((60, 90), seed=4) // 8 * 8
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned: the first row is the right side
    buffer = io.BytesIO()
    stored = np.rot90(upright, 1)
    Image.fromarray(np.ascontiguousarray(stored)).save(buffer, "PNG", exif=exif)
    photo = decode(buffer.getvalue()).pixels
    assert np.array_equal(photo, upright)
    geometry = fit_geometry(photo.shape[:2], (32, 32), box=(50, 10, 82, 42))
    assert np.array_equal(to_canvas(photo, geometry), upright[10:42, 50:82])
    assert photo_box(geometry) == (50, 10, 82, 42)


def test_large_photos_are_read_when_asked_without_a_warning(monkeypatch, recwarn):
    buffer = io.BytesIO()
    Image.new("L", (50, 40)).save(buffer, "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1500)  # Pillow warns up to twice as many
    with pytest.raises(UserError, match="50x40, too many pixels"):
        decode(buffer.getvalue(), max_pixels=2000)
    photo = decode(buffer.getvalue(), max_pixels=2001).pixels
    assert photo.shape == (40, 50, 3) and not recwarn.list
    assert MAX_PHOTO_PIXELS > 100e6


@pytest.mark.parametrize("rotate_deg", [0, 25])
def test_a_painted_mask_covers_the_photographs_pixels_under_it(rotate_deg):
    geometry = fit_geometry((60, 90), (16, 24), "center", (10, 5, 80, 52), rotate_deg)
    mask = np.zeros((16, 24), np.float32)
    mask[3:9, 4:11] = 1
    inside = mask * valid_mask(geometry) > 0
    wanted = np.zeros((60, 90), bool)
    for y in range(60):
        for x in range(90):
            across, down = np.rint(geometry.to_canvas_points((x, y))).astype(int)
            if 0 <= across < 24 and 0 <= down < 16:
                wanted[y, x] = inside[down, across]
    assert wanted.sum() > 100 and (to_photo_mask(mask, geometry) == wanted).all()
    assert not to_photo_mask(0 * mask, geometry).any()
