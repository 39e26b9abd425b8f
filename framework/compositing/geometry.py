"""The geometry of a photograph on a model's canvas, as data that travels with the picture.

A `Geometry` is an affine map and the box of the canvas that the photograph covers. The photograph
is what `framework.media.images.read_image` gives: upright, on white, 8 bit. Points are (x, y) with
pixel centres at integers, so pixel (0, 0) spans -0.5 to 0.5; boxes are half-open (left, top, right,
bottom), in whole pixels from the corner.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from framework.compositing.covered import TOLERANCE_PX, largest_covered
from framework.compositing.resample import (
    Affine,
    applied,
    composed,
    inverted,
    resample,
    scales,
    snapped,
)
from framework.errors import UserError
from framework.media.modes import WHITE

Mode = Literal["center", "pad", "stretch"]
MODES = get_args(Mode)
Fill = Literal["colour", "mirror"]
FILLS = get_args(Fill)
_LARGEST_SIDE = 1 << 20


@dataclass(frozen=True)
class Geometry:
    """The place of a photograph on a canvas.

    Args:
        photo_size: (height, width) of the upright photograph, in pixels.
        canvas_size: (height, width) of the model's pictures.
        affine: Map from photo pixel (x, y, 1) to canvas pixel (x, y), 2 rows of 3, pixel centres at
            integers.
        valid_box: Half-open box of the canvas, in whole pixels, that the photograph fills.
        pad_colour: Colour (r, g, b) of the rest of the canvas.
        fill: Content of the rest: "colour" is that colour, "mirror" the valid box reflected.

    Raises:
        UserError: If values are invalid or do not fit each other.
    """

    photo_size: tuple[int, int]
    canvas_size: tuple[int, int]
    affine: Affine
    valid_box: tuple[int, int, int, int]
    pad_colour: tuple[int, int, int] = (WHITE, WHITE, WHITE)
    fill: Fill = "colour"

    def __post_init__(self) -> None:
        reason = _fault(self)
        if reason:
            raise UserError(f"geometry: {reason}")

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, from which `from_dict` makes an equal geometry."""
        return {name: _lists(value) for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Geometry":
        """Make the geometry from `to_dict`'s values, checked.

        Raises:
            UserError: If something is missing, unknown or impossible.
        """
        try:
            fields = {name: _tuples(value) for name, value in values.items()}
            return cls(**fields)
        except (TypeError, ValueError, AttributeError, RecursionError) as error:
            reason = str(error).removeprefix("geometry: ")
            raise UserError(f"geometry: {reason}") from None

    def inverse(self) -> Affine:
        """Return the map from canvas pixel (x, y, 1) to photo pixel (x, y)."""
        return inverted(self.affine)

    def to_canvas_points(self, points: Sequence | np.ndarray) -> np.ndarray:
        """Map points of the photograph, (..., 2), to the canvas; float64."""
        return applied(self.affine, np.asarray(points, np.float64))

    def to_photo_points(self, points: Sequence | np.ndarray) -> np.ndarray:
        """Map points of the canvas, (..., 2), to the photograph; float64."""
        return applied(self.inverse(), np.asarray(points, np.float64))


def fit_geometry(
    photo_size: tuple[int, int],
    canvas_size: tuple[int, int],
    mode: Mode = "center",
    box: Sequence[float] | None = None,
    rotate_deg: float = 0,
) -> Geometry:
    """Lay a photograph, or a box of it, on a canvas.

    Args:
        photo_size: (height, width) of the upright photograph.
        canvas_size: (height, width) of the model's pictures.
        mode: "center" cuts the largest central part of the canvas' shape, "pad" keeps everything
            and leaves borders, "stretch" ignores proportions.
        box: Part of the photograph to use, (left, top, right, bottom) in photo pixels, half-open;
            None for all of it. It may leave the photograph: the valid box says what is covered.
        rotate_deg: Angle of the box, clockwise about its centre, so that a subject that leans
            clockwise by this angle stands upright. Without a box, "center" takes the largest part
            that stays within the photograph.

    Returns:
        The geometry. Where a turned box extends beyond the photograph, the valid box is the largest
        that does not.

    Raises:
        UserError: If box or mode is invalid, or no pixel of the canvas would be covered.
    """
    if mode not in MODES:
        raise UserError(f"crop {mode}: give {', '.join(MODES[:-1])} or {MODES[-1]}")
    left, top, width, height = _checked_box(box, photo_size)
    (canvas_h, canvas_w), (inner_w, inner_h) = canvas_size, (canvas_size[1], canvas_size[0])
    cut_w, cut_h = width, height
    if mode == "center":
        scale = min(width / canvas_w, height / canvas_h)
        if box is None and rotate_deg:
            scale *= _shrink_to_turn(canvas_size, scale, photo_size, rotate_deg)
        cut_w, cut_h = canvas_w * scale, canvas_h * scale
    elif mode == "pad":
        scale = min(canvas_w / width, canvas_h / height)
        inner_w, inner_h = max(1, round(width * scale)), max(1, round(height * scale))
    if rotate_deg:
        cut = (left + (width - cut_w) / 2, top + (height - cut_h) / 2, cut_w, cut_h)
    else:  # whole pixels, as in the pictures that networks are trained on
        cut_w, cut_h = max(1, round(cut_w)), max(1, round(cut_h))
        cut = (left + (width - cut_w) // 2, top + (height - cut_h) // 2, cut_w, cut_h)
    inner = ((canvas_w - inner_w) // 2, (canvas_h - inner_h) // 2, inner_w, inner_h)
    affine = _box_to_box(cut, inner, (left + width / 2, top + height / 2), rotate_deg)
    valid = largest_covered(affine, photo_size, inner)
    if valid is None:
        raise UserError(
            f"{_text(box or cut)}: puts no part of the {photo_size[1]}x{photo_size[0]} photo on"
            f" the {canvas_w}x{canvas_h} picture; give a box within the photo",
            "box",
        )
    return Geometry(photo_size, canvas_size, affine, valid)


def to_canvas(
    photo: np.ndarray, geometry: Geometry, filter: Image.Resampling = Image.Resampling.LANCZOS
) -> np.ndarray:
    """Resample the photograph to the canvas.

    Args:
        photo: uint8 (h, w, C) with 1, 3 or 4 channels, of the geometry's photo size.
        geometry: Place of the photograph on the canvas.
        filter: Filter of the resampling.

    Returns:
        uint8 (H, W, C); outside the valid box the pad colour (opaque, or its mean for grey), or the
        box mirrored.
    """
    check_photo(photo, geometry)
    left, top, right, bottom = geometry.valid_box
    x, y, end_x, end_y = photo_box(geometry)
    box_to_photo = composed(geometry.inverse(), ((1, 0, left), (0, 1, top)))
    to_cut = composed(((1, 0, -x), (0, 1, -y)), box_to_photo)
    size = (bottom - top, right - left)
    part = resample(photo[y:end_y, x:end_x], to_cut, size, filter)
    if size == geometry.canvas_size:
        return part
    if geometry.fill == "mirror":
        height, width = geometry.canvas_size
        return np.pad(
            part, ((top, height - bottom), (left, width - right), (0, 0)), mode="symmetric"
        )
    channels = photo.shape[2]
    colour = (*geometry.pad_colour, WHITE)[:channels]
    if channels == 1:
        colour = round(sum(geometry.pad_colour) / 3)
    canvas = np.full((*geometry.canvas_size, channels), colour, np.uint8)
    canvas[top:bottom, left:right] = part
    return canvas


def valid_mask(geometry: Geometry) -> np.ndarray:
    """Return a mask, 1 in the valid box, 0 elsewhere; float32 (H, W)."""
    left, top, right, bottom = geometry.valid_box
    mask = np.zeros(geometry.canvas_size, np.float32)
    mask[top:bottom, left:right] = 1
    return mask


def photo_box(geometry: Geometry) -> tuple[int, int, int, int]:
    """Return the smallest half-open box of whole photo pixels that contains the valid box."""
    left, top, right, bottom = geometry.valid_box
    corners = np.array([(x, y) for x in (left, right) for y in (top, bottom)]) - 0.5
    at = geometry.to_photo_points(corners) + 0.5
    (x, y), (end_x, end_y) = at.min(axis=0), at.max(axis=0)
    height, width = geometry.photo_size
    return (
        max(0, math.floor(snapped(x))),
        max(0, math.floor(snapped(y))),
        min(width, math.ceil(snapped(end_x))),
        min(height, math.ceil(snapped(end_y))),
    )


def to_photo_mask(mask: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Return the photograph's pixels that lie under a mask of the canvas, bool (h, w).

    Args:
        mask: (H, W), above 0.5 inside.
        geometry: Place of the photograph on the canvas.
    """
    inside = (mask > 0.5) & (valid_mask(geometry) > 0)
    result = np.zeros(geometry.photo_size, bool)
    if not inside.any():
        return result
    (top, bottom), (left, right) = (
        np.flatnonzero(inside.any(axis=axis))[[0, -1]].tolist() for axis in (1, 0)
    )
    painted = replace(geometry, valid_box=(left, top, right + 1, bottom + 1))
    x, y, end_x, end_y = photo_box(painted)
    columns = np.arange(x, end_x)
    for row in range(y, end_y):  # a row at a time: photographs are large
        at = geometry.to_canvas_points(np.stack([columns, np.full_like(columns, row)], axis=1))
        across, down = np.rint(at).astype(int).T.clip(0, np.array(inside.shape)[::-1, None] - 1)
        result[row, x:end_x] = inside[down, across]
    return result


def check_photo(photo: np.ndarray, geometry: Geometry) -> None:
    """Raise `UserError` unless the photograph has the geometry's size."""
    if photo.shape[:2] != geometry.photo_size:
        (h, w), (height, width) = photo.shape[:2], geometry.photo_size
        raise UserError(f"photo of {w}x{h}, but the geometry is for one of {width}x{height}")


# -------------------------------------------------------------------------------------- arithmetic


def _checked_box(
    box: Sequence[float] | None, photo_size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Return (left, top, width, height) of a box, checked to contain a part of the photograph."""
    if box is None:
        return 0, 0, photo_size[1], photo_size[0]
    whole = len(box) == 4 and all(math.isfinite(v) and abs(v) <= _LARGEST_SIDE for v in box)
    if not whole or box[2] - box[0] < 1 or box[3] - box[1] < 1:
        raise UserError(
            f"{_text(box)}: give left,top,right,bottom in photo pixels, left < right", "box"
        )
    return box[0], box[1], box[2] - box[0], box[3] - box[1]


def _text(box: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in box)


def _shrink_to_turn(
    canvas_size: tuple[int, int], scale: float, photo_size: tuple[int, int], rotate_deg: float
) -> float:
    """Return the factor by which a central cut of canvas_size * scale must shrink to be turned."""
    (height, width), angle = canvas_size, math.radians(rotate_deg)
    cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
    reach_x, reach_y = scale * (width * cos + height * sin), scale * (width * sin + height * cos)
    return min(1, photo_size[1] / reach_x, photo_size[0] / reach_y)


def _box_to_box(
    cut: Sequence[float], inner: Sequence[float], centre: Sequence[float], rotate_deg: float
) -> Affine:
    """Return the affine that lays box `cut` of the photo, turned about `centre`, over `inner`.

    Boxes are (left, top, width, height), measured from the picture's corner; pixel centres lie half
    a pixel in, hence the halves.
    """
    angle = math.radians(rotate_deg)
    cos, sin = math.cos(angle), math.sin(angle)
    (cx, cy), (sx, sy) = centre, (inner[2] / cut[2], inner[3] / cut[3])
    if not rotate_deg:
        cos, sin = 1, 0
    half = 0.5
    x = (half - cx) * cos + (half - cy) * sin + cx - cut[0]
    y = (cx - half) * sin + (half - cy) * cos + cy - cut[1]
    return (
        (sx * cos, sx * sin, sx * x + inner[0] - half),
        (-sy * sin, sy * cos, sy * y + inner[1] - half),
    )


# -------------------------------------------------------------------------------------- checking


def _lists(value: Any) -> Any:
    """Convert tuples to lists, as JSON has them."""
    return [_lists(v) for v in value] if isinstance(value, tuple) else value


def _tuples(value: Any) -> Any:
    """Convert lists, as JSON has them, to tuples."""
    return tuple(_tuples(v) for v in value) if isinstance(value, list | tuple) else value


def _fault(geometry: Geometry) -> str:
    """Say what is wrong with a geometry's values; empty if nothing is."""
    for name in ("photo_size", "canvas_size"):
        if not _whole(getattr(geometry, name), 2, 1, _LARGEST_SIDE):
            return f"{name} is not a height and a width in pixels"
    (height, width), box = geometry.canvas_size, geometry.valid_box
    if not _whole(box, 4, 0, _LARGEST_SIDE) or not (box[0] < box[2] and box[1] < box[3]):
        return "valid_box is not a box"
    if box[2] > width or box[3] > height:
        return "valid_box extends beyond the canvas"
    if not _whole(geometry.pad_colour, 3, 0, WHITE):
        return "pad_colour is not a colour"
    if geometry.fill not in FILLS:
        return f"fill is neither {' nor '.join(FILLS)}"
    if not _is_affine(geometry.affine):
        return "affine is not two rows of three numbers that can be inverted"
    corners = np.array([(x, y) for x in (box[0], box[2]) for y in (box[1], box[3])]) - 0.5
    at = geometry.to_photo_points(corners) + 0.5
    slack = 2 * TOLERANCE_PX * max(1, *scales(geometry.inverse()))
    if (at < -slack).any() or (at > np.array(geometry.photo_size[::-1]) + slack).any():
        return "valid_box extends beyond the photograph"
    return ""


def _whole(values: Any, count: int, least: int, most: int) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) == count
        and all(type(v) is int and least <= v <= most for v in values)
    )


def _is_affine(rows: Any) -> bool:
    if not (isinstance(rows, tuple) and len(rows) == 2):
        return False
    if not all(isinstance(row, tuple) and len(row) == 3 for row in rows):
        return False
    numbers = [value for row in rows for value in row]
    if not all(type(v) in (int, float) and math.isfinite(v) for v in numbers):
        return False
    determinant = rows[0][0] * rows[1][1] - rows[0][1] * rows[1][0]
    return max(map(abs, numbers)) < 1e9 and abs(determinant) > 1e-9
