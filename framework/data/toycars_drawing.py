"""Toy cars as flat shapes: a list of filled polygons, painted back to front."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from framework.data.toycars_parameters import SKIES, CarParameters, Color

Point = tuple[float, float]

DARK: Color = (38, 42, 50)
TYRE: Color = (46, 48, 54)
GLASS: Color = (92, 124, 146)
CHROME: Color = (208, 214, 220)


class Part(IntEnum):
    """What a pixel of the part mask shows."""

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


@dataclass(frozen=True)
class Shape:
    """A filled polygon in scene units, relative to the picture's middle, y downwards."""

    points: Sequence[Point]
    color: Color
    part: Part
    outlined: bool = False


def mix(a: Color, b: Color, share: float) -> Color:
    """`a` with this share (0 to 1) of `b` in it."""
    r, g, h = (round(u + (v - u) * share) for u, v in zip(a, b, strict=True))
    return r, g, h


def darker(color: Color, share: float = 0.25) -> Color:
    """A shade of the colour, cool as shadows are."""
    return mix(color, (24, 26, 48), share)


def lighter(color: Color, share: float = 0.3) -> Color:
    """A lit tone of the colour."""
    return mix(color, (255, 255, 250), share)


_CIRCLE = [(math.cos(2 * math.pi * k / 36), math.sin(2 * math.pi * k / 36)) for k in range(36)]


def ellipse(x: float, y: float, rx: float, ry: float) -> list[Point]:
    """A filled ellipse's outline about (x, y)."""
    return [(x + rx * c, y + ry * s) for c, s in _CIRCLE]


def rounded(points: Sequence[Point], radii: Sequence[float]) -> list[Point]:
    """The polygon with each corner cut by a quadratic arc reaching `radius` along its sides."""
    outline: list[Point] = []
    for k, ((x, y), radius) in enumerate(zip(points, radii, strict=True)):
        ends = []
        for px, py in (points[k - 1], points[(k + 1) % len(points)]):
            dx, dy = px - x, py - y
            share = min(0.5, radius / max(math.hypot(dx, dy), 1e-9))
            ends.append((x + dx * share, y + dy * share))
        (ax, ay), (bx, by) = ends
        for t in (0.0, 0.25, 0.5, 0.75, 1.0):
            a, m, b = (1 - t) ** 2, 2 * t * (1 - t), t * t
            outline.append((a * ax + m * x + b * bx, a * ay + m * y + b * by))
    return outline


def clip(points: Sequence[Point], a: float, b: float, c: float) -> list[Point]:
    """The polygon's part where a x + b y <= c (Sutherland and Hodgman 1974)."""
    kept: list[Point] = []
    for k, (x, y) in enumerate(points):
        px, py = points[k - 1]
        here, before = a * x + b * y - c, a * px + b * py - c
        if here * before < 0:
            t = before / (before - here)
            kept.append((px + (x - px) * t, py + (y - py) * t))
        if here <= 0:
            kept.append((x, y))
    return kept


def background(p: CarParameters, half_width: float, half_height: float) -> list[Shape]:
    """Everything behind the car except the sky's gradient, for a picture of this half size."""
    scene = p.scene
    top, foot, hill, road = SKIES[scene.sky]
    shapes: list[Shape] = []

    def add(points: Sequence[Point], color: Color) -> None:
        if len(points) > 2:
            shapes.append(Shape(points, color, Part.BACKGROUND))

    if scene.sun:
        x, y, r = scene.sun
        add(ellipse(x, y, r, r), mix(foot, (255, 246, 214), 0.8))
    for x, y, size in scene.clouds:
        color = mix(mix(top, foot, 0.6), (255, 255, 255), 0.55)
        for dx, dy, r in ((-0.055, 0.008, 0.028), (0, 0, 0.042), (0.06, 0.01, 0.026)):
            add(ellipse(x + dx * size, y + dy * size, r * size * 1.4, r * size * 0.8), color)
    _relief(scene.backdrop, scene.relief, scene.horizon, half_width, mix(foot, hill, 0.55), hill, add)
    w, h = half_width + 0.02, half_height + 0.02
    verge = mix(hill, darker(road, 0.1), 0.4)
    add([(-w, scene.horizon), (w, scene.horizon), (w, h), (-w, h)], verge)
    edge = scene.horizon + 0.03
    add([(-w, edge), (w, edge), (w, h), (-w, h)], road)
    if scene.road_lines:
        y = p.ground + 0.13
        for k in range(-3, 4):
            x = k * 0.3 + scene.relief[0] * 0.3
            add([(x, y), (x + 0.15, y), (x + 0.15, y + 0.022), (x, y + 0.022)], lighter(road, 0.45))
    return shapes


