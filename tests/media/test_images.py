"""Every kind of picture people have, and every kind of file that only claims to be one."""

import io
import os
import pickle
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile, PngImagePlugin

from framework.errors import UserError
from framework.media.images import (
    ImageRefused,
    Refusal,
    decode,
    grid,
    png_bytes,
    printable,
    read_image,
    save_png,
    to_float,
    to_uint8,
)

SIDE = 32
RED, WHITE = [255, 0, 0], [255, 255, 255]


def photo(height=SIDE, width=SIDE, seed=0):
    """A smooth picture without symmetry."""
    y, x = np.mgrid[:height, :width]
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    return np.stack(
        [127 + 120 * np.sin(x / 9 + y / (5 + c) + phase[c]) for c in range(3)], -1
    ).astype(np.uint8)


def encoded(image, file_format="PNG", **options):
    buffer = io.BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def refused(data, **options):
    with pytest.raises(ImageRefused) as caught:
        decode(data, "x.jpg", **options)
    assert str(caught.value) == f"x.jpg: {caught.value.reason}"
    assert "\n" not in str(caught.value)
    return caught.value


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_16_bit_rgb(levels):
    """16-bit RGB PNG of levels (H, W, 3): Pillow cannot write one."""
    height, width, _ = levels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + body + png_chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (b"", Refusal.EMPTY, "0 bytes"),
        (b"\n<!DOCTYPE html><html><body>404", Refusal.NOT_AN_IMAGE, "HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha", Refusal.NOT_AN_IMAGE, "Git-LFS"),
        (bytes(4096), Refusal.NOT_AN_IMAGE, "only zero bytes"),
        (b"hello, I am text", Refusal.NOT_AN_IMAGE, "not an image"),
        (b"\0\0\0\x18ftypheic" + bytes(50), Refusal.UNSUPPORTED, "HEIC"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", Refusal.UNSUPPORTED, "SVG"),
        (b"\xff\xd8\xff\xe0", Refusal.TRUNCATED, "first bytes"),
    ],
)
# B1
def test_files_that_are_no_pictures_are_named_for_what_they_are(data, kind, words):
    error = refused(data)
    assert error.kind is kind
    assert words in error.reason


def test_a_truncated_jpeg_is_not_half_a_picture():
    data = encoded(photo(), "JPEG", quality=95)
    assert refused(data[:-200]).kind is Refusal.TRUNCATED
    assert decode(data).pixels.shape == (SIDE, SIDE, 3)


def test_a_truncated_png_is_refused():
    data = encoded(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    assert refused(data[:-2000]).kind is Refusal.TRUNCATED


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_hostile_bytes_give_a_picture_or_a_refusal_and_nothing_else(file_format):
    good = encoded(photo(), file_format)
    assert decode(good).format == file_format
    rng = np.random.default_rng(0)
    refusals = 0
    for _ in range(60):
        data = bytearray(good[: rng.integers(4, len(good) + 1)])
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        try:
            assert decode(bytes(data)).pixels.dtype == np.uint8
        except ImageRefused:
            refusals += 1
    assert refusals > 0


# B3
def test_the_pixel_cap_holds_before_anything_is_decoded(monkeypatch):
    bomb = encoded(Image.new("1", (8000, 8000)))
    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    lie = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"x")
    assert len(bomb) < 100_000
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    assert refused(bomb).kind is Refusal.TOO_LARGE
    assert "8000x8000" in refused(bomb).reason
    assert refused(lie).kind is Refusal.TOO_LARGE
    assert refused(encoded(photo(40, 30)), max_pixels=1000).kind is Refusal.TOO_LARGE


@pytest.mark.parametrize("size", [(1, 1), (1000, 1), (7, 30)])
# B10
def test_specks_and_lines_are_refused(size):
    assert refused(encoded(Image.new("RGB", size))).kind is Refusal.TOO_SMALL


def test_the_smallest_side_can_be_lowered():
    assert decode(encoded(Image.new("RGB", (1, 3))), min_side_px=1).pixels.shape == (3, 1, 3)


def cmyk_jpeg(inks, inverted):
    """CMYK JPEG of one colour; Adobe's (inverted, with its marker) or straight (without)."""
    stored = inks if inverted else [255 - ink for ink in inks]  # Pillow always inverts
    data = encoded(Image.new("CMYK", (SIDE, SIDE), tuple(stored)), "JPEG", quality=100)
    if not inverted:
        at = data.index(b"\xff\xee")
        data = data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]
    return data


