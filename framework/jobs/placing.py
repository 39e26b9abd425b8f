"""Points and masks in the model's pixels, from the model's picture or the photograph."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from framework.compositing.geometry import Geometry, photo_box, to_canvas, valid_mask
from framework.drag.inputs import check_mask
from framework.drag.points import Point, check_points, parse_points
from framework.errors import UserError, blame
from framework.jobs.requests.drag import DragRequest
from framework.media.masks import read_mask


class Pull(NamedTuple):
    """Handles, targets, (x, y) in the model's pixels, and the mask, (H, W) or None."""

    handles: Sequence[Point]
    targets: Sequence[Point]
    mask: np.ndarray | None


def placed(request: DragRequest, img_size: tuple[int, int], geometry: Geometry | None) -> Pull:
    """Read a request's points and mask; see `placed_points`."""
    handles, targets = placed_points(request, img_size, geometry)
    return Pull(handles, targets, placed_mask(request, img_size, geometry))


def placed_points(
    request: DragRequest, img_size: tuple[int, int], geometry: Geometry | None
) -> tuple[list[Point], list[Point]]:
    """Read a request's points into the model's pixels.

    Args:
        request: The request with the points, which says whose pixels they are in.
        img_size: The model's (height, width).
        geometry: Place of the picture in its photograph; None without a photograph.

    Raises:
        UserError: Naming the field, if a point does not fit.
    """
    with blame("points"):
        if request.points_in == "model":
            return parse_points(request.points or "", img_size)
        if geometry is None:
            raise UserError("photo: this picture is of no photograph", "points_in")
        handles, targets = parse_points(request.points or "", geometry.photo_size)
        return check_points(
            _on_canvas("handle", handles, geometry), _on_canvas("target", targets, geometry),
            img_size,
        )  # fmt: skip


def _on_canvas(kind: str, points: Sequence[Point], geometry: Geometry) -> list[list[float]]:
    """Return points of the photograph in the model's picture; refuse those outside."""
    left, top, right, bottom = geometry.valid_box
    placed = geometry.to_canvas_points(points)
    for i, ((x, y), (px, py)) in enumerate(zip(placed, points, strict=True)):
        if not (left - 0.5 <= x <= right - 0.5 and top - 0.5 <= y <= bottom - 0.5):
            first_x, first_y, end_x, end_y = photo_box(geometry)
            raise UserError(
                f"{kind} {i} ({px:g}, {py:g}): the model sees of the photograph x {first_x} to"
                f" {end_x - 1} and y {first_y} to {end_y - 1}; choose another `box` or `crop`"
            )
    # A photograph's outermost pixels are smaller than the model's: their centres lie beyond those.
    return placed.clip([left, top], [right - 1, bottom - 1]).tolist()


def placed_mask(
    request: DragRequest, img_size: tuple[int, int], geometry: Geometry | None
) -> np.ndarray | None:
    """Read a request's mask, (H, W) of the model's picture; see `placed_points`."""
    if request.mask is None:
        return None
    with blame("mask", request.mask):
        mask = read_mask(request.mask)
        if request.points_in == "photo" and geometry is not None:
            levels = (255 * mask).astype(np.uint8)[..., None]
            mask = (to_canvas(levels, geometry)[..., 0] >= 128) * valid_mask(geometry)
        # Without handles: the drag checks them together, and warns then.
        check_mask(mask, img_size, [])
    return mask
