"""Pictures from and to files, and between uint8 HWC outside and float NCHW inside.

Files are not trusted: there are few formats, a limit on pixels is checked before decoding, and
every refusal has one typed reason. Decoding follows these rules:

- the orientation in EXIF is applied; animations and multi-page files give their first frame;
- transparency is laid on white (unless four channels are requested): hidden colour never shows;
- 16-bit grey is scaled (65535 becomes 255), not clipped, and by its own white where it holds fewer
  bits (`framework.media.modes`); of 16-bit colour Pillow keeps the high byte, which differs from
  scaling by at most one level;
- CMYK is inverted exactly when the file is (Adobe's JPEG convention);
- colour profiles are ignored: numbers are taken as sRGB (`framework.compositing.photograph` obeys
  them).
"""

from __future__ import annotations

import io
import os
import stat
import warnings
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from framework.errors import UserError
from framework.files import whole_file
from framework.media.modes import WHITE, eight_bit, on_white, plain

if TYPE_CHECKING:
    from torch import Tensor

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
# Brands of ISO files (bytes 8 to 12) and the plug-in that reads them, if it is installed.
AVIF_BRANDS = (b"avif", b"avis")
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
MAX_PIXELS = 64_000_000
MAX_PHOTO_PIXELS = 150_000_000  # one at a time: decoding takes up to 14 bytes a pixel
MAX_FILE_BYTES = 512 * 2**20
MIN_SIDE_PX = 8
_ORIENTATION = 0x0112
_TURNS = dict(
    enumerate(
        (
            Image.Transpose.FLIP_LEFT_RIGHT,
            Image.Transpose.ROTATE_180,
            Image.Transpose.FLIP_TOP_BOTTOM,
            Image.Transpose.TRANSPOSE,
            Image.Transpose.ROTATE_270,
            Image.Transpose.TRANSVERSE,
            Image.Transpose.ROTATE_90,
        ),
        start=2,
    )
)
# Description, make, model, software, date, artist, copyright.
_TIFF_TEXTS = (270, 271, 272, 305, 306, 315, 33432)
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # channels -> Pillow's name


class Refusal(StrEnum):
    """The kind of a refusal; the value is for machines, `ImageRefused.reason` for people."""

    EMPTY = "empty"
    NOT_AN_IMAGE = "not an image"
    TRUNCATED = "truncated"
    DAMAGED = "damaged"
    TOO_LARGE = "too large"
    TOO_SMALL = "too small"
    UNSUPPORTED = "unsupported"
    UNREADABLE = "unreadable"


class ImageRefused(UserError):
    """A picture that cannot be used: its `name`, the `kind` of `Refusal`, the `reason` in words."""

    def __init__(self, name: str, kind: Refusal, reason: str) -> None:
        super().__init__(f"{printable(name)}: {reason}")
        self.args = (name, kind, reason)  # all of them, so that the error survives pickling
        self.name, self.kind, self.reason = name, kind, reason


@dataclass(frozen=True)
class Picture:
    """A decoded picture and facts about its file."""

    pixels: np.ndarray  # uint8 (H, W, C), upright
    format: str  # of the bytes, whatever the name says
    mode: str  # Pillow's mode before conversion
    notes: tuple[str, ...] = ()  # changes by decoding: "rotated by EXIF", ...


def printable(name: str) -> str:
    r"""Escape `name` to one line of valid UTF-8: control characters and stray bytes as \x."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


# ---------------------------------------------------------------------------------------- reading


def read_bytes(path: str | Path) -> bytes:
    """Read a regular file of at most 512 MiB; never wait on a pipe.

    Raises:
        ImageRefused: If the path is no such file, too large or unreadable.
    """
    name = str(path)
    try:
        handle = os.open(
            path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        )
        with open(handle, "rb") as file:
            facts = os.fstat(handle)
            if not stat.S_ISREG(facts.st_mode):
                raise ImageRefused(name, Refusal.UNREADABLE, "not a regular file")
            if facts.st_size > MAX_FILE_BYTES:
                reason = f"file of {facts.st_size:,} bytes; at most {MAX_FILE_BYTES:,} are read"
                raise ImageRefused(name, Refusal.TOO_LARGE, reason)
            return file.read(MAX_FILE_BYTES)
    except OSError as error:
        reason = f"cannot be read ({error.strerror or error})"
        raise ImageRefused(name, Refusal.UNREADABLE, reason) from None


def read_image(path: str | Path, channels: int = 3, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode a picture file to uint8 (H, W, C); see `decode`."""
    return decode(read_bytes(path), str(path), channels, max_pixels).pixels