def _relief(kind, relief, horizon, half_width, far, near, add) -> None:
    """Hills, mountains, houses or trees along the horizon; `relief` are ten numbers in [0, 1]."""
    xs = [-half_width - 0.1 + k * (2 * half_width + 0.2) / 24 for k in range(25)]
    if kind == "hills":
        for color, a, b, size in ((far, relief[0], relief[1], 0.13), (near, relief[2], relief[3], 0.07)):
            line = [
                (x, horizon - size * (0.75 + 0.4 * math.sin((5 + 3 * b) * x + 6.3 * a))) for x in xs
            ]
            add([*line, (xs[-1], horizon), (xs[0], horizon)], color)
    elif kind == "mountains":
        for k in range(4):
            x, size = -0.5 + k * 0.33 + 0.2 * relief[k], 0.13 + 0.14 * relief[k + 4]
            add([(x - size * 1.3, horizon), (x, horizon - size), (x + size * 1.3, horizon)],
                mix(far, near, 0.25 * (k % 2)))
    elif kind == "skyline":
        for k in range(8):
            x, size = -0.52 + k * 0.135, 0.09 + 0.2 * relief[k]
            add([(x, horizon), (x, horizon - size), (x + 0.12, horizon - size), (x + 0.12, horizon)],
                mix(far, near, 0.3 * (k % 2)))
    elif kind == "trees":
        for k in range(6):
            x, size = -0.5 + k * 0.2 + 0.06 * relief[k], 0.07 + 0.05 * relief[k + 4]
            add(ellipse(x, horizon - size, size * 0.8, size), mix(far, near, 0.3 * (k % 2)))
        add([(xs[0], horizon), (xs[0], horizon - 0.04), (xs[-1], horizon - 0.04), (xs[-1], horizon)], near)


def car(p: CarParameters) -> tuple[list[Shape], dict[str, Point]]:
    """The car's shapes, shadow first, and its key points by place, in scene units."""
    return _Builder(p).build()


