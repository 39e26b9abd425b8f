"""Detail of a photograph added to what is pasted elsewhere in it."""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image

from framework.compositing.geometry import Geometry, photo_box
from framework.compositing.resample import Affine, composed, resample, scales
from framework.media.modes import WHITE

_SOFT_EDGE_PX = 1  # canvas pixels over which a piece ends


class Carried(NamedTuple):
    """Detail from one place: pixels of `mask` (H, W) take it from (x + shift_x, y + shift_y)."""

    shift_x: float
    shift_y: float
    mask: np.ndarray


class Detail:
    """What the photograph shows of one place and the model's picture lacks, moved to another.

    Pixels are moved by whole photo pixels, so that none is averaged with its neighbours.

    Args:
        piece: The pixels of the valid box that get detail, and from where.
        before: The model's picture on the valid box before the edit, (H, W, C) in levels.
        geometry: Place of the photograph on the canvas.
        white: The photograph's level of white.
    """

    def __init__(
        self, piece: Carried, before: np.ndarray, geometry: Geometry, white: int = WHITE
    ) -> None:
        (a, b, _), (c, d, _) = geometry.inverse()
        self._shift = (
            round(a * piece.shift_x + b * piece.shift_y),
            round(c * piece.shift_x + d * piece.shift_y),
        )
        left, top, *_ = geometry.valid_box
        self._margin = margin = math.ceil(2 * max(1, *scales(geometry.affine))) + 1
        corner = ((1, 0, margin - left), (0, 1, margin - top))
        self._to_padded = composed(corner, geometry.affine)
        edge = ((margin, margin), (margin, margin), (0, 0))
        self._before = np.pad(before, edge, mode="edge")
        self._mask = np.pad(piece.mask[..., None].astype(np.float32), edge)
        self._photo_box, self._white = photo_box(geometry), white
        self._box = self._reach(piece.mask, geometry)

    def add(
        self,
        colours: np.ndarray,
        share: np.ndarray,
        photo: np.ndarray,
        part: tuple[slice, slice],
    ) -> None:
        """Add the detail to the colours of a part of the photograph.

        Args:
            colours: Colours to paste, (h, w, C) in levels; changed in place.
            share: How much of the photograph they replace, (h, w, 1).
            photo: The whole photograph, (H, W, C).
            part: Rows and columns of the photograph that colours and share are of.
        """
        rows, columns = part
        left, top = max(self._box[0], columns.start), max(self._box[1], rows.start)
        right, bottom = min(self._box[2], columns.stop), min(self._box[3], rows.stop)
        if left >= right or top >= bottom:
            return
        size, (dx, dy) = (bottom - top, right - left), self._shift
        here = np.s_[
            top - rows.start : bottom - rows.start, left - columns.start : right - columns.start
        ]
        mask = self._sampled(self._mask, (left, top), size, Image.Resampling.BILINEAR)
        own = photo[top + dy : bottom + dy, left + dx : right + dx] * np.float32(
            WHITE / self._white
        )
        model = self._sampled(self._before, (left + dx, top + dy), size, Image.Resampling.BICUBIC)
        colours[here] += share[here] * mask * (own - model)

    def _sampled(
        self,
        field: np.ndarray,
        corner: tuple[int, int],
        size: tuple[int, int],
        filter: Image.Resampling,
    ) -> np.ndarray:
        """Return a padded field at photo pixels from a corner (x, y), (h, w, C)."""
        place: Affine = ((1, 0, corner[0]), (0, 1, corner[1]))
        return resample(field, composed(self._to_padded, place), size, filter)

    def _reach(self, mask: np.ndarray, geometry: Geometry) -> tuple[int, int, int, int]:
        """Return the box of photo pixels that get detail: all whose source is in the photograph."""
        left, top, *_ = geometry.valid_box
        y, x = np.nonzero(mask)
        x0, x1 = x.min() + left - 0.5 - _SOFT_EDGE_PX, x.max() + left + 0.5 + _SOFT_EDGE_PX
        y0, y1 = y.min() + top - 0.5 - _SOFT_EDGE_PX, y.max() + top + 0.5 + _SOFT_EDGE_PX
        at = geometry.to_photo_points([(x0, y0), (x0, y1), (x1, y0), (x1, y1)])
        low, high = np.floor(at.min(axis=0)).astype(int), np.ceil(at.max(axis=0)).astype(int) + 1
        ends, shift = self._photo_box, self._shift
        first = [max(low[k], ends[k], ends[k] - shift[k]) for k in (0, 1)]
        last = [min(high[k], ends[k + 2], ends[k + 2] - shift[k]) for k in (0, 1)]
        return first[0], first[1], last[0], last[1]
