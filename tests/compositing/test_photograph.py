"""Photographs keep their kind: grey, depth, transparency, profile and what the camera wrote."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from framework.compositing.aligned import align_geometry
from framework.compositing.geometry import fit_geometry, to_canvas
from framework.compositing.paste import paste_back
from framework.compositing.photograph import Photograph
from framework.media.images import png_bytes
from tests.media.test_images import encoded, photo

SIZE, CANVAS = (90, 120), (32, 32)
GEOMETRIES = {
    "shrunk": fit_geometry(SIZE, CANVAS, box=(40, 20, 88, 68)),
    "tilted": align_geometry(SIZE, CANVAS, [(40, 35), (75, 50)]),
}
Y, X = np.mgrid[: SIZE[0], : SIZE[1]]
GREY = (100 + 40 * np.sin(X / 11) + 10 * np.cos(Y / 7)).astype(np.uint8)
CUT = np.clip((32 - np.hypot(X - 60, Y - 45)) * 40, 0, 255).astype(np.uint8)
COLOURS = photo(*SIZE)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped_profile():
    """sRGB's profile with its red and blue exchanged: colours that only a reader of it sees."""
    data = bytearray(SRGB)
    (count,) = struct.unpack_from(">I", data, 128)
    for at in range(132, 132 + 12 * count, 12):
        name = bytes(data[at : at + 4])
        data[at : at + 4] = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}.get(name, name)
    return bytes(data)


def edited_pair(seen):
    """A model's picture, tinted noise away from the photograph, before and after an edit."""
    noise = np.random.default_rng(0).integers(-20, 20, seen.shape)
    before = np.clip(seen.astype(int) + noise, 0, 255).astype(np.uint8)
    after = before.copy()
    after[8:20, 10:24, :3] = [255, 240, 200]
    return before, after


def pasted(photograph, geometry, seam="feather", channels=3):
    before, after = edited_pair(photograph.canvas(geometry, channels))
    return photograph.pasted(after, geometry, original=before, changed_only=True, seam=seam)


def outside(geometry):
    """Photo pixels whose centres lie outside the model's picture."""
    at = geometry.to_canvas_points(np.stack(np.meshgrid(range(SIZE[1]), range(SIZE[0])), -1))
    return ((at < -0.5) | (at > 31.5)).any(axis=-1)


def read(image, **options):
    return Photograph.decode(encoded(image, "PNG", **options), "a.png")


GREYS = {
    "L": GREY,
    "LA": np.dstack([GREY, CUT]),
    "16 bit": GREY.astype(np.uint16) * 257,
    "12 bit": GREY.astype(np.uint16) * 16 + 15,
    "RGB": np.repeat(GREY[..., None], 3, 2),
    "RGBA": np.dstack([GREY, GREY, GREY, CUT]),
}


@pytest.mark.parametrize("where", GEOMETRIES)
@pytest.mark.parametrize("seam", ["feather", "gradient"])
@pytest.mark.parametrize("kind", GREYS)
# A4f
def test_a_grey_photograph_comes_back_grey_and_as_deep(kind, seam, where):
    geometry, before = GEOMETRIES[where], read(GREYS[kind])
    after = pasted(before, geometry, seam)
    assert after.levels.dtype == before.levels.dtype and after.levels.shape == before.levels.shape
    assert np.array_equal(after.levels[outside(geometry)], before.levels[outside(geometry)])
    changed = (after.levels != before.levels).any(axis=2)
    assert changed.sum() > 300
    if after.levels.shape[2] >= 3:
        assert np.ptp(after.levels[..., :3][changed].astype(int), axis=1).max() == 0
    # What was painted is there, as bright as it was: luminance of (255, 240, 200).
    x, y = geometry.to_photo_points([[17, 14]])[0].round().astype(int)
    assert after.shown()[y, x].tolist() == pytest.approx([240] * 3, abs=2)


@pytest.mark.parametrize("where", GEOMETRIES)
@pytest.mark.parametrize("hidden", [0, 200])
# A4f
def test_a_cut_out_keeps_its_alpha_and_gets_no_smudge(where, hidden):
    geometry = GEOMETRIES[where]
    colours = np.where(CUT[..., None] == 0, hidden, COLOURS).astype(np.uint8)
    before = read(np.dstack([colours, CUT]))
    after = pasted(before, geometry)
    assert np.array_equal(after.alpha, before.alpha)
    assert np.array_equal(after.levels[CUT == 0], before.levels[CUT == 0])
    assert (after.levels != before.levels).any()
    # Where it is opaque, it is as if the edit had been pasted into what is seen on white; at a
    # soft edge, where the model's white shines through, ever less of it is taken.
    made, edited = edited_pair(before.canvas(geometry, 3))
    wanted = paste_back(before.shown(), edited, geometry, original=made, changed_only=True)
    assert np.array_equal(after.shown()[CUT == 255], wanted[CUT == 255])
    moved = np.abs(after.levels[..., :3].astype(int) - before.levels[..., :3]).max(axis=2)
    assert (moved <= CUT.astype(int) + 1).all()