class _Builder:
    """Draws facing right in car coordinates (x forwards, y up) and turns each point into place."""

    def __init__(self, p: CarParameters) -> None:
        self.p = p
        self.sign = 1.0 if p.facing == "right" else -1.0
        self.shapes: list[Shape] = []
        self.front = self.along(1.0)
        self.hubs = [
            (p.axle_shift + side * p.wheelbase / 2, p.wheel_radius) for side in (-1, 1)
        ]

    def along(self, share: float) -> float:
        return (share - 0.5) * self.p.length

    def place(self, point: Point) -> Point:
        return self.p.x + self.sign * point[0], self.p.ground - point[1]

    def add(self, points: Sequence[Point], color: Color, part: Part, outlined: bool = False) -> None:
        if len(points) > 2:
            self.shapes.append(Shape([self.place(q) for q in points], color, part, outlined))

    def bar(self, x0: float, y0: float, x1: float, y1: float, color: Color, part: Part) -> None:
        self.add([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], color, part)

    def build(self) -> tuple[list[Shape], dict[str, Point]]:
        self.shadow()
        self.add_ons_behind()
        body = self.body()
        self.windows()
        self.doors()
        self.lights_and_bumpers()
        for hub in self.hubs:
            self.wheel(hub, body)
        return self.shapes, self.keypoints

    def shadow(self) -> None:
        road = SKIES[self.p.scene.sky][3]
        for k, share in enumerate((0.12, 0.24, 0.38)):
            rx, ry = self.p.length * (0.53 - 0.03 * k), 0.036 - 0.008 * k
            self.add(ellipse(0, -0.002, rx, ry), darker(road, share), Part.SHADOW)

    def silhouette(self) -> list[Point]:
        p, x = self.p, self.along
        under, soft = p.ride_height, p.roundness
        bumper = under + 0.055
        roof_mid = (x((p.roof_rear + p.roof_front) / 2), p.roof_height + p.roof_crown)
        corners = [
            (x(0.012), under, 0.02),
            (x(0.0), bumper, 0.03),
            (x(0.0) + p.tail_slant, p.deck_height, 0.4 * soft + 0.014),
            (x(max(p.rear_sill, 0.001)) + p.tail_slant, p.belt_height, 0.5 * soft),
            (x(p.roof_rear), p.roof_height, soft),
            (*roof_mid, 0.1),
            (x(p.roof_front), p.roof_height, soft),
            (x(p.front_sill), p.belt_height, 0.03),
            (x(1.0) - p.nose_slant, p.nose_height, 0.6 * soft + 0.02),
            (x(1.0), bumper, 0.03),
            (x(0.988), under, 0.02),
        ]
        outline = rounded([c[:2] for c in corners], [c[2] for c in corners])
        middle = {name: outline[5 * k + 2] for name, k in
                  (("rear_bumper", 1), ("rear_sill", 3), ("rear_roof", 4), ("roof_top", 5),
                   ("front_roof", 6), ("front_sill", 7), ("front_bumper", 9))}
        self.keypoints = self.name_by_place(middle)
        return outline

    def name_by_place(self, middle: dict[str, Point]) -> dict[str, Point]:
        rear, front = ("left", "right") if self.sign > 0 else ("right", "left")
        points = {
            f"{rear}_wheel_hub": self.hubs[0],
            f"{front}_wheel_hub": self.hubs[1],
            f"{rear}_roof_corner": middle["rear_roof"],
            f"{front}_roof_corner": middle["front_roof"],
            f"{rear}_bumper": middle["rear_bumper"],
            f"{front}_bumper": middle["front_bumper"],
            f"{rear}_windowsill": middle["rear_sill"],
            f"{front}_windowsill": middle["front_sill"],
            "roof_top": middle["roof_top"],
        }
        return {name: self.place(point) for name, point in sorted(points.items())}

    def body(self) -> list[Point]:
        p = self.p
        outline = self.silhouette()
        rim = [(x * 1.014, y + (0.006 if y > p.belt_height else 0.0)) for x, y in outline]
        self.add(rim, darker(p.color, 0.55), Part.BODY)
        self.add(outline, p.color, Part.BODY, True)
        lower = p.second_color if p.two_tone == "lower" else p.color
        waist = p.ride_height + 0.45 * (p.belt_height - p.ride_height)
        if p.two_tone == "lower":
            self.add(clip(outline, 0, 1, waist), lower, Part.BODY)
        self.add(clip(outline, 0, 1, p.ride_height + 0.032), darker(lower, 0.28), Part.BODY)
        shoulder = clip(clip(outline, 0, 1, p.nose_height - 0.012), 0, -1, -p.nose_height + 0.026)
        self.add(shoulder, lighter(p.color, 0.28), Part.BODY)
        roof = clip(outline, 0, -1, -p.belt_height - 0.002)
        top = p.second_color if p.two_tone == "roof" else p.color
        self.add(roof, top, Part.ROOF)
        self.add(clip(roof, 0, -1, -p.roof_height + 0.010), lighter(top, 0.25), Part.ROOF)
        for hub_x, hub_y in self.hubs:
            arch = ellipse(hub_x, hub_y, 1.13 * p.wheel_radius, 1.13 * p.wheel_radius)
            self.add(clip(arch, 0, -1, -p.ride_height), darker(p.color, 0.78), Part.BODY)
        return outline

    def windows(self) -> None:
        p, x = self.p, self.along
        low, high = p.belt_height + 0.008, p.roof_height - 0.02
        post = 0.022

        def edge(sill: float, roof: float, y: float) -> float:
            t = (y - p.belt_height) / (p.roof_height - p.belt_height)
            return x(sill) + (x(roof) - x(sill)) * t

        tilt = p.tail_slant
        left_low = edge(p.rear_sill, p.roof_rear, low) + post + tilt * 0.5
        left_high = max(edge(p.rear_sill, p.roof_rear, high) + post * 0.7, left_low)
        right_low = edge(p.front_sill, p.roof_front, low) - post
        right_high = edge(p.front_sill, p.roof_front, high) - post * 0.7
        glass = rounded(
            [(left_low, low), (left_high, high), (right_high, high), (right_low, low)],
            [0.012, 0.25 * p.roundness + 0.01, 0.25 * p.roundness + 0.01, 0.012],
        )
        self.splits = self.pane_splits(left_low, left_high, right_low, right_high)
        frame = rounded(
            [(left_low - 0.007, low - 0.006), (left_high - 0.004, high + 0.006),
             (right_high + 0.004, high + 0.006), (right_low + 0.009, low - 0.006)],
            [0.012, 0.25 * p.roundness + 0.01, 0.25 * p.roundness + 0.01, 0.012],
        )
        self.add(frame, DARK, Part.WINDOW)
        bounds = [left_low - 1, *self.splits, right_low + 1]
        for a, b in zip(bounds[:-1], bounds[1:], strict=True):
            pane = clip(clip(glass, -1, 0, -a - 0.008), 1, 0, b - 0.008)
            self.add(pane, GLASS, Part.WINDOW, True)
            if not pane:
                continue
            middle = sum(q[0] for q in pane) / len(pane)
            start = middle - 0.5 * low - 0.5 * high * 0 - 0.012
            band = clip(clip(pane, -1, 0.5, -start), 1, -0.5, start + 0.034)
            self.add(band, lighter(GLASS, 0.45), Part.WINDOW)

    def pane_splits(self, left_low: float, left_high: float, right_low: float, right_high: float
                    ) -> list[float]:
        a, b = (left_low + left_high) / 2, (right_low + right_high) / 2
        return [a + (b - a) * k / self.p.panes for k in range(1, self.p.panes)]

    def doors(self) -> None:
        p = self.p
        line = darker(p.color, 0.4)
        lower = p.ride_height + 0.03
        clear = [(h[0] - 1.2 * p.wheel_radius, h[0] + 1.2 * p.wheel_radius) for h in self.hubs]
        start, end = clear[0][1], clear[1][0]
        seams = [s for s in self.splits if start < s < end] or [start + 0.3 * (end - start)]
        seams = [start + 0.01, *seams[-2:], end - 0.01]
        for s in seams:
            self.bar(s - 0.004, lower, s + 0.004, p.belt_height - 0.004, line, Part.BODY)
        for s in seams[1:-1]:
            y = p.belt_height - 0.034
            self.bar(s + 0.014, y - 0.006, s + 0.048, y + 0.005, DARK if p.color_name != "charcoal" else CHROME, Part.TRIM)

    def lights_and_bumpers(self) -> None:
        p = self.p
        front, rear = self.along(1.0), self.along(0.0)
        color = (74, 78, 86) if p.dark_bumpers else CHROME
        low, high = p.ride_height - 0.002, p.ride_height + 0.034
        ends = (
            (front - 0.06, front + 0.008),
            (rear - 0.008, rear + 0.06),
        )
        for x0, x1 in ends:
            box = [(x0, low), (x1, low), (x1, high), (x0, high)]
            self.add(rounded(box, [0.012] * 4), color, Part.BUMPER, True)
        y = p.nose_height - 0.045
        head = (255, 240, 176)
        if p.round_lights:
            x = front - p.nose_slant - 0.022
            self.add(ellipse(x, y, 0.026, 0.026), CHROME, Part.LIGHT, True)
            self.add(ellipse(x, y, 0.019, 0.019), head, Part.LIGHT)
        else:
            x = front - p.nose_slant * 0.8
            lamp = [(x - 0.052, y + 0.016), (x - 0.002, y + 0.016), (x, y - 0.016), (x - 0.036, y - 0.016)]
            self.add(rounded(lamp, [0.01] * 4), head, Part.LIGHT, True)
        y = p.deck_height - 0.042
        x = rear + p.tail_slant * 0.8
        lamp = [(x, y + 0.02), (x + 0.028, y + 0.02), (x + 0.028, y - 0.02), (x, y - 0.02)]
        self.add(rounded(lamp, [0.008] * 4), (190, 30, 40) if p.color_name != "red" else (255, 150, 60),
                 Part.LIGHT, True)

    def add_ons_behind(self) -> None:
        p, x = self.p, self.along
        if p.roof_rack:
            a, b, y = x(p.roof_rear) + 0.03, x(p.roof_front) - 0.03, p.roof_height + p.roof_crown
            self.bar(a, y + 0.014, b, y + 0.024, DARK, Part.TRIM)
            for s in (a + 0.02, (a + b) / 2, b - 0.02):
                self.bar(s - 0.006, y - 0.02, s + 0.006, y + 0.018, DARK, Part.TRIM)
        if p.spoiler:
            if p.body_type == "hatchback":
                a, y = x(p.roof_rear), p.roof_height
                wing = [(a + 0.05, y + 0.004), (a - 0.04, y + 0.012), (a - 0.045, y - 0.006), (a + 0.03, y - 0.03)]
            else:
                a, y = x(0.02) + p.tail_slant, p.deck_height
                wing = [(a - 0.015, y + 0.042), (a + 0.06, y + 0.034), (a + 0.06, y + 0.022), (a + 0.04, y - 0.02),
                        (a + 0.02, y - 0.02), (a + 0.03, y + 0.022), (a - 0.015, y + 0.028)]
            self.add(wing, darker(p.color, 0.35), Part.TRIM, True)
        if p.antenna:
            a, y = x(p.roof_rear) + 0.05, p.roof_height
            self.add([(a, y - 0.02), (a - 0.05, y + 0.07), (a - 0.042, y + 0.07), (a + 0.01, y - 0.02)], DARK, Part.TRIM)

    def wheel(self, hub: Point, body: Sequence[Point]) -> None:
        p, (x, y), r = self.p, hub, self.p.wheel_radius
        rim = r * p.rim_size
        self.add(ellipse(x, y, r, r), TYRE, Part.TYRE, True)
        if p.white_walls:
            self.add(ellipse(x, y, rim * 1.18, rim * 1.18), (236, 234, 226), Part.TYRE)
        self.add(ellipse(x, y, rim, rim), p.rim_color, Part.RIM, True)
        dark = darker(p.rim_color, 0.6)
        turn = 2 * math.pi * p.rim_angle
        if p.rim_style in ("five-spoke", "cross"):
            count = 5 if p.rim_style == "five-spoke" else 4
            for k in range(count):
                self.add(_sector(x, y, 0.4 * rim, 0.86 * rim, turn + 2 * math.pi * k / count, 1.9 / count),
                         dark, Part.RIM)
        elif p.rim_style == "dotted":
            for k in range(5):
                angle = turn + 2 * math.pi * k / 5
                self.add(ellipse(x + 0.66 * rim * math.cos(angle), y + 0.66 * rim * math.sin(angle),
                                 0.17 * rim, 0.17 * rim), dark, Part.RIM)
        elif p.rim_style == "ring":
            self.add(ellipse(x, y, 0.74 * rim, 0.74 * rim), dark, Part.RIM)
            self.add(ellipse(x, y, 0.56 * rim, 0.56 * rim), p.rim_color, Part.RIM)
        else:
            self.add(ellipse(x, y, 0.82 * rim, 0.82 * rim), darker(p.rim_color, 0.2), Part.RIM)
        self.add(ellipse(x, y, 0.32 * rim, 0.32 * rim), lighter(p.rim_color, 0.6), Part.RIM)


def _sector(x: float, y: float, inner: float, outer: float, angle: float, half: float) -> list[Point]:
    turns = [angle + half * t for t in (-1, -0.5, 0, 0.5, 1)]
    return [(x + outer * math.cos(a), y + outer * math.sin(a)) for a in turns] + [
        (x + inner * math.cos(a), y + inner * math.sin(a)) for a in reversed(turns)
    ]
