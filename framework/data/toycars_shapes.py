"""The flat shapes of a toy car's drawing, and their geometry."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum

from framework.data.toycars_lots import Color

Point = tuple[float, float]
Affine = tuple[float, float, float, float, float, float]
"""(xx, xy, x0, yx, yy, y0): a point (x, y) is at (xx x + xy y + x0, yx x + yy y + y0)."""


class Part(IntEnum):
    """The part that a pixel of the part mask shows."""

    BACKGROUND = 0
    SHADOW = 1
    BODY = 2
    ROOF = 3
    WINDOW = 4
    TYRE = 5
    RIM = 6
    LIGHT = 7
    BUMPER = 8
    TRIM = 9


class Ink(Enum):
    """The look of a shape in the sketch."""

    NONE = "not at all"
    OUTLINE = "white, with a dark outline"
    SOLID = "dark all over"


@dataclass(frozen=True)
class Shape:
    """A filled polygon in scene units, relative to the picture's middle, y downwards."""

    points: Sequence[Point]
    color: Color
    part: Part
    ink: Ink = Ink.NONE


def mix(a: Color, b: Color, share: float) -> Color:
    """Mix `a` with this share (0 to 1) of `b`."""
    r, g, h = (round(u + (v - u) * share) for u, v in zip(a, b, strict=True))
    return r, g, h


def darker(color: Color, share: float = 0.25) -> Color:
    """Return a shade of the colour, cool as shadows are."""
    return mix(color, (24, 26, 48), share)


def lighter(color: Color, share: float = 0.3) -> Color:
    """Return a lit tone of the colour."""
    return mix(color, (255, 255, 250), share)


_CIRCLE = [(math.cos(2 * math.pi * k / 36), math.sin(2 * math.pi * k / 36)) for k in range(36)]
_ARC = [((1 - t) ** 2, 2 * t * (1 - t), t * t) for t in (0.0, 0.25, 0.5, 0.75, 1.0)]


def ellipse(x: float, y: float, rx: float, ry: float) -> list[Point]:
    """Return an ellipse's outline about (x, y)."""
    return [(x + rx * c, y + ry * s) for c, s in _CIRCLE]


def placed(points: Sequence[Point], frame: Affine) -> list[Point]:
    """Map the points by the affine map."""
    xx, xy, x0, yx, yy, y0 = frame
    return [(xx * x + xy * y + x0, yx * x + yy * y + y0) for x, y in points]


def rounded(points: Sequence[Point], radii: Sequence[float]) -> list[Point]:
    """Round each corner of a polygon by a quadratic arc reaching its radius along the sides."""
    outline: list[Point] = []
    for k, ((x, y), radius) in enumerate(zip(points, radii, strict=True)):
        ends = []
        for px, py in (points[k - 1], points[(k + 1) % len(points)]):
            dx, dy = px - x, py - y
            share = min(0.5, radius / max(math.hypot(dx, dy), 1e-9))
            ends.append((x + dx * share, y + dy * share))
        (ax, ay), (bx, by) = ends
        outline += [(a * ax + m * x + b * bx, a * ay + m * y + b * by) for a, m, b in _ARC]
    return outline


def clip(points: Sequence[Point], a: float, b: float, c: float) -> list[Point]:
    """Clip a polygon to a x + b y <= c (Sutherland and Hodgman 1974)."""
    corners: list[Point] = []
    if not points:
        return corners
    px, py = points[-1]
    before = a * px + b * py - c
    for x, y in points:
        here = a * x + b * y - c
        if here * before < 0:
            t = before / (before - here)
            corners.append((px + (x - px) * t, py + (y - py) * t))
        if here <= 0:
            corners.append((x, y))
        px, py, before = x, y, here
    return corners


def sector(
    x: float, y: float, inner: float, outer: float, angle: float, half: float
) -> list[Point]:
    """Return a ring's sector about (x, y), reaching `half` radians to either side of `angle`."""
    turns = [angle + half * t for t in (-1, -0.5, 0, 0.5, 1)]
    return [(x + outer * math.cos(a), y + outer * math.sin(a)) for a in turns] + [
        (x + inner * math.cos(a), y + inner * math.sin(a)) for a in reversed(turns)
    ]
