"""An edited canvas pasted back into the photograph that it was cut from.

The field to paste is computed on the canvas and resampled at the photograph's pixels through the
inverse of the geometry, band by band; a pixel whose weight is zero keeps its value to the bit.
"""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple, get_args

import numpy as np
from PIL import Image, ImageFilter

from framework.compositing.detail import Detail
from framework.compositing.geometry import Geometry, check_photo, photo_box, to_canvas
from framework.compositing.membrane import membrane
from framework.compositing.resample import Affine, composed, resample, scales
from framework.errors import UserError
from framework.media.modes import WHITE

Seam = Literal["hard", "feather", "gradient"]
SEAMS = get_args(Seam)
CHANGED_LEVELS = 6  # of 255: smaller changes count as none for `changed_only`
REPLACED_LEVELS = (20, 60)  # of 255: larger changes replace the photograph's own detail
_GROW_PX, _SOFT_PX = 2, 2  # canvas pixels around what changed: fully pasted, then fading
_INTERPOLATION_PX = 2  # reach of bicubic interpolation
CHANGE_REACH_PX = _GROW_PX + _SOFT_PX + _INTERPOLATION_PX
_FEATHER_OF_SIDE = 1 / 16
_GRADIENT_FEATHER_PX = 2  # at its border the membrane differs in fine detail only
_BAND_PIXELS = 1 << 19  # 40 MB of temporary arrays


def paste_back(
    photo: np.ndarray,
    edited: np.ndarray,
    geometry: Geometry,
    *,
    original: np.ndarray | None = None,
    changed_only: bool = False,
    seam: Seam = "feather",
    feather_px: float | None = None,
    white: int = WHITE,
    carry: bool = True,
) -> np.ndarray:
    """Paste an edited picture into the photograph.

    Args:
        photo: uint8 or uint16 (h, w, C) with 1 or 3 channels, of the geometry's photo size.
        edited: The canvas after the edit, (H, W, C): uint8, or floats in levels from 0 to 255.
        geometry: Place of the photograph on the canvas.
        original: The canvas before the edit as the generator makes it, like `edited`. With it the
            difference is added to the photograph, which thus keeps its own detail and what the
            generator could not make. Where the two differ by much (fading in between
            `REPLACED_LEVELS`), something has moved and detail would stay behind as a ghost: there
            the edited canvas itself is pasted, with detail of its own (`carry`).
        changed_only: Keep every pixel that is farther than `CHANGE_REACH_PX` canvas pixels (or
            photo pixels, where those are larger) from one that the edit changed by more than
            `CHANGED_LEVELS`; requires `original`.
        seam: "hard" pastes all of the valid box, "feather" fades in from its border, "gradient"
            shifts colours by the smoothest field that makes both agree along the border (Pérez et
            al. 2003, Poisson image editing, section 3). Where the box ends with the photograph
            there is no seam.
        feather_px: Width of the fade, in canvas pixels; None for 1/16 of the canvas' shorter side.
        white: The photograph's level of white, 255 on the canvas.
        carry: Whether what has moved takes the photograph's detail along, and the ground that it
            uncovers gets that of ground elsewhere (`framework.compositing.carried`); without it
            both are as smooth as the canvas. Takes about a second for a canvas of 64 pixels.

    Returns:
        The result, of the photograph's type and shape. Outside the valid box every pixel is the
        photograph's to the bit.

    Raises:
        UserError: If sizes or options do not fit.
    """
    _check(photo, edited, original, geometry, changed_only, seam, feather_px)
    layers = _layers(photo, edited, geometry, original, changed_only, seam, white, carry)
    box_size = (layers.field.shape[0], layers.field.shape[1])
    field, to_padded = _padded(layers.field, geometry)
    closed = seam_sides(geometry)
    fade_px = _GRADIENT_FEATHER_PX if seam == "gradient" else 0
    if seam == "feather":
        default = min(geometry.canvas_size) * _FEATHER_OF_SIDE
        fade_px = default if feather_px is None else feather_px
    result = photo.copy()
    for rows, columns, to_box in _bands(geometry):
        size = (rows.stop - rows.start, columns.stop - columns.start)
        to_field = composed(to_padded, to_box)
        pasted = resample(field, to_field, size, Image.Resampling.BICUBIC)
        part = photo[rows, columns].astype(np.float32) * (WHITE / white)
        colours, share = pasted[..., :-1], pasted[..., -1:]
        for detail in layers.details:
            detail.add(colours, share, photo, (rows, columns))
        weight = _weights(to_box, size, box_size, closed, fade_px)[..., None]
        part += weight * (colours - share * part)
        part *= white / WHITE
        result[rows, columns] = np.rint(part, out=part).clip(0, white)
    return result


