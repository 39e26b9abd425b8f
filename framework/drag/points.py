"""Points as users give them: read, checked, refused in one line. Does not need torch."""

from collections.abc import Iterable
from typing import Any

from framework.errors import InvalidEdit
from framework.settings import is_number

Point = tuple[float, float]
MAX_POINTS = 64


def check_points(
    handles: Any, targets: Any, img_size: tuple[int, int], at_least: int = 1
) -> tuple[list[Point], list[Point]]:
    """Check handles and targets against a picture.

    Args:
        handles: Points (x, y) in pixels: lists, tuples, an array or a tensor of shape (K, 2);
            K at most 64. Fractions of pixels are kept.
        targets: Where the handles should go, one for each.
        img_size: Picture's (height, width); points lie in [0, width - 1] x [0, height - 1].
        at_least: Fewest handles that are accepted.

    Returns:
        Handles and targets as lists of pairs of floats.

    Raises:
        InvalidEdit: If a point is not a pair of finite numbers or is outside the picture, or there
            are too many or too few. Points are never moved into the picture.
    """
    checked_handles = _check_all("handle", handles, img_size)
    checked_targets = _check_all("target", targets, img_size)
    if len(checked_handles) != len(checked_targets):
        raise InvalidEdit(
            f"{len(checked_handles)} handles but {len(checked_targets)} targets:"
            " give each handle one target"
        )
    if len(checked_handles) < at_least:
        raise InvalidEdit("no points: give at least one handle and its target")
    if len(checked_handles) > MAX_POINTS:
        raise InvalidEdit(f"{len(checked_handles)} points: give at most {MAX_POINTS}")
    return checked_handles, checked_targets


def check_point(name: str, value: Any, img_size: tuple[int, int]) -> Point:
    """Check one point (x, y), called `name` in errors; see `check_points`."""
    pair = _plain(value)
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise InvalidEdit(f"{name} {_short(value)}: expected a pair x, y")
    pair = [_plain(number) for number in pair]
    if not all(map(is_number, pair)):
        raise InvalidEdit(f"{name} {_short(value)}: expected two finite numbers x, y")
    x, y = map(float, pair)
    height, width = img_size
    if not (0 <= x <= width - 1 and 0 <= y <= height - 1):
        raise InvalidEdit(
            f"{name} ({x:g}, {y:g}): outside the picture, x is 0 to {width - 1}"
            f" and y is 0 to {height - 1}"
        )
    return x, y


def parse_points(text: str, img_size: tuple[int, int]) -> tuple[list[Point], list[Point]]:
    """Read handles and targets from "x,y:x,y;x,y:x,y" (handle:target;handle:target).

    Args:
        text: Pairs of points in pixels, origin top left; spaces do not matter.
        img_size: Picture's (height, width).

    Returns:
        Handles and targets, as from `check_points`.

    Raises:
        InvalidEdit: If the text has another form, or a point does not fit the picture.
    """
    handles, targets = [], []
    for pair in text.split(";"):
        if not pair.strip():
            continue
        ends = pair.split(":")
        if len(ends) != 2:
            raise InvalidEdit(
                f"{_short(pair.strip())}: expected handle:target, such as 20,30:26,30", "points"
            )
        handles.append(_parse_point(ends[0]))
        targets.append(_parse_point(ends[1]))
    return check_points(handles, targets, img_size)


def _parse_point(text: str) -> list[float]:
    try:
        x, y = (float(number) for number in text.split(","))
    except ValueError:
        raise InvalidEdit(
            f"{_short(text.strip())}: expected two numbers x,y, such as 20,30", "points"
        ) from None
    return [x, y]


def _check_all(kind: str, values: Any, img_size: tuple[int, int]) -> list[Point]:
    values = _plain(values)
    if isinstance(values, (str, bytes, dict)) or not isinstance(values, Iterable):
        raise InvalidEdit(f"{kind}s {_short(values)}: expected a list of points (x, y)")
    return [check_point(f"{kind} {i}", value, img_size) for i, value in enumerate(values)]


def _plain(value: Any) -> Any:
    """Convert tensors and arrays to lists and numbers; anything else is passed through."""
    try:
        return value.tolist() if hasattr(value, "tolist") else value
    except (TypeError, RuntimeError):  # sparse, or on a device without values
        return value


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."
