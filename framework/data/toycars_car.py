"""The toy car itself, as flat shapes painted back to front, and its key points."""

import math
from collections.abc import Sequence
from itertools import pairwise

from framework.data.toycars_bodies import ARCH
from framework.data.toycars_frame import CarFrame
from framework.data.toycars_lots import Color
from framework.data.toycars_parameters import SKIES, CarParameters
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

FAR_SHADE = 0.34
"""Darkening of the far side, where a turned car shows it."""


def draw_car(p: CarParameters) -> tuple[list[Shape], dict[str, Point]]:
    """Return the car's shapes, its shadow first, and its key points.

    Both are in scene units, relative to the picture's middle, y downwards.
    Key points are named by their place in the picture, so that a car's facing cannot confuse them.
    """
    return _Painter(p).paint()


class _Painter(CarFrame):
    """A painter of one car, back to front."""

    def paint(self) -> tuple[list[Shape], dict[str, Point]]:
        self.shadow()
        self.far_side()
        self.roof_rack()
        self.spoiler()
        self.antenna()
        self.body()
        self.roof()
        self.wheel_arches()
        splits = self.windows()
        self.doors(splits)
        for in_front in (True, False):
            self.bumper(in_front)
        self.headlight()
        self.tail_light()
        for hub in self.hubs:
            self.wheel(hub)
        return self.shapes, self.keypoints()

    # The body.

    def shadow(self) -> None:
        road = SKIES[self.p.scene.sky][3]
        for k, share in enumerate((0.12, 0.24, 0.38)):
            rx, ry = self.b.length * (0.53 - 0.03 * k), 0.036 - 0.008 * k
            self.add_level(
                ellipse(self.p.turn / 2, -0.002, rx, ry), darker(road, share), Part.SHADOW
            )

    def far_side(self) -> None:
        """Paint the far side of a turned car: a shifted shade of the near one.

        Every level cut of the outline is one stretch longer than the shift, so that near and far
        side together leave no gap between them.
        """
        p, b, turn = self.p, self.b, self.p.turn
        for x, y in self.hubs:
            tyre = ellipse(x + turn, y + 0.006, b.wheel_radius * 0.97, b.wheel_radius)
            self.add_level(tyre, darker(TYRE, 0.35), Part.TYRE, Ink.OUTLINE)
        edge, far = self.contour(turn), [(x + turn, y) for x, y in self.outline]
        self.add(edge, darker(p.color, 0.62), Part.BODY)
        self.add(far, darker(p.color, FAR_SHADE), Part.BODY, Ink.OUTLINE)
        second = p.second_color if p.two_tone == "roof" else p.color
        roof = [(x + turn, y) for x, y in self.cabin]
        self.add(roof, darker(second, FAR_SHADE), Part.ROOF)
        # The windscreen or the rear window; the near side hides all but its outer edge.
        glass = [(x + 0.78 * turn, y) for x, y in self.cabin]
        glass = clip(glass, 0, -1, -b.belt_height - b.window_foot)
        glass = clip(glass, 0, 1, self.roof_rear[1] - 0.8 * b.roof_band)
        self.add(glass, darker(GLASS, 0.22), Part.WINDOW)
        self.bumper(turn > 0, turn, FAR_SHADE)

    def body(self) -> None:
        p, b, outline = self.p, self.b, self.outline
        self.add(self.contour(), darker(p.color, 0.55), Part.BODY)
        self.add(outline, p.color, Part.BODY, Ink.OUTLINE)
        lower = p.color
        if p.two_tone == "lower":
            lower = p.second_color
            waist = b.ride_height + 0.45 * (b.belt_height - b.ride_height)
            self.add(clip(outline, 0, 1, waist), lower, Part.BODY)
        self.add(clip(outline, 0, 1, b.ride_height + 0.032), darker(lower, 0.28), Part.BODY)
        shoulder = clip(outline, 0, 1, b.nose_height - 0.012)
        shoulder = clip(shoulder, 0, -1, 0.026 - b.nose_height)
        self.add(shoulder, lighter(p.color, 0.28), Part.BODY)

    def roof(self) -> None:
        p = self.p
        color = p.second_color if p.two_tone == "roof" else p.color
        self.add(self.cabin, color, Part.ROOF)
        (x0, y0), (x1, y1) = self.roof_rear, self.roof_front
        slope = (y1 - y0) / (x1 - x0)
        lit = clip(self.cabin, slope, -1, slope * x1 - y1 + 0.010)
        self.add(lit, lighter(color, 0.25), Part.ROOF)

    def wheel_arches(self) -> None:
        radius = ARCH * self.b.wheel_radius
        for x, y in self.hubs:
            arch = clip(ellipse(x, y, radius, radius), 0, -1, -self.b.ride_height)
            self.add(arch, darker(self.p.color, 0.78), Part.BODY, Ink.OUTLINE)

    # What sits on the body.

    def windows(self) -> list[float]:
        """Draw frame, panes and glare; return the x of the posts between the panes."""
        b = self.b
        low = b.belt_height + b.window_foot
        sills = [self.along(b.rear_sill) + b.tail_slant * 0.5, self.along(b.front_sill)]
        (rear_low, _), (rear_high, rear_top) = self.pillar(sills[0], self.roof_rear)
        (front_low, _), (front_high, front_top) = self.pillar(sills[1], self.roof_front)
        rear_low += b.rear_pillar
        rear_high = max(rear_high + 0.7 * b.rear_pillar, rear_low)
        front_low, front_high = front_low - b.front_pillar, front_high - 0.7 * b.front_pillar
        radii = [0.012, 0.25 * b.roundness + 0.01, 0.25 * b.roundness + 0.01, 0.012]
        frame = [
            (rear_low - 0.007, low - 0.006),
            (rear_high - 0.004, rear_top + 0.006),
            (front_high + 0.004, front_top + 0.006),
            (front_low + 0.009, low - 0.006),
        ]
        self.add(rounded(frame, radii), DARK, Part.WINDOW)
        ends = [(rear_low, low), (rear_high, rear_top), (front_high, front_top), (front_low, low)]
        glass = rounded(ends, radii)
        splits = self.posts(rear_low, (front_low + front_high) / 2)
        bounds = [rear_low - 1, *splits, front_low + 1]
        for a, c in pairwise(bounds):
            self.pane(clip(clip(glass, -1, 0, -a - 0.008), 1, 0, c - 0.008), low)
        return splits

    def pane(self, glass: Sequence[Point], low: float) -> None:
        """Paint one pane, whose foot is at `low`, with a slanting stripe of glare."""
        if not glass:
            return
        self.add(glass, GLASS, Part.WINDOW, Ink.OUTLINE)
        middle_x = sum(x for x, _ in glass) / len(glass)
        start = middle_x - 0.5 * low - 0.012
        glare = clip(clip(glass, -1, 0.5, -start), 1, -0.5, start + 0.034)
        self.add(glare, lighter(GLASS, 0.45), Part.WINDOW)

    def doors(self, splits: Sequence[float]) -> None:
        p, b = self.p, self.b
        color, clearance = darker(p.color, 0.4), 1.2 * b.wheel_radius + 0.01
        start, end = self.hubs[0][0] + clearance, self.hubs[1][0] - clearance
        inner = [s for s in splits if start + 0.03 < s < end - 0.03][-2:]
        inner = inner or [start + 0.3 * (end - start)]
        for x in (start, *inner, end):
            bottom, top = b.ride_height + 0.03, b.belt_height - 0.004
            self.bar(x - 0.004, bottom, x + 0.004, top, color, Part.BODY)
        handle = CHROME if p.color_name == "charcoal" else DARK
        y = b.belt_height - 0.034
        for x in inner:
            self.bar(x + 0.014, y - 0.006, x + 0.048, y + 0.005, handle, Part.TRIM)

    def bumper(self, in_front: bool, shift: float = 0.0, shade: float = 0.0) -> None:
        b, low, side = self.b, self.bumper_foot(), 1 if in_front else -1
        color = darker(DULL_BUMPER if self.p.dark_bumpers else CHROME, shade)
        end, high = side * b.length / 2 + shift, low + b.bumper_height
        inner = end - side * b.bumper_length
        outer = end + side * (b.front_reach if in_front else b.rear_reach)
        box = [(inner, low), (outer, low), (outer, high), (inner, high)]
        self.add(rounded(box, [0.012] * 4), color, Part.BUMPER, Ink.OUTLINE)

    def headlight(self) -> None:
        front, y = self.along(1.0), self.b.nose_height - 0.045
        if self.p.round_lights:
            x = front - self.b.nose_slant - 0.022
            self.add(ellipse(x, y, 0.026, 0.026), CHROME, Part.LIGHT, Ink.OUTLINE)
            self.add(ellipse(x, y, 0.019, 0.019), HEADLIGHT, Part.LIGHT)
            return
        x, top, foot = front - self.b.nose_slant * 0.8, y + 0.016, y - 0.016
        lamp = [(x - 0.052, top), (x - 0.002, top), (x, foot), (x - 0.036, foot)]
        self.add(rounded(lamp, [0.01] * 4), HEADLIGHT, Part.LIGHT, Ink.OUTLINE)

    def tail_light(self) -> None:
        y = self.b.deck_height - 0.042
        x = self.along(0.0) + self.b.tail_slant * 0.8
        lamp = [(x, y + 0.02), (x + 0.028, y + 0.02), (x + 0.028, y - 0.02), (x, y - 0.02)]
        color = TAIL_LIGHT_ON_RED if self.p.color_name == "red" else TAIL_LIGHT
        self.add(rounded(lamp, [0.008] * 4), color, Part.LIGHT, Ink.OUTLINE)

    def roof_rack(self) -> None:
        if not self.p.roof_rack:
            return
        a, b = self.roof_rear[0] + 0.03, self.roof_front[0] - 0.03
        foot, bar = self.roof_rear[1] - 0.02, self.roof_front[1] + self.b.roof_crown + 0.012
        self.bar(a, bar, b, bar + 0.010, DARK, Part.TRIM)
        for x in (a + 0.02, (a + b) / 2, b - 0.02):
            self.bar(x - 0.006, foot, x + 0.006, bar + 0.004, DARK, Part.TRIM)

    def spoiler(self) -> None:
        """Paint a lip over a hatchback's rear window, a wing on any other boot."""
        p, b = self.p, self.b
        if not p.spoiler:
            return
        if p.body_type == "hatchback":
            x, y = self.outline[5 * 4 + 2]
            offsets = [(0.06, 0.006), (-0.035, 0.014), (-0.04, -0.004), (0.03, -0.03)]
        else:
            x, y = self.along(0.02) + b.tail_slant, b.deck_height
            offsets = [(-0.015, 0.042), (0.06, 0.034), (0.06, 0.022), (0.04, -0.02)]
            offsets += [(0.02, -0.02), (0.03, 0.022), (-0.015, 0.028)]
        wing = [(x + dx, y + dy) for dx, dy in offsets]
        self.add(wing, darker(p.color, 0.35), Part.TRIM, Ink.OUTLINE)

    def antenna(self) -> None:
        if not self.p.antenna:
            return
        x, y = self.roof_rear
        offsets = ((0.05, -0.03), (0, 0.07), (0.008, 0.07), (0.06, -0.03))
        self.add([(x + dx, y + dy) for dx, dy in offsets], DARK, Part.TRIM, Ink.SOLID)

    # The wheels.

    def wheel(self, hub: Point) -> None:
        p, (x, y), r = self.p, hub, self.b.wheel_radius
        rim = r * p.rim_size
        self.add_level(ellipse(x, y, r, r), TYRE, Part.TYRE, Ink.OUTLINE)
        if p.white_walls:
            self.add_level(ellipse(x, y, rim * 1.18, rim * 1.18), WHITE_WALL, Part.TYRE)
        self.add_level(ellipse(x, y, rim, rim), p.rim_color, Part.RIM, Ink.OUTLINE)
        self.rim(x, y, rim)
        self.add_level(ellipse(x, y, 0.32 * rim, 0.32 * rim), lighter(p.rim_color, 0.6), Part.RIM)

    def rim(self, x: float, y: float, radius: float) -> None:
        p, dark = self.p, darker(self.p.rim_color, 0.6)
        count = 4 if p.rim_style == "cross" else 5
        angles = [2 * math.pi * (p.rim_angle + k / count) for k in range(count)]

        def disc(share: float, color: Color) -> None:
            self.add_level(ellipse(x, y, share * radius, share * radius), color, Part.RIM)

        if p.rim_style in ("five-spoke", "cross"):
            for angle in angles:
                gap = sector(x, y, 0.4 * radius, 0.86 * radius, angle, 1.9 / count)
                self.add_level(gap, dark, Part.RIM)
        elif p.rim_style == "dotted":
            away, size = 0.66 * radius, 0.17 * radius
            for angle in angles:
                center = x + away * math.cos(angle), y + away * math.sin(angle)
                self.add_level(ellipse(*center, size, size), dark, Part.RIM)
        elif p.rim_style == "ring":
            disc(0.74, dark)
            disc(0.56, p.rim_color)
        else:
            disc(0.82, darker(p.rim_color, 0.2))