@pytest.mark.parametrize("inverted", [True, False])
@pytest.mark.parametrize(
    ("inks", "rgb"), [([0, 0, 0, 0], WHITE), ([0, 255, 255, 0], RED), ([0, 0, 0, 255], [0, 0, 0])]
)
# B4
def test_cmyk_jpegs_keep_their_colours_however_they_are_stored(inks, rgb, inverted):
    picture = decode(cmyk_jpeg(inks, inverted))
    assert picture.mode == "CMYK"
    assert np.abs(picture.pixels.astype(int) - rgb).max() <= 2


def test_cmyk_tiff_white_is_white():
    picture = decode(encoded(Image.new("CMYK", (SIDE, SIDE), (0, 0, 0, 0)), "TIFF"))
    assert (picture.pixels == 255).all()


RAMP = np.repeat(np.arange(256)[None], SIDE, 0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
# B5
def test_16_bit_grey_is_scaled_not_clipped(file_format, channels):
    data = encoded((RAMP * 257).astype(np.uint16), file_format)
    picture = decode(data, channels=channels)
    assert (picture.pixels == RAMP[..., None]).all()
    assert picture.notes == ("16-bit grey scaled to 8",)


def test_16_bit_grey_rounds_to_the_nearest_level():
    levels = np.tile(np.array([128, 129, 65406, 65407], np.uint16), (SIDE, 8))
    assert decode(encoded(levels), channels=1).pixels[0, :4, 0].tolist() == [0, 1, 254, 255]


# B5
def test_16_bit_colour_keeps_256_levels():
    ramp = np.stack([RAMP, RAMP[:, ::-1], RAMP // 2], -1)
    assert (decode(png_16_bit_rgb(ramp * 257)).pixels == ramp).all()


def test_pixels_without_a_known_white_are_refused():
    data = encoded(Image.new("F", (SIDE, SIDE)), "TIFF")
    assert refused(data).kind is Refusal.UNSUPPORTED


def turned(pixels, orientation):
    """What a camera stores that says `orientation`: the inverse of what a viewer must do."""
    undo = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.swapaxes(0, 1),
        6: lambda p: np.rot90(p, 1),
        7: lambda p: p.swapaxes(0, 1)[::-1, ::-1],
        8: lambda p: np.rot90(p, -1),
    }
    return np.ascontiguousarray(undo[orientation](pixels))


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
# B6
def test_all_orientations_come_out_upright(orientation, file_format):
    upright = photo(24, 40)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = encoded(turned(upright, orientation), file_format, exif=exif, **options)
    assert (decode(data).pixels == upright).all()


def test_jpeg_orientation_6_is_the_phone_held_upright():
    upright = photo(24, 40)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = decode(encoded(turned(upright, 6), "JPEG", quality=95, exif=exif))
    assert np.abs(picture.pixels.astype(int) - upright).mean() < 3
    assert picture.notes == ("rotated by EXIF",)


def test_16_bit_grey_is_turned_too():
    levels = (np.arange(24 * 40).reshape(24, 40) * 60).astype(np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = decode(encoded(levels), channels=1).pixels
    assert (decode(encoded(turned(levels, 6), exif=exif), channels=1).pixels == upright).all()


def test_broken_exif_does_not_spoil_a_picture():
    data = encoded(photo(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
    assert decode(data).pixels.shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "TIFF"])
# B7
def test_animations_give_their_first_frame(file_format):
    frames = [Image.new("RGB", (SIDE, SIDE), color) for color in ("red", "blue", "lime")]
    options = {"lossless": True} if file_format == "WEBP" else {}
    picture = decode(
        encoded(frames[0], file_format, save_all=True, append_images=frames[1:], **options)
    )
    assert (picture.pixels == RED).all()
    assert picture.notes[0] == "several frames, the first is used"


def transparent(mode):
    """Left half opaque black, right half transparent; what is hidden there is bright."""
    image = Image.new("RGBA", (SIDE, SIDE), (255, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, SIDE // 2, SIDE))
    if mode == "P":
        palette = Image.new("P", image.size, 1)
        palette.putpalette([0, 0, 0, 255, 0, 0])
        palette.paste(0, (0, 0, SIDE // 2, SIDE))
        palette.info["transparency"] = 1
        return palette
    if mode == "RGB":  # one colour of an opaque picture declared transparent (tRNS)
        image = image.convert("RGB")
        image.info["transparency"] = (255, 0, 0)
        return image
    return image.convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
# B8
def test_hidden_colours_stay_hidden(mode):
    image = transparent(mode)
    options = {"transparency": image.info["transparency"]} if mode in ("P", "RGB") else {}
    picture = decode(encoded(image, "PNG", **options))
    assert (picture.pixels[:, : SIDE // 2] == 0).all()
    assert (picture.pixels[:, SIDE // 2 :] == 255).all()
    assert picture.notes == ("transparency laid on white",)


def test_half_transparent_black_is_grey_on_white():
    picture = decode(encoded(Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 51))))
    assert (picture.pixels == 204).all()


def test_four_channels_keep_transparency_and_add_it_where_there_is_none():
    rgba = np.dstack([photo(), np.full((SIDE, SIDE), 77, np.uint8)])
    assert (decode(encoded(rgba), channels=4).pixels == rgba).all()
    assert (decode(encoded(photo()), channels=4).pixels[..., 3] == 255).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_every_mode_fits_every_number_of_channels(mode):
    image = Image.new(mode, (SIDE, SIDE + 1))
    for channels in (1, 3, 4):
        assert decode(encoded(image), channels=channels).pixels.shape == (SIDE + 1, SIDE, channels)
    with pytest.raises(UserError, match="channels 2"):
        decode(encoded(image), channels=2)


# B18
def test_profiles_and_large_metadata_do_no_harm():
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", "x" * 5_000_000)
    data = encoded(photo(), "PNG", pnginfo=info, icc_profile=b"not a profile")
    assert (decode(data).pixels == photo()).all()


# B18
def test_a_text_bomb_in_a_png_is_refused():
    info = PngImagePlugin.PngInfo()
    info.add_text("bomb", "x" * 50_000_000, zip=True)
    assert refused(encoded(photo(), pnginfo=info)).kind is Refusal.DAMAGED


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageRefused, match="not a regular file"):
        read_image(tmp_path / "pipe.png")


def test_missing_files_and_folders_are_refused(tmp_path):
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(ImageRefused) as caught:
            read_image(path)
        assert caught.value.kind is Refusal.UNREADABLE


def test_refusals_survive_pickling():
    error = pickle.loads(pickle.dumps(ImageRefused("a.jpg", Refusal.EMPTY, "empty")))
    assert (error.name, error.kind, str(error)) == ("a.jpg", Refusal.EMPTY, "a.jpg: empty")


def test_printable_names_are_one_line_of_utf_8():
    name = os.fsdecode(b"a\n\xff\x1b[31m ") + "ü猫😀"
    shown = printable(name)
    assert shown == r"a\n\xff\x1b[31m ü猫😀"
    assert shown.encode("utf-8")


def test_to_uint8_and_to_float_are_inverse_on_all_levels():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, -1)
    floats = to_float(levels)
    assert floats.shape == (1, 3, 16, 16)
    assert (floats.min(), floats.max()) == (-1, 1)
    assert (to_uint8(floats) == levels).all()


def test_to_uint8_rounds_and_clamps():
    values = torch.tensor([-7.0, -1.0, 0.004, 1.0, 1.02]).reshape(1, 1, 1, 5)
    assert to_uint8(values).ravel().tolist() == [0, 0, 128, 255, 255]


def test_to_float_takes_single_pictures_and_views():
    picture = photo(8, 12)
    assert to_float(picture[::-1]).shape == (3, 8, 12)
    assert to_float(picture[::-1])[0, 0, 0] == pytest.approx(picture[7, 0, 0] / 127.5 - 1)


@pytest.mark.parametrize("shape", [(9, 8), (9, 8, 1), (9, 8, 3), (9, 8, 4)])
def test_saved_pictures_are_read_back_exactly(tmp_path, shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    save_png(tmp_path / "a.png", picture)
    channels = 1 if len(shape) == 2 else shape[2]
    assert (read_image(tmp_path / "a.png", channels).reshape(shape) == picture).all()
    assert os.listdir(tmp_path) == ["a.png"]


def test_only_uint8_pictures_are_saved():
    with pytest.raises(TypeError, match="float64"):
        png_bytes(np.zeros((8, 8, 3)))


def test_a_grid_runs_by_rows_and_fills_with_white():
    images = np.arange(3, dtype=np.uint8)[:, None, None, None].repeat(2, 1).repeat(4, 2)
    sheet = grid(images, columns=2)
    assert sheet.shape == (4, 8, 1)
    assert sheet[::2, ::4, 0].tolist() == [[0, 1], [2, 255]]