def test_a_model_with_transparency_changes_it_where_its_edit_does():
    geometry = GEOMETRIES["shrunk"]
    before = read(np.dstack([COLOURS, CUT]))
    seen = before.canvas(geometry, 4)
    assert np.array_equal(seen, to_canvas(before.levels, geometry))
    after = seen.copy()
    after[8:20, 10:24, 3] = 0
    changed = before.pasted(after, geometry, original=seen, changed_only=True)
    x, y = geometry.to_photo_points([[17, 14]])[0].round().astype(int)
    assert changed.levels[y, x, 3] == 0 and before.levels[y, x, 3] == 255
    assert np.array_equal(changed.levels[outside(geometry)], before.levels[outside(geometry)])


# A4f
@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_profile_exif_and_dots_go_along(tmp_path, ending):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Maker", 6
    options = {"icc_profile": swapped_profile(), "exif": exif, "dpi": (300, 300)}
    data = encoded(np.rot90(COLOURS).copy(), "JPEG", quality=95, **options)
    before = Photograph.decode(data, "a.jpg")
    assert before.size == SIZE and before.notes == ("rotated by EXIF",)
    pasted(before, GEOMETRIES["shrunk"]).save(tmp_path / f"out.{ending}")
    with Image.open(tmp_path / f"out.{ending}") as out:
        assert out.info["icc_profile"] == swapped_profile()
        assert dict(out.getexif()) == {0x010F: "Maker"}  # upright now: nobody turns it again
        if ending != "webp":  # which has none
            assert out.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_a_model_sees_srgb_and_its_edit_is_pasted_in_the_photographs_own_space():
    geometry = GEOMETRIES["shrunk"]
    before = read(COLOURS, icc_profile=swapped_profile())
    plain = to_canvas(COLOURS, geometry)
    seen = before.canvas(geometry, 3)
    assert np.abs(seen.astype(int) - plain[..., ::-1]).max() <= 3  # red is blue in this profile
    after = seen.copy()
    after[8:20, 10:24] = [250, 20, 10]  # red, for the model
    made = before.pasted(after, geometry, original=seen, changed_only=True)
    x, y = geometry.to_photo_points([[17, 14]])[0].round().astype(int)
    assert made.levels[y, x].tolist() == pytest.approx([10, 20, 250], abs=4)
    assert np.array_equal(made.levels[outside(geometry)], COLOURS[outside(geometry)])


def test_a_profile_of_grey_is_obeyed_and_one_that_does_not_fit_is_told(tmp_path):
    wrong = read(COLOURS, icc_profile=b"not a profile")
    assert "cannot be used" in wrong.notes[0] and wrong.profile == b"not a profile"
    assert np.array_equal(
        wrong.canvas(GEOMETRIES["shrunk"], 3), to_canvas(COLOURS, GEOMETRIES["shrunk"])
    )
    grey = read(GREY, icc_profile=SRGB)  # a profile of colours at a grey picture
    seen = grey.canvas(GEOMETRIES["shrunk"], 3).astype(int)
    assert np.ptp(seen, axis=2).max() <= 1 and not grey.notes


def test_cmyk_is_rgb_afterwards_and_drops_its_profile():
    data = encoded(Image.fromarray(COLOURS).convert("CMYK"), "JPEG", icc_profile=SRGB)
    before = Photograph.decode(data, "a.jpg")
    assert before.levels.shape == (*SIZE, 3) and before.profile is None
    assert "CMYK converted" in before.notes


def test_nothing_edited_is_nothing_changed(tmp_path):
    for levels in (*GREYS.values(), COLOURS, np.dstack([COLOURS, CUT])):
        before = read(levels)
        seen = before.canvas(GEOMETRIES["tilted"], 3)
        same = before.pasted(seen, GEOMETRIES["tilted"], original=seen)
        same.save(tmp_path / "same.png")
        assert np.array_equal(Photograph.read(tmp_path / "same.png").levels, before.levels)
        assert np.array_equal(before.levels.reshape(levels.shape), levels)


def test_what_is_seen_of_an_8_bit_photograph_is_what_a_decoder_gives():
    before = Photograph.decode(png_bytes(COLOURS), "a.png")
    assert np.array_equal(before.shown(), np.array(Image.open(io.BytesIO(png_bytes(COLOURS)))))
    assert before.canvas(GEOMETRIES["shrunk"], 1).shape == (32, 32, 1)
    assert (before.canvas(GEOMETRIES["shrunk"], 4)[..., 3] == 255).all()
