"""The places of a toy car's parts: its outline and key points, and the map into the picture."""

import math
from collections.abc import Sequence

from framework.data.toycars_lots import Color
from framework.data.toycars_parameters import CarParameters
from framework.data.toycars_shapes import Affine, Ink, Part, Point, Shape, clip, placed, rounded


class CarFrame:
    """A car facing right in its own frame (x forwards, y up) and the shapes painted of it so far.

    Shapes and key points are in scene units, relative to the picture's middle, y downwards. The
    body leans by the car's tilt; wheels and shadow stand on the road.
    """

    def __init__(self, p: CarParameters) -> None:
        self.p, self.b = p, p.body
        self.sign = 1.0 if p.facing == "right" else -1.0
        self.shapes: list[Shape] = []
        self.level, self.leaning = self.frame(0.0), self.frame(p.tilt)
        self.hubs = [(x, self.b.wheel_radius) for x in (self.b.rear_axle, self.b.front_axle)]
        self.roof_rear = self.along(self.b.roof_rear), self.b.roof_height - self.b.roof_drop
        self.roof_front = self.along(self.b.roof_front), self.b.roof_height
        self.outline = self.silhouette()
        self.cabin = clip(self.outline, 0, -1, -self.b.belt_height - 0.002)

    # From the car's frame to the picture.

    def along(self, share: float) -> float:
        """Return the x, from the car's middle, of this share of the length from the rear."""
        return (share - 0.5) * self.b.length

    def frame(self, tilt: float) -> Affine:
        """Return the map from the car's frame into the picture, tilted by `tilt` degrees."""
        p, hub, turn = self.p, self.b.wheel_radius, math.radians(tilt)
        cos, sin = p.scale * math.cos(turn), p.scale * math.sin(turn)
        x0, y0 = p.x + self.sign * sin * hub, p.ground + (cos - p.scale) * hub
        return self.sign * cos, -self.sign * sin, x0, -sin, -cos, y0

    def add(self, points: Sequence[Point], color: Color, part: Part, ink: Ink = Ink.NONE) -> None:
        """Paint a part of the body."""
        if len(points) > 2:
            self.shapes.append(Shape(placed(points, self.leaning), color, part, ink))

    def add_level(
        self, points: Sequence[Point], color: Color, part: Part, ink: Ink = Ink.NONE
    ) -> None:
        """Paint a part that stands on the road."""
        self.shapes.append(Shape(placed(points, self.level), color, part, ink))

    def bar(self, x0: float, y0: float, x1: float, y1: float, color: Color, part: Part) -> None:
        """Paint a bar of the body, dark in the sketch."""
        self.add([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], color, part, Ink.SOLID)

    # Where things are.

    def silhouette(self) -> list[Point]:
        """Return the body's outline, five points a corner, of which the third is the middle."""
        b, x = self.b, self.along
        low, soft = b.ride_height, b.roundness
        front, rear = x(1.0), x(0.0)
        (rear_x, rear_y), (front_x, front_y) = self.roof_rear, self.roof_front
        dome = min(soft, 0.45 * (front_x - rear_x))  # a short roof must not become a spike
        corners = [
            (x(0.012), low, 0.02),
            (rear, low + 0.055, 0.03),
            (rear + b.tail_slant, b.deck_height, 0.4 * soft + 0.014),
            (x(b.rear_sill) + b.tail_slant, b.belt_height, 0.5 * soft),
            (rear_x, rear_y, dome),
            ((rear_x + front_x) / 2, (rear_y + front_y) / 2 + b.roof_crown, 0.1),
            (front_x, front_y, dome),
            (x(b.front_sill), b.belt_height, 0.03),
            (front - b.nose_slant, b.nose_height, 0.6 * soft + 0.02),
            (front, low + 0.055, 0.03),
            (x(0.988), low, 0.02),
        ]
        return rounded([c[:2] for c in corners], [c[2] for c in corners])

    def keypoints(self) -> dict[str, Point]:
        """Return the key points, all on the near side: hubs on axles, the others on the body."""
        rear, front = ("left", "right") if self.sign > 0 else ("right", "left")
        rear_sill, rear_roof, roof_top, front_roof, front_sill = (
            self.outline[5 * corner + 2] for corner in (3, 4, 5, 6, 7)
        )
        bumper_y = self.bumper_foot() + self.b.bumper_height / 2
        of_body = {
            f"{rear}_roof_corner": rear_roof,
            f"{front}_roof_corner": front_roof,
            f"{rear}_bumper": (self.along(0.0), bumper_y),
            f"{front}_bumper": (self.along(1.0), bumper_y),
            f"{rear}_windowsill": rear_sill,
            f"{front}_windowsill": front_sill,
            "roof_top": roof_top,
        }
        hubs = {f"{rear}_wheel_hub": self.hubs[0], f"{front}_wheel_hub": self.hubs[1]}
        points = _placed(of_body, self.leaning) | _placed(hubs, self.level)
        return dict(sorted(points.items()))

    def contour(self, shift: float = 0.0) -> list[Point]:
        """Return the dark edge of the car: the outline, a little larger."""
        lift = self.b.belt_height
        return [(x * 1.014 + shift, y + (0.006 if y > lift else 0.0)) for x, y in self.outline]

    def bumper_foot(self) -> float:
        """Return the height of the bumpers' lower edge."""
        return self.b.ride_height + self.b.bumper_lift

    def pillar(self, sill_x: float, roof: Point) -> tuple[Point, Point]:
        """Return foot and top of the glass on the straight line from a sill to a roof corner."""
        b = self.b
        low, high = b.belt_height + b.window_foot, roof[1] - b.roof_band

        def at(y: float) -> Point:
            return sill_x + (roof[0] - sill_x) * (y - b.belt_height) / (roof[1] - b.belt_height), y

        return at(low), at(high)

    def posts(self, rear: float, front: float) -> list[float]:
        """Return the x where panes meet, from the rear; the last pane shrinks with the glass."""
        posts = [front - self.b.front_pane]
        while posts[-1] - self.b.rear_pane > rear and len(posts) < 3:
            posts.append(posts[-1] - self.b.rear_pane)
        return [x for x in reversed(posts) if x > rear]


def _placed(points: dict[str, Point], frame: Affine) -> dict[str, Point]:
    return dict(zip(points, placed(list(points.values()), frame), strict=True))
