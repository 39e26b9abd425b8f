"""The toy car itself, as flat shapes painted back to front, and its key points."""

import math
from collections.abc import Sequence
from itertools import pairwise

from framework.data.toycars_parameters import SKIES, CarParameters, Color
from framework.data.toycars_shapes import (
    Ink,
    Part,
    Point,
    Shape,
    clip,
    darker,
    ellipse,
    lighter,
    rounded,
    sector,
)

DARK: Color = (38, 42, 50)
TYRE: Color = (46, 48, 54)
GLASS: Color = (92, 124, 146)
CHROME: Color = (208, 214, 220)
HEADLIGHT: Color = (255, 240, 176)
TAIL_LIGHT: Color = (190, 30, 40)
TAIL_LIGHT_ON_RED: Color = (255, 150, 60)
DULL_BUMPER: Color = (74, 78, 86)
WHITE_WALL: Color = (236, 234, 226)

BUMPER_HEIGHT = 0.036
ARCH = 1.13
"""Wheel arches in wheel radii."""


def draw_car(p: CarParameters) -> tuple[list[Shape], dict[str, Point]]:
    """The car's shapes, its shadow first, and its key points.

    Both are in scene units, relative to the picture's middle, y downwards.
    Key points are named by their place in the picture, so that a car's facing cannot confuse them.
    """
    return _Painter(p).paint()


