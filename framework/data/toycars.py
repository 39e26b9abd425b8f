"""Toy cars: a procedural data set of side-view cars, at any resolution, with exact annotations."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from framework.data.toycars_drawing import Part, Shape, background, car
from framework.data.toycars_parameters import SKIES, CarParameters, draw_parameters
from framework.errors import UserError


@dataclass(frozen=True)
class ToyCar:
    """One sample."""

    image: np.ndarray
    keypoints: dict[str, tuple[float, float]]
    part_mask: np.ndarray
    sketch: np.ndarray
    caption: str
    parameters: CarParameters


class ToyCars:
    """`count` cars, each a pure function of (seed, index)."""

    def __init__(self, size: tuple[int, int] | int = (64, 64), count: int = 50_000, seed: int = 0):
        """A set of `count` cars at `size` (height, width), a side or both, in pixels."""
        self.size = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        if min(self.size) < 16 or count < 1:
            raise UserError(f"toy cars: size {self.size}, count {count}: give at least 16 px and 1 car")
        self.count, self.seed = count, seed
        height, width = self.size
        self._unit = min(width, 1.5 * height)
        self._supersampling = 4 if self._unit < 256 else 2

    def __len__(self) -> int:
        """How many cars there are."""
        return self.count

    def parameters(self, index: int) -> CarParameters:
        """The parameters of car `index`."""
        if not 0 <= index < self.count:
            raise IndexError(f"toy car {index} of {self.count}")
        return draw_parameters(self.seed, index)

    def image(self, index: int) -> np.ndarray:
        """Car `index` as a picture, (H, W, 3) uint8."""
        return self._paint(self.parameters(index))

    def __getitem__(self, index: int) -> ToyCar:
        """Car `index` with everything known about it."""
        p = self.parameters(index)
        _, points = car(p)
        keypoints = {name: self._to_pixels(*point) for name, point in points.items()}
        blank = np.zeros(self.size, np.uint8)
        return ToyCar(self._paint(p), keypoints, blank, blank, "", p)

    def _to_pixels(self, x: float, y: float) -> tuple[float, float]:
        height, width = self.size
        return x * self._unit + (width - 1) / 2, y * self._unit + (height - 1) / 2

    def _paint(self, p: CarParameters) -> np.ndarray:
        height, width = self.size
        s, unit = self._supersampling, self._unit
        shapes = background(p, width / unit / 2, height / unit / 2) + car(p)[0]
        canvas = self._sky(p)
        draw = ImageDraw.Draw(canvas)
        for shape in shapes:
            draw.polygon(self._to_canvas(shape), fill=shape.color)
        return np.asarray(canvas.reduce(s))

    def _to_canvas(self, shape: Shape) -> list[int]:
        s, (height, width) = self._supersampling, self.size
        scale, dx, dy = s * self._unit, s * width / 2, s * height / 2
        # The integer part is the supersampled pixel that holds a point; PIL fills both end pixels.
        return [v for x, y in shape.points for v in (int(x * scale + dx), int(y * scale + dy))]

    def _sky(self, p: CarParameters) -> Image.Image:
        height, width = (v * self._supersampling for v in self.size)
        top, foot, _, _ = SKIES[p.scene.sky]
        t = np.linspace(0, 1.5, height)[:, None].clip(0, 1)
        column = np.round(np.asarray(top) * (1 - t) + np.asarray(foot) * t).astype(np.uint8)
        return Image.fromarray(column[:, None]).resize((width, height), Image.Resampling.NEAREST)


__all__ = ["CarParameters", "Part", "ToyCar", "ToyCars"]
