"""Pictures with a manner and nothing else, drawn by code: strokes, mosaics, hatching, dots, marble.

They stand in for paintings where a run learns styles or a page shows one, as the toy cars stand in
for photographs.
"""

import colorsys
from collections.abc import Callable
from importlib import import_module  # SciPy is late: every training imports this file

import numpy as np
from PIL import Image, ImageDraw

_COLOURS = 6
_TONES = 1.8  # standard deviations of a field from the first to the last colour


def pattern(number: int, side_px: int) -> np.ndarray:
    """Draw one, uint8 (side, side, 3), the same for the same number; kinds take turns."""
    rng = np.random.default_rng([number, side_px])
    kind = list(KINDS.values())[number % len(KINDS)]
    return kind(rng, side_px)


def strokes(rng: np.random.Generator, side: int) -> np.ndarray:
    """Strokes of a brush along a field of directions."""
    colours, tone = _palette(rng), _field(rng, side, side / 8)
    direction = _field(rng, side, side / 10) * 1.5
    image = Image.fromarray(_levels(np.broadcast_to(colours[0], (side, side, 3))))
    draw, scale = ImageDraw.Draw(image), rng.uniform(0.7, 1.5)
    for x, y in rng.uniform(0, side, (round(side**2 / 25 / scale**2), 2)):
        shade = _shade(colours, tone[int(y), int(x)] + rng.normal(0, 0.3)) + rng.normal(0, 0.05, 3)
        length, points = scale * rng.uniform(8, 22), [(x, y)]
        for _ in range(5):
            angle = direction[int(y) % side, int(x) % side]
            x, y = x + np.cos(angle) * length / 5, y + np.sin(angle) * length / 5
            points.append((x, y))
        width = max(1, round(scale * rng.uniform(2, 5)))
        draw.line(points, tuple(_levels(shade).tolist()), width, "curve")
    return np.array(image)


def mosaic(rng: np.random.Generator, side: int) -> np.ndarray:
    """Tiles of one colour each between dark joints."""
    count = max(4, round(side**2 / rng.uniform(100, 400)))
    near, tile, middles = _cells(rng, side, count)
    tone = _field(rng, side, side / 8)[middles[:, 1].astype(int), middles[:, 0].astype(int)]
    shades = _shade(_palette(rng), tone) + rng.normal(0, 0.05, (count, 3))
    joint = near[..., 1] - near[..., 0] < rng.uniform(1.2, 3)
    return _levels(np.where(joint[..., None], rng.uniform(0, 0.3), shades[tile]))


def hatching(rng: np.random.Generator, side: int) -> np.ndarray:
    """Ink on paper: one layer of bent lines, or two, where it is darker."""
    y, x = np.mgrid[:side, :side]
    bent, tone, turn = (
        _field(rng, side, side / 20) * 2,
        _field(rng, side, side / 9),
        rng.uniform(0, 3),
    )
    pitch = rng.uniform(4, 8)
    one, other = (
        np.sin((x * np.cos(a) + y * np.sin(a) + bent) * 2 * np.pi / pitch) > -0.3
        for a in (turn, turn + 1.4)
    )
    paper = (tone > 0.3) | (one & ((tone > -0.5) | other))
    ink, sheet = (_tint(rng, value) for value in (0.2, 0.93))
    return _levels(np.where(paper[..., None], sheet, ink) + rng.normal(0, 0.02, (side, side, 1)))


def dots(rng: np.random.Generator, side: int) -> np.ndarray:
    """Round dots of few colours on a ground."""
    count = max(4, round(side**2 / rng.uniform(30, 120)))
    near, tile, middles = _cells(rng, side, count)
    tone = _field(rng, side, side / 8)[middles[:, 1].astype(int), middles[:, 0].astype(int)]
    colours = _palette(rng)
    shades = _shade(colours, tone + rng.normal(0, 0.5, count))
    radius = rng.uniform(0.25, 0.5) * side / count**0.5
    return _levels(np.where(near[..., :1] < radius * 1.3, shades[tile], colours[-1]))


def marble(rng: np.random.Generator, side: int) -> np.ndarray:
    """Bands of flowing colours."""
    flow = _field(rng, side, side / 12) * 1.2 + _field(rng, side, side / 32) * 0.4
    waves = np.sin(flow * rng.uniform(2, 6)) * _TONES
    return _levels(_shade(_palette(rng), waves))


KINDS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "strokes": strokes, "mosaic": mosaic, "hatching": hatching, "dots": dots, "marble": marble,
}  # fmt: skip


def _palette(rng: np.random.Generator) -> np.ndarray:
    """Two families of hues, (colours, 3) in [0, 1]."""
    hue, apart = rng.random(), rng.uniform(0.2, 0.5)
    return np.array([
        colorsys.hsv_to_rgb(
            (hue + rng.normal(0, 0.08) + i % 2 * apart) % 1,
            rng.uniform(0.2, 0.95), rng.uniform(0.2, 1),
        )
        for i in range(_COLOURS)
    ])  # fmt: skip


def _tint(rng: np.random.Generator, value: float) -> np.ndarray:
    """A weak colour of that brightness."""
    return np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, 0.4), value))


def _field(rng: np.random.Generator, side: int, width_px: float) -> np.ndarray:
    """Smooth noise (side, side) that wraps, of mean 0 and deviation 1."""
    noise = import_module("scipy.ndimage").gaussian_filter(
        rng.normal(size=(side, side)), width_px, mode="wrap"
    )
    return (noise - noise.mean()) / max(noise.std(), 1e-9)


def _shade(colours: np.ndarray, tone: np.ndarray | float) -> np.ndarray:
    """Colours between those of a palette, (..., 3), of tones in standard deviations."""
    at = np.clip((np.asarray(tone) / _TONES + 1) / 2, 0, 1) * (len(colours) - 1.001)
    low, share = at.astype(int), (at % 1)[..., None]
    return colours[low] * (1 - share) + colours[low + 1] * share


def _cells(
    rng: np.random.Generator, side: int, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances of pixels to their two nearest points, the nearest's number, and the points."""
    middles = rng.uniform(0, side, (count, 2))
    y, x = np.mgrid[:side, :side]
    near, which = (
        import_module("scipy.spatial").KDTree(middles).query(np.stack([x, y], axis=-1), k=2)
    )
    return np.asarray(near), np.asarray(which)[..., 0], middles


def _levels(colours: np.ndarray) -> np.ndarray:
    """Colours in [0, 1] as uint8."""
    return np.rint(np.clip(colours, 0, 1) * 255).astype(np.uint8)
