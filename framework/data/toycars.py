"""Toy cars: a procedural data set of side-view cars, at any resolution, exactly annotated.

The pictures need no download and no licence, and their content is known: the place of each wheel,
the pixels of glass, the name of the car. `toycars_bodies` sets a car's shape, `toycars_parameters`
its paint, equipment and place; `toycars_scene` and `toycars_car` turn those into flat shapes, and
this module paints them.
"""

import operator
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from framework.data.toycars_car import draw_car
from framework.data.toycars_parameters import CarParameters, describe, draw_parameters
from framework.data.toycars_scene import background, sky_column
from framework.data.toycars_shapes import Ink, Part, Point, Shape
from framework.errors import UserError

LOOK = 2
"""Edition of the drawings: another number means another data set, even with equal first cars."""
MIN_SIDE_PX = 16
INK, PAPER = 30, 255
INK_WIDTH = 0.012
"""Width of a sketch's lines in scene units; at least a pixel."""


@dataclass(frozen=True)
class ToyCar:
    """A car with its annotations.

    Attributes:
        image: The picture, (H, W, 3) uint8 RGB.
        keypoints: Named by place in the picture (`left_wheel_hub`, never "front"): (x, y) in image
            pixels, origin top left, pixel centres at integers, as exact as the drawing. They are
            on the car's near side, also where a turned car shows some of its far side.
        part_mask: Part at each pixel's centre, (H, W) uint8, values of `Part`.
        sketch: The car's dark lines on white paper, (H, W) uint8.
        caption: One English sentence, without a full stop.
        parameters: Parameters that the car was drawn from.
    """

    image: np.ndarray
    keypoints: dict[str, tuple[float, float]]
    part_mask: np.ndarray
    sketch: np.ndarray
    caption: str
    parameters: CarParameters


class ToyCars:
    """Side-view cars, each a pure function of (seed, index): any order, any process, any size.

    A car is the same at every size. It fills 67 to 87 % of the picture's width (of a picture more
    than 1.5 times as wide as high, of 1.5 heights); a wheel's radius is about a tenth of it.

    Args:
        size: (height, width) in pixels, or the side of a square; at least 16.
        count: Number of cars.
        seed: Seed of the set; two seeds share no car.

    Raises:
        UserError: If the size is too small or the count below 1.
    """

    def __init__(
        self, size: tuple[int, int] | int = (64, 64), count: int = 50_000, seed: int = 0
    ) -> None:
        height, width = (size, size) if isinstance(size, int) else size
        if min(height, width) < MIN_SIDE_PX:
            raise UserError(f"toy cars of {height}x{width} px: give at least {MIN_SIDE_PX} px")
        if count < 1:
            raise UserError(f"{count} toy cars: give a count of at least 1")
        self.size = (int(height), int(width))
        self.count, self.seed = count, seed
        self._unit_px = min(width, 1.5 * height)
        self._supersampling = 4 if self._unit_px < 256 else 2

    def __len__(self) -> int:
        """Number of cars."""
        return self.count

    def __iter__(self) -> Iterator[ToyCar]:
        """Yield all cars in order."""
        return (self[index] for index in range(self.count))

    def __getitem__(self, index: int) -> ToyCar:
        """Draw car `index` (0 to count - 1) with its annotations."""
        return self.drawn(self.parameters(index))

    def drawn(self, p: CarParameters) -> ToyCar:
        """Draw any car with its annotations."""
        shapes, points = draw_car(p)
        return ToyCar(
            image=self._paint(p, shapes),
            keypoints={name: self._to_pixels(point) for name, point in points.items()},
            part_mask=self._mask(shapes),
            sketch=self._sketch(shapes),
            caption=describe(p),
            parameters=p,
        )

    def parameters(self, index: int) -> CarParameters:
        """Return the parameters of car `index` (0 to count - 1); an IndexError outside."""
        index = operator.index(index)
        if not 0 <= index < self.count:
            raise IndexError(f"toy car {index}: the set has cars 0 to {self.count - 1}")
        return draw_parameters(self.seed, index)

    def image(self, index: int) -> np.ndarray:
        """Draw only the picture of car `index`, (H, W, 3) uint8 RGB, for training."""
        p = self.parameters(index)
        return self._paint(p, draw_car(p)[0])

    def _to_pixels(self, point: Point) -> tuple[float, float]:
        height, width = self.size
        x, y = point
        return x * self._unit_px + (width - 1) / 2, y * self._unit_px + (height - 1) / 2

    def _to_canvas(self, shape: Shape) -> list[float]:
        """Place the corners on the supersampled canvas; PIL fills both end pixels of a span.

        PIL cuts coordinates off to the pixel that holds them, faster than `int` would here.
        """
        s, (height, width) = self._supersampling, self.size
        scale, dx, dy = s * self._unit_px, s * width / 2, s * height / 2
        return [v for x, y in shape.points for v in (x * scale + dx, y * scale + dy)]

    def _canvas_size(self) -> tuple[int, int]:
        height, width = self.size
        return width * self._supersampling, height * self._supersampling

    def _paint(self, p: CarParameters, car: list[Shape]) -> np.ndarray:
        height, width = self.size
        column = Image.fromarray(sky_column(p.scene, height * self._supersampling)[:, None])
        canvas = column.resize(self._canvas_size(), Image.Resampling.NEAREST)
        draw = ImageDraw.Draw(canvas)
        behind = background(p, width / self._unit_px / 2, height / self._unit_px / 2)
        for shape in behind + car:
            draw.polygon(self._to_canvas(shape), fill=shape.color)
        # A box filter, and a copy for callers that write into it.
        return np.array(canvas.reduce(self._supersampling))

    def _mask(self, car: list[Shape]) -> np.ndarray:
        canvas = Image.new("L", self._canvas_size(), Part.BACKGROUND)
        draw = ImageDraw.Draw(canvas)
        for shape in car:
            draw.polygon(self._to_canvas(shape), fill=int(shape.part))
        s = self._supersampling
        return np.array(canvas)[s // 2 :: s, s // 2 :: s].copy()

    def _sketch(self, car: list[Shape]) -> np.ndarray:
        canvas = Image.new("L", self._canvas_size(), PAPER)
        draw = ImageDraw.Draw(canvas)
        width = round(self._supersampling * max(1.0, INK_WIDTH * self._unit_px))
        for shape in car:
            corners = [int(v) for v in self._to_canvas(shape)]
            if shape.ink is Ink.SOLID:
                draw.polygon(corners, fill=INK)
            elif shape.ink is Ink.OUTLINE:
                draw.polygon(corners, fill=PAPER)
                draw.line(corners + corners[:4], fill=INK, width=width, joint="curve")
        return np.array(canvas.reduce(self._supersampling))


__all__ = ["LOOK", "CarParameters", "Part", "ToyCar", "ToyCars"]
