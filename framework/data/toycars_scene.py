"""The scene behind a toy car: sky, hills or houses, road."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from framework.data.toycars_lots import Color
from framework.data.toycars_parameters import SKIES, CarParameters, SceneParameters
from framework.data.toycars_shapes import Part, Point, Shape, darker, ellipse, lighter, mix

Add = Callable[[Sequence[Point], Color], None]


def sky_column(scene: SceneParameters, height: int) -> np.ndarray:
    """Return the sky's colours from the picture's top to its foot, shape (height, 3), uint8."""
    top, foot, _, _ = SKIES[scene.sky]
    t = np.linspace(0, 1.5, height)[:, None].clip(0, 1)
    return np.round(np.asarray(top) * (1 - t) + np.asarray(foot) * t).astype(np.uint8)


def background(p: CarParameters, half_width: float, half_height: float) -> list[Shape]:
    """Return the shapes behind the car except the sky, for a picture of this half size."""
    scene = p.scene
    shapes: list[Shape] = []

    def add(points: Sequence[Point], color: Color) -> None:
        shapes.append(Shape(points, color, Part.BACKGROUND))

    _sun_and_clouds(scene, min(1.0, 2 * half_height), add)
    _RELIEFS[scene.backdrop](scene, half_width, add)
    _road(p, half_width + 0.02, half_height + 0.02, add)
    return shapes


def _sun_and_clouds(scene: SceneParameters, squeeze: float, add: Add) -> None:
    """Add sun and clouds; `squeeze` keeps them inside a picture less than one unit high."""
    top, foot, _, _ = SKIES[scene.sky]
    if scene.sun:
        x, y, r = scene.sun
        add(ellipse(x, y * squeeze, r, r), mix(foot, (255, 246, 214), 0.8))
    white = mix(mix(top, foot, 0.6), (255, 255, 255), 0.55)
    for x, y, size in scene.clouds:
        for dx, dy, r in ((-0.055, 0.008, 0.028), (0, 0, 0.042), (0.06, 0.01, 0.026)):
            center = x + dx * size, y * squeeze + dy * size
            add(ellipse(*center, r * size * 1.4, r * size * 0.8), white)


def _road(p: CarParameters, w: float, h: float, add: Add) -> None:
    """Add verge, road and road lines of a picture that ends within (w, h) of its middle."""
    scene = p.scene
    _, _, hill, road = SKIES[scene.sky]
    verge = mix(hill, darker(road, 0.1), 0.4)
    for top, color in ((scene.horizon, verge), (scene.horizon + 0.03, road)):
        add([(-w, top), (w, top), (w, h), (-w, h)], color)
    if scene.road_lines:
        y = p.ground + 0.13
        for k in _steps(-3, 3, 0.3, w):
            x = k * 0.3 + scene.relief[0] * 0.3
            add([(x, y), (x + 0.15, y), (x + 0.15, y + 0.022), (x, y + 0.022)], lighter(road, 0.45))


def _steps(first: int, last: int, step: float, half_width: float) -> range:
    """Return numbers first..last of objects `step` apart, and more in a wide picture."""
    more = max(0, math.ceil((half_width - 0.55) / step))
    return range(first - more, last + 1 + more)


def _far_and_near(scene: SceneParameters) -> tuple[Color, Color]:
    _, foot, hill, _ = SKIES[scene.sky]
    return mix(foot, hill, 0.55), hill


def _hills(scene: SceneParameters, half_width: float, add: Add) -> None:
    far, near = _far_and_near(scene)
    r, horizon = scene.relief, scene.horizon
    xs = [-half_width - 0.1 + k * (2 * half_width + 0.2) / 24 for k in range(25)]
    for color, turn, pace, size in ((far, r[0], r[1], 0.13), (near, r[2], r[3], 0.07)):
        line = [
            (x, horizon - size * (0.75 + 0.4 * math.sin((5 + 3 * pace) * x + 6.3 * turn)))
            for x in xs
        ]
        add([*line, (xs[-1], horizon), (xs[0], horizon)], color)


def _mountains(scene: SceneParameters, half_width: float, add: Add) -> None:
    far, near = _far_and_near(scene)
    horizon = scene.horizon
    for k in _steps(0, 3, 0.33, half_width):
        size = 0.13 + 0.14 * scene.relief[k % 4 + 4]
        x = -0.5 + k * 0.33 + 0.2 * scene.relief[k % 4]
        peak = [(x - size * 1.3, horizon), (x, horizon - size), (x + size * 1.3, horizon)]
        add(peak, mix(far, near, 0.25 * (k % 2)))


def _skyline(scene: SceneParameters, half_width: float, add: Add) -> None:
    far, near = _far_and_near(scene)
    horizon = scene.horizon
    for k in _steps(0, 7, 0.135, half_width):
        x, top = -0.52 + k * 0.135, horizon - (0.09 + 0.2 * scene.relief[k % 8])
        house = [(x, horizon), (x, top), (x + 0.12, top), (x + 0.12, horizon)]
        add(house, mix(far, near, 0.3 * (k % 2)))


def _trees(scene: SceneParameters, half_width: float, add: Add) -> None:
    far, near = _far_and_near(scene)
    horizon, w = scene.horizon, half_width + 0.1
    for k in _steps(0, 5, 0.2, half_width):
        x = -0.5 + k * 0.2 + 0.06 * scene.relief[k % 6]
        size = 0.07 + 0.05 * scene.relief[k % 6 + 4]
        add(ellipse(x, horizon - size, size * 0.8, size), mix(far, near, 0.3 * (k % 2)))
    add([(-w, horizon), (-w, horizon - 0.04), (w, horizon - 0.04), (w, horizon)], near)


def _plain(scene: SceneParameters, half_width: float, add: Add) -> None:
    """Add nothing but the road's edge."""


_RELIEFS = {
    "hills": _hills,
    "mountains": _mountains,
    "skyline": _skyline,
    "trees": _trees,
    "plain": _plain,
}
