"""Conversion of every kind of pixel to grey or colour, with or without transparency.

Black and white are defined in 8-bit pictures. Files of 16 bits often hold fewer: cameras and
microscopes write levels of 12 bits unscaled. Either the file states this (PNG's sBIT, TIFF's tags)
or the largest level shows it; a note says which levels were assumed.
"""

import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageCms

from framework.errors import UserError

PLAIN = ("L", "LA", "RGB", "RGBA", "I;16")
WHITE = 255
WHITE_16 = 65535
_CUSTOMARY_BITS = (8, 10, 12, 14)  # depths of unscaled levels in a 16-bit file
_BITS_PER_SAMPLE, _MAX_SAMPLE, _SMAX_SAMPLE = 258, 281, 341  # tags of TIFF
_EIGHT_BITS_OF_16 = "16-bit colour read in 8 bits"


def plain(image: Image.Image, file_format: str, data: bytes) -> tuple[Image.Image, int, list[str]]:
    """Turn an opened picture into one of the `PLAIN` modes.

    Args:
        image: The picture, loaded.
        file_format: Pillow's name of the file's format.
        data: The file's bytes, whose header may state the depth.

    Returns:
        The picture, its level of white (255, or less than 65536 where the mode is I;16), and notes.

    Raises:
        UserError: If black and white cannot be determined; the message is the reason alone.
    """
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _deep(image, file_format, data)
    notes = [_EIGHT_BITS_OF_16] if _is_deep_colour(image, data) else []
    if image.mode == "CMYK":
        if file_format == "JPEG" and "adobe" not in image.info:
            # Pillow inverts every CMYK JPEG, but only Adobe's are stored inverted.
            image = Image.fromarray(255 - np.asarray(image), mode="CMYK")
        return image.convert("RGB"), WHITE, [*notes, "CMYK converted"]
    if image.mode == "LAB":
        return _from_lab(image), WHITE, [*notes, "CIELAB converted"]
    if image.has_transparency_data:
        grey = image.mode in ("1", "L", "LA", "La")
        return image.convert("RGBA").convert("LA" if grey else "RGBA"), WHITE, notes
    if image.mode in ("1", "L"):
        return image.convert("L"), WHITE, notes
    return image.convert("RGB"), WHITE, notes


def eight_bit(image: Image.Image, white: int) -> Image.Image:
    """Scale a plain picture to 255 for white, rounded."""
    if image.mode != "I;16":
        return image
    levels = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((levels * WHITE + white // 2) // white).clip(0, WHITE).astype(np.uint8))


def on_white(image: Image.Image) -> Image.Image:
    """Lay a picture with transparency (LA, RGBA) on white: hidden colour never shows."""
    image = image.convert("RGBA")
    sheet = Image.new("RGBA", image.size, (WHITE,) * 4)
    return Image.alpha_composite(sheet, image).convert("RGB")


def _deep(image: Image.Image, file_format: str, data: bytes) -> tuple[Image.Image, int, list[str]]:
    """Convert a picture of one channel and more than 8 bits a pixel."""
    levels = np.asarray(image)
    if image.mode == "F":
        return _of_floats(levels)
    low, high = int(levels.min()), int(levels.max())
    if low < 0 or high > WHITE_16:
        raise UserError(f"levels from {low} to {high} have no agreed black and white; {_SAVE}")
    bits = _bits(image, file_format, data, high)
    deep = Image.fromarray(levels.astype(np.uint16))
    if bits == 16:
        return deep, WHITE_16, ["16-bit grey scaled to 8"]
    white = 2**bits - 1
    return deep, white, [f"16-bit grey of {bits}-bit levels: {white} is white"]


_SAVE = "save as 8 or 16 bit"


def _of_floats(levels: np.ndarray) -> tuple[Image.Image, int, list[str]]:
    """Convert floats, the largest of which tells white: 1, or that of 8, 10, 12, 14 or 16 bits."""
    if not np.isfinite(levels).all():
        raise UserError(f"float levels with NaN or infinity; {_SAVE}")
    low, high = float(levels.min()), float(levels.max())
    whites = (1, *(2**bits - 1 for bits in (*_CUSTOMARY_BITS, 16)))
    white = next((white for white in whites if high <= white), None)
    if low < 0 or high == 0 or white is None:
        raise UserError(
            f"float levels from {low:g} to {high:g} have no agreed black and white; {_SAVE}"
        )
    scaled = np.rint(levels.astype(np.float64) * (WHITE_16 / white)).astype(np.uint16)
    return Image.fromarray(scaled), WHITE_16, [f"float grey: {white} is white"]


def _bits(image: Image.Image, file_format: str, data: bytes, high: int) -> int:
    """Return the bits of a 16-bit picture's levels; the file's statement counts if possible."""
    stated_bits = _png_bits(data) if file_format == "PNG" else _tiff_bits(image)
    if stated_bits is not None and high < 2**stated_bits:
        return stated_bits
    return next((bits for bits in _CUSTOMARY_BITS if 0 < high < 2**bits), 16)


def _png_bits(data: bytes) -> int | None:
    """Read the depth from PNG's sBIT. A standard writer scales up to 16 bits all the same."""
    bits = next((body[0] for kind, body in _png_chunks(data) if kind == b"sBIT" and body), None)
    return bits if bits is not None and 8 <= bits < 16 else None


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the chunks before the pixels."""
    at = 8
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IDAT":
            return
        yield kind, data[at + 8 : at + 8 + length]
        at += 12 + length


def _tiff_bits(image: Image.Image) -> int | None:
    """Read the depth from TIFF's BitsPerSample, or from the largest level that it states."""
    tags = getattr(image, "tag_v2", {})
    try:
        bits = int(np.ravel(tags.get(_BITS_PER_SAMPLE, 16))[0])
        if bits < 16:
            return bits
        highest = int(np.ravel(tags.get(_SMAX_SAMPLE, tags.get(_MAX_SAMPLE, 0)))[0])
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return highest.bit_length() if WHITE <= highest < WHITE_16 else None


def _is_deep_colour(image: Image.Image, data: bytes) -> bool:
    """Whether a file has 16 bits a channel of which Pillow keeps 8."""
    if image.format == "PNG":
        return data[24:25] == b"\x10"
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (8,))
    return 16 in np.ravel(bits)


def _from_lab(image: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert converted is not None
    return converted