def seam_sides(geometry: Geometry) -> tuple[bool, bool, bool, bool]:
    """Whether each side of the valid box (left, top, right, bottom) is off the photo's border."""
    left, top, right, bottom = geometry.valid_box
    height, width = geometry.photo_size
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)]) - 0.5
    near = np.abs((geometry.to_photo_points(corners) + 0.5)[:, :, None] - [[0, width], [0, height]])
    on_border = near < 0.5  # photo pixels; corner, coordinate, end
    ends = ((3, 0), (0, 1), (1, 2), (2, 3))
    sides = [not (on_border[a] & on_border[b]).any() for a, b in ends]
    return sides[0], sides[1], sides[2], sides[3]


def _check(
    photo: np.ndarray,
    edited: np.ndarray,
    original: np.ndarray | None,
    geometry: Geometry,
    changed_only: bool,
    seam: str,
    feather_px: float | None,
) -> None:
    if seam not in SEAMS:
        raise UserError(f"seam {seam}: give {', '.join(SEAMS[:-1])} or {SEAMS[-1]}")
    if feather_px is not None and not 0 <= feather_px < 1e6:
        raise UserError(f"feather {feather_px}: give pixels of the model's picture, at least 0")
    if changed_only and original is None:
        raise UserError("changed_only: give the reconstruction before the edit, too")
    kinds = (np.dtype(np.uint8), np.dtype(np.uint16))
    if photo.dtype not in kinds or photo.ndim != 3 or photo.shape[2] not in (1, 3):
        raise UserError(
            f"photo {photo.dtype} {photo.shape}: paste into uint8 or uint16 (height, width, 1 or 3)"
        )
    check_photo(photo, geometry)
    expected = (*geometry.canvas_size, photo.shape[2])
    for name, canvas in {"edited": edited, "original": original}.items():
        if canvas is not None and canvas.shape != expected:
            raise UserError(
                f"{name} picture {canvas.shape}, but the geometry and a photo of {photo.dtype}"
                f" {photo.shape} require {expected}"
            )
        if canvas is not None and not np.isfinite(canvas).all():
            raise UserError(f"{name} picture holds NaN or infinity")


class _Layers(NamedTuple):
    """What is pasted on the valid box.

    A photo pixel p becomes p + colours - share * p, where `field` (H, W, C + 1) float32 holds
    colours and share, plus share times the details. Where an edit changed little, the share is 0
    and the colours are the difference; where it changed much, something has moved: the
    photograph's detail is out of place there, and the canvas replaces it.
    """

    field: np.ndarray
    details: list[Detail]


