"""Pictures through affine maps, without aliasing; numpy and Pillow only.

An `Affine` is two rows of three numbers that take (x, y, 1) to (x, y), pixel centres at integers.
"""

import math

import numpy as np
from PIL import Image

Affine = tuple[tuple[float, float, float], tuple[float, float, float]]
_SNAP_PX = 1e-6  # largest rounding error of a whole number
_MOST_OVERSAMPLING = 8  # only pictures squeezed in one direction would need more


def inverted(affine: Affine) -> Affine:
    """Return the inverse map."""
    (a, b, c), (d, e, f) = affine
    det = a * e - b * d
    return (
        (e / det, -b / det, (b * f - c * e) / det),
        (-d / det, a / det, (c * d - a * f) / det),
    )


def composed(second: Affine, first: Affine) -> Affine:
    """Return the map that applies `first`, then `second`."""
    whole = np.array([*second, (0, 0, 1)]) @ np.array([*first, (0, 0, 1)])
    rows = whole[:2].tolist()
    return (tuple(rows[0]), tuple(rows[1]))


def applied(affine: Affine, points: np.ndarray) -> np.ndarray:
    """Apply the map to points (..., 2)."""
    matrix = np.array(affine)
    return points @ matrix[:, :2].T + matrix[:, 2]


def scales(affine: Affine) -> tuple[float, float]:
    """Return the lengths to which the map takes one pixel along x and along y."""
    (a, b, _), (d, e, _) = affine
    return math.hypot(a, d), math.hypot(b, e)


def snapped(value: float) -> float:
    """Return `value`, or the whole number that it equals except for rounding."""
    whole = round(value)
    return whole if abs(value - whole) <= _SNAP_PX * max(1, abs(whole)) else value


def resample(
    source: np.ndarray,
    to_source: Affine,
    size: tuple[int, int],
    filter: Image.Resampling = Image.Resampling.LANCZOS,
) -> np.ndarray:
    """Resample a picture through an affine map.

    Args:
        source: Picture, uint8 (h, w, C) with 1, 3 or 4 channels, or float32 with any number.
        to_source: Map from pixels of the result to pixels of the source. If it does not turn, the
            result must lie within the source, rounding apart.
        size: (H, W) of the result.
        filter: Filter of the averaging. A turned picture is interpolated bicubically, at twice the
            density of the result.

    Returns:
        A picture (H, W, C) of the source's type; zero where a turned one leaves the source.
    """
    planes = _planes(source)
    (_, b, _), (d, _, _) = to_source
    straight = not (b or d) and to_source[0][0] > 0 and to_source[1][1] > 0
    see = _straight if straight else _turned
    results = [np.asarray(see(plane, to_source, size, filter)) for plane in planes]
    return np.stack(results, axis=-1) if results[0].ndim == 2 else results[0].copy()


def _planes(source: np.ndarray) -> list[Image.Image]:
    """Convert to Pillow's pictures: one of bytes, or one for each channel of floats."""
    if source.dtype == np.uint8:
        flat = source[..., 0] if source.shape[2] == 1 else source
        return [Image.fromarray(np.ascontiguousarray(flat))]
    source = source.astype(np.float32, copy=False)
    return [Image.fromarray(np.ascontiguousarray(source[..., c])) for c in range(source.shape[2])]


def _straight(
    plane: Image.Image, to_source: Affine, size: tuple[int, int], filter: Image.Resampling
) -> Image.Image:
    """Resize with Pillow's own function, where axes stay axes; the box need not be whole."""
    spans = []
    for scale, offset, side, count in (
        (to_source[0][0], to_source[0][2], plane.width, size[1]),
        (to_source[1][1], to_source[1][2], plane.height, size[0]),
    ):
        first = snapped(offset + 0.5 - scale / 2)
        last = snapped(first + scale * count)
        spans.append((max(0, first), min(side, last)))
    (left, right), (top, bottom) = spans
    return plane.resize((size[1], size[0]), filter, box=(left, top, right, bottom))


def _turned(
    plane: Image.Image, to_source: Affine, size: tuple[int, int], filter: Image.Resampling
) -> Image.Image:
    """Resample through any other map: shrink, interpolate with no pixel skipped, average."""
    step_x, step_y = scales(to_source)
    factor = min(1, 2 / min(step_x, step_y))
    shrunk = (max(1, round(plane.width * factor)), max(1, round(plane.height * factor)))
    ratio_x, ratio_y = shrunk[0] / plane.width, shrunk[1] / plane.height
    if shrunk != plane.size:
        plane = plane.resize(shrunk, filter)
    fine_x, fine_y = (
        min(_MOST_OVERSAMPLING, max(1, math.ceil(step * factor - 0.1))) for step in (step_x, step_y)
    )
    (a, b, c), (d, e, f) = to_source
    # Pillow's coordinates begin at the corner of the first pixel, not at its centre.
    corner_c, corner_f = c + 0.5 - (a + b) / 2, f + 0.5 - (d + e) / 2
    numbers = (
        *(ratio_x * v for v in (a / fine_x, b / fine_y, corner_c)),
        *(ratio_y * v for v in (d / fine_x, e / fine_y, corner_f)),
    )
    fine = (size[1] * fine_x, size[0] * fine_y)
    result = plane.transform(fine, Image.Transform.AFFINE, numbers, Image.Resampling.BICUBIC)
    width, height = size[1], size[0]
    return result if fine == (width, height) else result.resize((width, height), filter)
