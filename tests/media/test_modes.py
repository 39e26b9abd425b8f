"""Depths and kinds of pixels: what is white, and that a note says so where it had to be found."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from framework.media.images import decode, read_image
from tests.media.test_images import RAMP, encoded, png_chunk, refused

LEVELS = RAMP / 255


def deep(white, dtype=np.uint16):
    return np.rint(LEVELS * white).astype(dtype)


def with_sbit(png, bits):
    """A PNG that says how many of its 16 bits count."""
    at = png.index(b"IDAT") - 4
    return png[:at] + png_chunk(b"sBIT", bytes([bits])) + png[at:]


def big_endian(levels):
    height, width = levels.shape
    return Image.frombytes("I;16B", (width, height), levels.astype(">u2").tobytes())


def packed_12_bit_tiff(levels):
    """12 bits a sample without padding, as scanners write it; Pillow cannot."""
    height, width = levels.shape
    first, second = levels[:, ::2].astype(int), levels[:, 1::2].astype(int)
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=2)
    tags = {256: width, 257: height, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: height}
    tags[279] = packed.size
    body = packed.astype(np.uint8).tobytes()
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack("<2sHI", b"II", 42, 8 + len(body)) + body + struct.pack(
        "<H", len(tags)
    ) + entries + bytes(4)  # fmt: skip


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
# A10f
def test_levels_of_fewer_bits_in_a_16_bit_file_are_not_black(file_format, bits):
    picture = decode(encoded(deep(2**bits - 1), file_format), channels=1)
    assert np.abs(picture.pixels[..., 0].astype(int) - RAMP).max() <= (0 if bits == 8 else 1)
    assert picture.notes == (f"16-bit grey of {bits}-bit levels: {2**bits - 1} is white",)


def test_other_orders_and_types_of_deep_grey_have_the_same_white():
    files = {
        "big endian": encoded(big_endian(deep(4095)), "TIFF"),
        "32-bit whole numbers": encoded(deep(4095, np.int32), "TIFF"),
        "12 bits packed": packed_12_bit_tiff(deep(4095)),
    }
    for name, data in files.items():
        picture = decode(data, channels=1)
        assert np.abs(picture.pixels[..., 0].astype(int) - RAMP).max() <= 1, name
        assert "12-bit levels" in picture.notes[0], name


def test_what_a_file_says_of_its_depth_counts_where_it_can_be_true():
    dark = encoded(deep(1000))  # a night, 12 bits deep
    assert decode(with_sbit(dark, 12), channels=1).pixels.max() == round(255 * 1000 / 4095)
    # By the standard, levels of 12 bits are scaled up to 16: what is above 4095 is no 12-bit level.
    bright = with_sbit(encoded(deep(65535)), 12)
    assert (decode(bright, channels=1).pixels[..., 0] == RAMP).all()
    tagged = encoded(deep(1000), "TIFF", tiffinfo={281: 4095})
    assert decode(tagged, channels=1).pixels.max() == round(255 * 1000 / 4095)


@pytest.mark.parametrize("white", [1, 255, 4095, 65535])
def test_floats_are_scaled_by_the_white_that_their_largest_tells(white):
    picture = decode(encoded((LEVELS * white).astype(np.float32), "TIFF"), channels=1)
    assert np.abs(picture.pixels[..., 0].astype(int) - RAMP).max() <= 1
    assert picture.notes == (f"float grey: {white} is white",)


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ((LEVELS - 0.5).astype(np.float32), "float levels from -0.5 to 0.5"),
        ((LEVELS * 1e6).astype(np.float32), "float levels from 0 to 1e"),
        (np.where(LEVELS > 0.5, np.nan, 0).astype(np.float32), "NaN"),
        ((LEVELS * 70000).astype(np.int32), "levels from 0 to 70000"),
    ],
)
def test_levels_without_a_white_are_refused_with_their_range(levels, words):
    assert words in refused(encoded(levels, "TIFF")).reason


def test_cielab_keeps_its_colours():
    colours = np.stack([RAMP, RAMP[:, ::-1], RAMP // 2], -1).astype(np.uint8)
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    image = ImageCms.profileToProfile(Image.fromarray(colours), srgb, lab, outputMode="LAB")
    picture = decode(encoded(image, "TIFF"))
    assert np.abs(picture.pixels.astype(int) - colours).mean() < 4
    assert picture.notes == ("CIELAB converted",)


@pytest.mark.parametrize("kind", [2, 6])
def test_16_bit_colour_says_that_8_bits_are_kept(kind):
    height, width, channels = 32, 32, {2: 3, 6: 4}[kind]
    rows = b"".join(bytes(1 + 2 * channels * width) for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows))
    data = b"\x89PNG\r\n\x1a\n" + body + png_chunk(b"IEND", b"")
    assert "16-bit colour read in 8 bits" in decode(data, channels=4).notes


@pytest.mark.skipif(not features.check("avif"), reason="Pillow without AVIF")
# D5f
def test_avif_is_read_through_the_same_guards():
    picture = Image.fromarray(np.repeat(RAMP[..., None], 3, 2).astype(np.uint8))
    data = encoded(picture, "AVIF", quality=100)
    decoded = decode(data)
    assert decoded.format == "AVIF"
    assert np.abs(decoded.pixels.astype(int) - RAMP[..., None]).max() <= 4
    assert "too many pixels" in refused(data, max_pixels=1000).reason
    assert refused(data[: len(data) // 2]).reason


# D5f
def test_heic_is_read_with_its_extra_and_names_it_without(monkeypatch, tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    picture = Image.fromarray(np.repeat(RAMP[..., None], 3, 2).astype(np.uint8))
    pillow_heif.from_pillow(picture).save(tmp_path / "phone.heic", quality=100)
    read = read_image(tmp_path / "phone.heic")
    assert np.abs(read.astype(int) - RAMP[..., None]).max() <= 4
    data = (tmp_path / "phone.heic").read_bytes()
    assert "too many pixels" in refused(data, max_pixels=1000).reason
    monkeypatch.setattr("framework.media.images._heif_is_here", lambda: False)
    assert "pip install 'dragline[heif]'" in refused(data).reason


def ycck_jpeg(inks):
    """Photoshop's CMYK JPEG: C, M and Y as luminance and chroma, K inverted (transform 2)."""
    colours = Image.new("RGB", (32, 32), tuple(inks[:3])).convert("YCbCr").split()
    stored = [*colours, Image.new("L", (32, 32), 255 - inks[3])]
    stored = [plane.point(lambda level: 255 - level) for plane in stored]  # Pillow inverts
    data = bytearray(encoded(Image.merge("CMYK", stored), "JPEG", quality=100, subsampling=0))
    data[data.index(b"Adobe") + 11] = 2
    return bytes(data)


@pytest.mark.parametrize(
    ("inks", "rgb"),
    [((0, 0, 0, 0), [255] * 3), ((0, 255, 255, 0), [255, 0, 0]), ((0, 0, 0, 255), [0] * 3)],
)
def test_photoshops_ycck_keeps_its_colours(inks, rgb):
    picture = decode(ycck_jpeg(inks))
    assert picture.mode == "CMYK" and np.abs(picture.pixels.astype(int) - rgb).max() <= 3