def _layers(
    photo: np.ndarray,
    edited: np.ndarray,
    geometry: Geometry,
    original: np.ndarray | None,
    changed_only: bool,
    seam: Seam,
    white: int,
    carry: bool,
) -> _Layers:
    left, top, right, bottom = geometry.valid_box
    box = (slice(top, bottom), slice(left, right))
    colours = edited[box].astype(np.float32)
    before = None if original is None else original[box].astype(np.float32)
    after, seen = colours, _seen(photo, geometry, white)[box].astype(np.float32)
    if seam == "gradient":
        reference = seen if before is None else before
        colours = after + membrane(reference - after, seam_sides(geometry)).astype(np.float32)
    if before is None:
        return _Layers(_with_share(colours, np.ones((*colours.shape[:2], 1), np.float32)), [])
    change = np.abs(after - before).max(axis=2)
    low, high = REPLACED_LEVELS
    share = _soft(_ramp((change - low) / (high - low)), 1, 1)
    details: list[Detail] = []
    if carry and share.any():
        # SciPy takes long to import, and pasting is a small part of what imports this.
        from framework.compositing.moved import moved

        beside = _soft(share[..., 0] > 0, _GROW_PX, _SOFT_PX)
        share, correction, pieces = moved(before, after, seen, share, beside)
        colours = colours + correction
        details = [Detail(piece, before, geometry, white) for piece in pieces]
    field = _with_share(colours - (1 - share) * before, share)
    if changed_only:
        field *= _soft(change > CHANGED_LEVELS, _GROW_PX, _SOFT_PX)
    return _Layers(field, details)


def _seen(photo: np.ndarray, geometry: Geometry, white: int) -> np.ndarray:
    """Return the photograph as the model sees it, in its own colours, (H, W, C) in levels."""
    levels = photo if white == WHITE else np.rint(photo * (WHITE / white)).astype(np.uint8)
    return to_canvas(levels, geometry)


def _with_share(colours: np.ndarray, share: np.ndarray) -> np.ndarray:
    return np.concatenate([colours, share], axis=2)


def _padded(field: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, Affine]:
    """Pad the field by repeating its border, for photo pixels that extend beyond it."""
    margin = math.ceil(2 * max(1, *scales(geometry.affine))) + 1
    padded = np.pad(field, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    return padded, ((1, 0, margin), (0, 1, margin))


def _ramp(x: np.ndarray) -> np.ndarray:
    """Ease from 0 to 1 with x, level at both ends."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _soft(mask: np.ndarray, grow_px: int, soft_px: int) -> np.ndarray:
    """Grow a mask (H, W) and let it fade from 1 to 0 within `soft_px`; (H, W, 1)."""
    levels = Image.fromarray(np.rint(255.0 * mask).astype(np.uint8))
    reach = grow_px + soft_px // 2
    grown = levels.filter(ImageFilter.MaxFilter(2 * reach + 1))
    soft = grown.filter(ImageFilter.BoxBlur((soft_px + 1) // 2))
    return np.asarray(soft, np.float32)[..., None] / 255


def _bands(geometry: Geometry) -> Iterator[tuple[slice, slice, Affine]]:
    """Yield rows and columns of the photograph, and the map of their pixels to the valid box."""
    left, top, right, bottom = photo_box(geometry)
    box_left, box_top, *_ = geometry.valid_box
    to_box = composed(((1, 0, -box_left), (0, 1, -box_top)), geometry.affine)
    coarse = max(scales(geometry.affine)) > 1  # then the canvas is larger: not needed
    height = bottom - top if coarse else max(1, _BAND_PIXELS // (right - left))
    for start in range(top, bottom, height):
        rows = slice(start, min(start + height, bottom))
        yield rows, slice(left, right), composed(to_box, ((1, 0, left), (0, 1, start)))


def _weights(
    to_box: Affine,
    size: tuple[int, int],
    box_size: tuple[int, int],
    closed: tuple[bool, bool, bool, bool],
    fade_px: float,
) -> np.ndarray:
    """Return each photo pixel's share of the field, (H, W): 0 outside the valid box."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    weight = np.ones(size, np.float32)
    for axis, (scale_x, scale_y, offset) in enumerate(to_box):
        place = scale_x * x + scale_y * y + offset + 0.5  # from the box's corner
        length = box_size[1 - axis]
        for distance, is_seam in ((place, closed[axis]), (length - place, closed[axis + 2])):
            weight *= distance > 0
            if is_seam and fade_px:
                weight *= _ramp(distance / fade_px)
    return weight