def decode(
    data: bytes,
    name: str = "image",
    channels: int = 3,
    max_pixels: int = MAX_PIXELS,
    min_side_px: int = MIN_SIDE_PX,
) -> Picture:
    """Decode a picture of unknown origin.

    Args:
        data: The file's bytes.
        name: Name of the file, for messages.
        channels: 1 (luminance), 3 (RGB) or 4 (RGBA; opaque where the file has no transparency).
        max_pixels: Upper limit of width times height, checked before decoding.
        min_side_px: Shortest side that is accepted.

    Raises:
        ImageRefused: If the bytes are not a complete picture of one of `FORMATS` within the limits.
    """
    if channels not in MODES:
        raise UserError(f"{channels}: give 1 (grey), 3 (RGB) or 4 (RGBA)", "channels")
    source = open_plain(data, name, max_pixels, min_side_px)
    image, notes = eight_bit(source.image, source.white), list(source.notes)
    if "A" in image.mode and channels != 4:
        image = on_white(image)
        notes.append("transparency laid on white")
    pixels = np.array(image.convert(MODES[channels]))
    pixels = pixels.reshape(*pixels.shape[:2], channels)
    return Picture(pixels, source.format, source.mode, (*notes,))


@dataclass(frozen=True, eq=False)
class PlainImage:
    """A picture as its file has it, except for its kind of pixels.

    Args:
        image: The picture, loaded, upright, in one of the modes `framework.media.modes.PLAIN`.
        white: Level of white.
        format: Format of the bytes, whatever the name says.
        mode: Pillow's mode before conversion.
        notes: Changes that opening made.
    """

    image: Image.Image
    white: int
    format: str
    mode: str
    notes: tuple[str, ...] = ()


def open_plain(
    data: bytes, name: str, max_pixels: int = MAX_PIXELS, min_side_px: int = MIN_SIDE_PX
) -> PlainImage:
    """Open a picture of unknown origin with all its depth, transparency and metadata.

    Raises:
        ImageRefused: As in `decode`.
    """
    if not data:
        raise ImageRefused(name, Refusal.EMPTY, "empty file (0 bytes)")
    image = _open(data, name, max_pixels, min_side_px)
    file_format = "JPEG" if image.format == "MPO" else str(image.format)
    mode = image.mode
    try:
        notes = (
            ["several frames, the first is used"] if getattr(image, "is_animated", False) else []
        )
        image.load()
        orientation, exif = _metadata(image)
        info = {**image.info, "exif": exif}
        image, white, more = plain(image, file_format, data)
        image, turned = _upright(image, orientation)
        image.info = info
    except ImageRefused:
        raise
    except UserError as error:
        raise ImageRefused(name, Refusal.UNSUPPORTED, str(error)) from None
    except MemoryError:
        raise
    except Exception as error:  # decoders of hostile bytes raise any error
        raise _broken(name, error) from None
    return PlainImage(image, white, file_format, mode, (*notes, *turned, *more))


def _metadata(image: Image.Image) -> tuple[int, bytes]:
    """Return the orientation (1 is upright) and other camera data; empty if they are broken."""
    try:
        exif = image.getexif()
        orientation = exif.pop(_ORIENTATION, 1)
        if image.format == "TIFF":  # most of its tags are about the file itself
            texts = Image.Exif()
            texts.update({tag: exif[tag] for tag in _TIFF_TEXTS if tag in exif})
            exif = texts
        return orientation, exif.tobytes() if len(exif) else b""
    except Exception:  # broken metadata does not spoil the pixels
        return 1, b""


def _open(data: bytes, name: str, max_pixels: int, min_side_px: int) -> Image.Image:
    try:
        with warnings.catch_warnings():  # Pillow's limit is half its own; ours is compared below
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=_formats(data))
    except Image.DecompressionBombError:
        raise ImageRefused(name, Refusal.TOO_LARGE, _too_many("", max_pixels)) from None
    except UnidentifiedImageError:
        raise ImageRefused(name, *_what_is_it(data)) from None
    except MemoryError:
        raise
    except Exception as error:
        if data[4:8] == b"ftyp":
            raise ImageRefused(name, *_what_is_it(data)) from None
        raise _broken(name, error) from None
    width, height = image.size
    if width * height >= max_pixels:
        raise ImageRefused(name, Refusal.TOO_LARGE, _too_many(f"{width}x{height}, ", max_pixels))
    if min(width, height) < min_side_px:
        reason = f"{width}x{height} is too small (a side below {min_side_px} px)"
        raise ImageRefused(name, Refusal.TOO_SMALL, reason)
    return image