class _Painter:
    """Draws a car facing right in its own frame (x forwards, y up) and puts it into the picture."""

    def __init__(self, p: CarParameters) -> None:
        self.p = p
        self.sign = 1.0 if p.facing == "right" else -1.0
        self.shapes: list[Shape] = []
        self.hubs = [(p.axle_shift + side * p.wheelbase / 2, p.wheel_radius) for side in (-1, 1)]
        self.outline = self.silhouette()

    def paint(self) -> tuple[list[Shape], dict[str, Point]]:
        self.shadow()
        self.roof_rack()
        self.spoiler()
        self.antenna()
        self.body()
        self.roof()
        self.wheel_arches()
        splits = self.windows()
        self.doors(splits)
        self.bumpers()
        self.headlight()
        self.tail_light()
        for hub in self.hubs:
            self.wheel(hub)
        return self.shapes, self.keypoints()

    # From the car's frame to the picture.

    def along(self, share: float) -> float:
        """Where this share of the length from the rear is, from the car's middle."""
        return (share - 0.5) * self.p.length

    def place(self, point: Point) -> Point:
        return self.p.x + self.sign * point[0], self.p.ground - point[1]

    def add(self, points: Sequence[Point], color: Color, part: Part, ink: Ink = Ink.NONE) -> None:
        if len(points) > 2:
            self.shapes.append(Shape([self.place(q) for q in points], color, part, ink))

    def bar(self, x0: float, y0: float, x1: float, y1: float, color: Color, part: Part) -> None:
        self.add([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], color, part, Ink.SOLID)

    # The body.

    def silhouette(self) -> list[Point]:
        """The body's outline, five points a corner; the corner's middle is its third."""
        p, x = self.p, self.along
        low, soft = p.ride_height, p.roundness
        front, rear = x(1.0), x(0.0)
        corners = [
            (x(0.012), low, 0.02),
            (rear, low + 0.055, 0.03),
            (rear + p.tail_slant, p.deck_height, 0.4 * soft + 0.014),
            (x(p.rear_sill) + p.tail_slant, p.belt_height, 0.5 * soft),
            (x(p.roof_rear), p.roof_height, soft),
            (x((p.roof_rear + p.roof_front) / 2), p.roof_height + p.roof_crown, 0.1),
            (x(p.roof_front), p.roof_height, soft),
            (x(p.front_sill), p.belt_height, 0.03),
            (front - p.nose_slant, p.nose_height, 0.6 * soft + 0.02),
            (front, low + 0.055, 0.03),
            (x(0.988), low, 0.02),
        ]
        return rounded([c[:2] for c in corners], [c[2] for c in corners])

    def keypoints(self) -> dict[str, Point]:
        rear, front = ("left", "right") if self.sign > 0 else ("right", "left")
        rear_sill, rear_roof, roof_top, front_roof, front_sill = (
            self.outline[5 * corner + 2] for corner in (3, 4, 5, 6, 7)
        )
        bumper_y = self.p.ride_height + BUMPER_HEIGHT / 2 - 0.002
        points = {
            f"{rear}_wheel_hub": self.hubs[0],
            f"{front}_wheel_hub": self.hubs[1],
            f"{rear}_roof_corner": rear_roof,
            f"{front}_roof_corner": front_roof,
            f"{rear}_bumper": (self.along(0.0), bumper_y),
            f"{front}_bumper": (self.along(1.0), bumper_y),
            f"{rear}_windowsill": rear_sill,
            f"{front}_windowsill": front_sill,
            "roof_top": roof_top,
        }
        return {name: self.place(point) for name, point in sorted(points.items())}

    def shadow(self) -> None:
        road = SKIES[self.p.scene.sky][3]
        for k, share in enumerate((0.12, 0.24, 0.38)):
            rx, ry = self.p.length * (0.53 - 0.03 * k), 0.036 - 0.008 * k
            self.add(ellipse(0, -0.002, rx, ry), darker(road, share), Part.SHADOW)

    def body(self) -> None:
        p, outline = self.p, self.outline
        contour = [(x * 1.014, y + (0.006 if y > p.belt_height else 0.0)) for x, y in outline]
        self.add(contour, darker(p.color, 0.55), Part.BODY)
        self.add(outline, p.color, Part.BODY, Ink.OUTLINE)
        lower = p.color
        if p.two_tone == "lower":
            lower = p.second_color
            waist = p.ride_height + 0.45 * (p.belt_height - p.ride_height)
            self.add(clip(outline, 0, 1, waist), lower, Part.BODY)
        self.add(clip(outline, 0, 1, p.ride_height + 0.032), darker(lower, 0.28), Part.BODY)
        shoulder = clip(outline, 0, 1, p.nose_height - 0.012)
        shoulder = clip(shoulder, 0, -1, 0.026 - p.nose_height)
        self.add(shoulder, lighter(p.color, 0.28), Part.BODY)

    def roof(self) -> None:
        p = self.p
        color = p.second_color if p.two_tone == "roof" else p.color
        roof = clip(self.outline, 0, -1, -p.belt_height - 0.002)
        self.add(roof, color, Part.ROOF)
        self.add(clip(roof, 0, -1, 0.010 - p.roof_height), lighter(color, 0.25), Part.ROOF)

    def wheel_arches(self) -> None:
        radius = ARCH * self.p.wheel_radius
        for x, y in self.hubs:
            arch = clip(ellipse(x, y, radius, radius), 0, -1, -self.p.ride_height)
            self.add(arch, darker(self.p.color, 0.78), Part.BODY, Ink.OUTLINE)

    # What sits on the body.

    def windows(self) -> list[float]:
        """Draws frame, panes and glare; returns the x of the posts between the panes."""
        p, x = self.p, self.along
        low, high, post = p.belt_height + 0.008, p.roof_height - 0.02, 0.022

        def pillar(sill: float, roof: float, y: float) -> float:
            t = (y - p.belt_height) / (p.roof_height - p.belt_height)
            return x(sill) + (x(roof) - x(sill)) * t

        # Rear and front end of the glass, at its foot and at its top.
        rear_low = pillar(p.rear_sill, p.roof_rear, low) + post + p.tail_slant * 0.5
        rear_high = max(pillar(p.rear_sill, p.roof_rear, high) + post * 0.7, rear_low)
        front_low = pillar(p.front_sill, p.roof_front, low) - post
        front_high = pillar(p.front_sill, p.roof_front, high) - post * 0.7
        radii = [0.012, 0.25 * p.roundness + 0.01, 0.25 * p.roundness + 0.01, 0.012]
        frame = [
            (rear_low - 0.007, low - 0.006),
            (rear_high - 0.004, high + 0.006),
            (front_high + 0.004, high + 0.006),
            (front_low + 0.009, low - 0.006),
        ]
        self.add(rounded(frame, radii), DARK, Part.WINDOW)
        ends = [(rear_low, low), (rear_high, high), (front_high, high), (front_low, low)]
        glass = rounded(ends, radii)
        rear, front = (rear_low + rear_high) / 2, (front_low + front_high) / 2
        splits = [rear + (front - rear) * k / p.panes for k in range(1, p.panes)]
        bounds = [rear_low - 1, *splits, front_low + 1]
        for a, b in pairwise(bounds):
            self.pane(clip(clip(glass, -1, 0, -a - 0.008), 1, 0, b - 0.008), low)
        return splits

    def pane(self, glass: Sequence[Point], low: float) -> None:
        """One pane, whose foot is at `low`, with a slanting stripe of glare."""
        if not glass:
            return
        self.add(glass, GLASS, Part.WINDOW, Ink.OUTLINE)
        middle_x = sum(x for x, _ in glass) / len(glass)
        start = middle_x - 0.5 * low - 0.012
        glare = clip(clip(glass, -1, 0.5, -start), 1, -0.5, start + 0.034)
        self.add(glare, lighter(GLASS, 0.45), Part.WINDOW)

    def doors(self, splits: Sequence[float]) -> None:
        p = self.p
        color = darker(p.color, 0.4)
        clearance = 1.2 * p.wheel_radius
        start, end = self.hubs[0][0] + clearance, self.hubs[1][0] - clearance
        inner = [s for s in splits if start < s < end][-2:] or [start + 0.3 * (end - start)]
        for x in (start + 0.01, *inner, end - 0.01):
            bottom, top = p.ride_height + 0.03, p.belt_height - 0.004
            self.bar(x - 0.004, bottom, x + 0.004, top, color, Part.BODY)
        handle = CHROME if p.color_name == "charcoal" else DARK
        y = p.belt_height - 0.034
        for x in inner:
            self.bar(x + 0.014, y - 0.006, x + 0.048, y + 0.005, handle, Part.TRIM)

    def bumpers(self) -> None:
        p, low = self.p, self.p.ride_height - 0.002
        color = DULL_BUMPER if p.dark_bumpers else CHROME
        front, rear, high = self.along(1.0), self.along(0.0), low + BUMPER_HEIGHT
        for x0, x1 in ((front - 0.06, front + 0.008), (rear - 0.008, rear + 0.06)):
            box = [(x0, low), (x1, low), (x1, high), (x0, high)]
            self.add(rounded(box, [0.012] * 4), color, Part.BUMPER, Ink.OUTLINE)

    def headlight(self) -> None:
        p, front, y = self.p, self.along(1.0), self.p.nose_height - 0.045
        if p.round_lights:
            x = front - p.nose_slant - 0.022
            self.add(ellipse(x, y, 0.026, 0.026), CHROME, Part.LIGHT, Ink.OUTLINE)
            self.add(ellipse(x, y, 0.019, 0.019), HEADLIGHT, Part.LIGHT)
            return
        x, top, foot = front - p.nose_slant * 0.8, y + 0.016, y - 0.016
        lamp = [(x - 0.052, top), (x - 0.002, top), (x, foot), (x - 0.036, foot)]
        self.add(rounded(lamp, [0.01] * 4), HEADLIGHT, Part.LIGHT, Ink.OUTLINE)

    def tail_light(self) -> None:
        p, y = self.p, self.p.deck_height - 0.042
        x = self.along(0.0) + p.tail_slant * 0.8
        lamp = [(x, y + 0.02), (x + 0.028, y + 0.02), (x + 0.028, y - 0.02), (x, y - 0.02)]
        color = TAIL_LIGHT_ON_RED if p.color_name == "red" else TAIL_LIGHT
        self.add(rounded(lamp, [0.008] * 4), color, Part.LIGHT, Ink.OUTLINE)

    def roof_rack(self) -> None:
        p, x = self.p, self.along
        if not p.roof_rack:
            return
        a, b, y = x(p.roof_rear) + 0.03, x(p.roof_front) - 0.03, p.roof_height + p.roof_crown
        self.bar(a, y + 0.014, b, y + 0.024, DARK, Part.TRIM)
        for foot in (a + 0.02, (a + b) / 2, b - 0.02):
            self.bar(foot - 0.006, y - 0.02, foot + 0.006, y + 0.018, DARK, Part.TRIM)

    def spoiler(self) -> None:
        """A lip over a hatchback's rear window, a wing on any other boot."""
        p = self.p
        if not p.spoiler:
            return
        if p.body_type == "hatchback":
            x, y = self.along(p.roof_rear), p.roof_height
            offsets = [(0.05, 0.004), (-0.04, 0.012), (-0.045, -0.006), (0.03, -0.03)]
        else:
            x, y = self.along(0.02) + p.tail_slant, p.deck_height
            offsets = [(-0.015, 0.042), (0.06, 0.034), (0.06, 0.022), (0.04, -0.02)]
            offsets += [(0.02, -0.02), (0.03, 0.022), (-0.015, 0.028)]
        wing = [(x + dx, y + dy) for dx, dy in offsets]
        self.add(wing, darker(p.color, 0.35), Part.TRIM, Ink.OUTLINE)

    def antenna(self) -> None:
        if not self.p.antenna:
            return
        x, foot, top = self.along(self.p.roof_rear) + 0.05, -0.02, 0.07
        offsets = ((0, foot), (-0.05, top), (-0.042, top), (0.01, foot))
        y = self.p.roof_height
        self.add([(x + dx, y + dy) for dx, dy in offsets], DARK, Part.TRIM, Ink.SOLID)

    # The wheels.

    def wheel(self, hub: Point) -> None:
        p, (x, y), r = self.p, hub, self.p.wheel_radius
        rim = r * p.rim_size
        self.add(ellipse(x, y, r, r), TYRE, Part.TYRE, Ink.OUTLINE)
        if p.white_walls:
            self.add(ellipse(x, y, rim * 1.18, rim * 1.18), WHITE_WALL, Part.TYRE)
        self.add(ellipse(x, y, rim, rim), p.rim_color, Part.RIM, Ink.OUTLINE)
        self.rim(x, y, rim)
        self.add(ellipse(x, y, 0.32 * rim, 0.32 * rim), lighter(p.rim_color, 0.6), Part.RIM)

    def rim(self, x: float, y: float, radius: float) -> None:
        p, dark = self.p, darker(self.p.rim_color, 0.6)
        count = 4 if p.rim_style == "cross" else 5
        angles = [2 * math.pi * (p.rim_angle + k / count) for k in range(count)]

        def disc(share: float, color: Color) -> None:
            self.add(ellipse(x, y, share * radius, share * radius), color, Part.RIM)

        if p.rim_style in ("five-spoke", "cross"):
            for angle in angles:
                gap = sector(x, y, 0.4 * radius, 0.86 * radius, angle, 1.9 / count)
                self.add(gap, dark, Part.RIM)
        elif p.rim_style == "dotted":
            away, size = 0.66 * radius, 0.17 * radius
            for angle in angles:
                center = x + away * math.cos(angle), y + away * math.sin(angle)
                self.add(ellipse(*center, size, size), dark, Part.RIM)
        elif p.rim_style == "ring":
            disc(0.74, dark)
            disc(0.56, p.rim_color)
        else:
            disc(0.82, darker(p.rim_color, 0.2))
