"""Alignment of a photograph with a canvas by two points."""

from collections.abc import Sequence
from dataclasses import replace

from framework.compositing.covered import largest_covered
from framework.compositing.geometry import Geometry
from framework.errors import UserError

Point = tuple[float, float]


def default_places(canvas_size: tuple[int, int]) -> tuple[Point, Point]:
    """Return default places of two points: level, at a quarter and three quarters across."""
    height, width = canvas_size
    middle = (height - 1) / 2
    return ((width - 1) / 4, middle), (3 * (width - 1) / 4, middle)


def align_geometry(
    photo_size: tuple[int, int],
    canvas_size: tuple[int, int],
    points: Sequence[Point],
    places: Sequence[Point] | None = None,
) -> Geometry:
    """Turn, scale and move a photograph until two of its points lie on two of the canvas.

    Args:
        photo_size: (height, width) of the upright photograph.
        canvas_size: (height, width) of the model's pictures.
        points: Two points (x, y) of the photograph.
        places: Places of the points on the canvas; None for `default_places`.

    Returns:
        The geometry; its valid box is the largest of the canvas that the photograph fills.

    Raises:
        UserError: If points lie outside their picture, or too close together.
    """
    places = default_places(canvas_size) if places is None else places
    _check(points, photo_size, "photograph")
    _check(places, canvas_size, "model's picture")
    first, second = (complex(*point) for point in points)
    to_first, to_second = (complex(*place) for place in places)
    # A similarity of the plane is a complex factor and a shift.
    factor = (to_second - to_first) / (second - first)
    shift = to_first - factor * first
    affine = (
        (factor.real, -factor.imag, shift.real),
        (factor.imag, factor.real, shift.imag),
    )
    valid = largest_covered(affine, photo_size, (0, 0, canvas_size[1], canvas_size[0]))
    if valid is None:
        raise UserError("these points put no part of the photograph on the model's picture")
    return Geometry(photo_size, canvas_size, affine, valid)


def at_border(geometry: Geometry) -> Geometry:
    """Move a photograph that ends on the canvas until it ends between two canvas pixels.

    It moves by half a canvas pixel at most. Otherwise a strip of it, less than such a pixel wide,
    would belong to no whole pixel and stay as it is beside an edit. A photograph that is turned, or
    ends on no side or on two opposite ones, stays where this cannot be avoided.
    """
    rows = []
    for axis, (row, side) in enumerate(
        zip(geometry.affine, geometry.photo_size[::-1], strict=True)
    ):
        scale, other, length = row[axis], row[1 - axis], geometry.canvas_size[1 - axis]
        ends = (row[2] + 0.5 - scale / 2, row[2] + 0.5 + scale * (side - 0.5))
        inside = [end for end in ends if 0 < end < length]
        move = round(inside[0]) - inside[0] if inside and not other else 0.0
        rows.append((*row[:2], row[2] + move))
    affine = (rows[0], rows[1])
    if affine == geometry.affine:
        return geometry
    whole = (0, 0, geometry.canvas_size[1], geometry.canvas_size[0])
    valid = largest_covered(affine, geometry.photo_size, whole)
    return replace(geometry, affine=affine, valid_box=valid or geometry.valid_box)


def _check(points: Sequence[Point], size: tuple[int, int], what: str) -> None:
    height, width = size
    for x, y in points:
        if not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
            raise UserError(f"({x:g}, {y:g}) lies outside the {what} of {width}x{height}")
    (x, y), (other_x, other_y) = points
    if max(abs(x - other_x), abs(y - other_y)) < 1:
        raise UserError(f"({x:g}, {y:g}) and ({other_x:g}, {other_y:g}): give two points apart")