def _formats(data: bytes) -> tuple[str, ...]:
    """Return the formats that are read; HEIC only where the extra `heif` is installed."""
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    if brand in AVIF_BRANDS and features.check("avif"):
        return ("AVIF",)
    if brand in HEIF_BRANDS and _heif_is_here():
        return ("HEIF",)
    return FORMATS


def _heif_is_here() -> bool:
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener(thumbnails=False)
    return True


def _too_many(size: str, max_pixels: int) -> str:
    return f"{size}too many pixels (below {max_pixels / 1e6:g} million are read)"


def _broken(name: str, error: Exception) -> ImageRefused:
    text = str(error).lower()
    if "truncated" in text or "end of file" in text or isinstance(error, EOFError):
        return ImageRefused(name, Refusal.TRUNCATED, "truncated (the file ends too early)")
    first_line = printable(" ".join(str(error).split()))[:120]
    return ImageRefused(name, Refusal.DAMAGED, f"damaged ({first_line or type(error).__name__})")


def _what_is_it(data: bytes) -> tuple[Refusal, str]:
    """Say what the bytes are instead of a picture: most are failed downloads."""
    head = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(b"version https://git-lfs"):
        return Refusal.NOT_AN_IMAGE, "a Git-LFS pointer, not the image itself; run `git lfs pull`"
    if head.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return Refusal.NOT_AN_IMAGE, "an HTML page, not an image (a failed download?)"
    if head.startswith((b"<svg", b"<?xml")):
        return Refusal.UNSUPPORTED, "SVG or XML; export it as PNG"
    if data[4:8] == b"ftyp":
        return Refusal.UNSUPPORTED, _iso_file(data[8:12])
    if data.startswith((b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"II*\0", b"MM\0*", b"BM")):
        return Refusal.TRUNCATED, "truncated or damaged in its first bytes"
    if not data.strip(b"\0"):
        return Refusal.NOT_AN_IMAGE, "only zero bytes, not an image"
    return Refusal.NOT_AN_IMAGE, f"not an image ({', '.join(FORMATS)} are read)"


def _iso_file(brand: bytes) -> str:
    hint = "of a kind that is not read, or damaged; export it as PNG or JPEG"
    if brand in AVIF_BRANDS and not features.check("avif"):
        hint = "this Pillow reads no AVIF (12 and newer do); export it as PNG or JPEG"
    elif brand in HEIF_BRANDS and not _heif_is_here():
        hint = "pip install 'dragline[heif]' to read HEIC, or export it as PNG or JPEG"
    return f"HEIC, AVIF or video; {hint}"


def _upright(image: Image.Image, orientation: int) -> tuple[Image.Image, list[str]]:
    turn = _TURNS.get(orientation)
    return (image, []) if turn is None else (image.transpose(turn), ["rotated by EXIF"])


# ----------------------------------------------------------------------- conversion and writing


def to_uint8(images: Tensor) -> np.ndarray:
    """Convert network images, float (N, C, H, W) in [-1, 1], to pictures, uint8 (N, H, W, C).

    Values are rounded; those outside [-1, 1] are clamped.
    """
    import torch

    levels = ((images.detach().float() + 1) * 127.5).round().clamp(0, 255)
    return levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def to_float(pictures: np.ndarray) -> Tensor:
    """Convert pictures, uint8 (..., H, W, C), to float32 (..., C, H, W) in [-1, 1]."""
    import torch

    levels = torch.from_numpy(np.ascontiguousarray(pictures)).movedim(-1, -3)
    return (levels.float() / 127.5 - 1).contiguous()


def save_png(path: str | Path, picture: np.ndarray, compress_level: int = 6) -> None:
    """Write uint8 (H, W) or (H, W, C) with 1, 3 or 4 channels as PNG, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_bytes(png_bytes(picture, compress_level))


def png_bytes(picture: np.ndarray, compress_level: int = 6) -> bytes:
    """Encode as PNG a uint8 picture (H, W) or (H, W, C) with 1, 3 or 4 channels."""
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3):
        raise TypeError(f"expected uint8 (H, W[, C]), got {picture.dtype} {picture.shape}")
    if picture.ndim == 3 and picture.shape[2] == 1:
        picture = picture[..., 0]
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", compress_level=compress_level)
    return buffer.getvalue()


def grid(images: np.ndarray, columns: int) -> np.ndarray:
    """Tile uint8 (N, H, W, C) by rows into one (rows * H, columns * W, C); gaps are white."""
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    sheet = np.full((rows * columns, height, width, channels), WHITE, np.uint8)
    sheet[:count] = images
    sheet = sheet.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return sheet.reshape(rows * height, columns * width, channels)
