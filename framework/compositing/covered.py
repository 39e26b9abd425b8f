"""The part of a canvas that a photograph covers, which may be turned or end within it."""

from collections.abc import Sequence

import numpy as np

from framework.compositing.resample import Affine, inverted

TOLERANCE_PX = 1e-3  # rounding between a box and the affine computed from it


def largest_covered(
    affine: Affine, photo_size: tuple[int, int], inner: Sequence[int]
) -> tuple[int, int, int, int] | None:
    """Return the largest box of whole canvas pixels within `inner` and within the photograph.

    The photograph on the canvas is convex: between two columns its top is never lower, nor its
    bottom higher, than at one of the two. So every pair of columns is tried at its ends.
    """
    left, top, width, height = inner
    columns = np.arange(left, left + width + 1, dtype=np.float64)
    high, low = _photo_span(affine, photo_size, columns - 0.5)
    high = np.ceil(np.clip(high + 0.5, top, top + height) - TOLERANCE_PX)
    low = np.floor(np.clip(low + 0.5, top, top + height) + TOLERANCE_PX)
    covered = np.flatnonzero(low > high)
    if covered.size and len({*zip(high[covered], low[covered], strict=True)}) == 1:  # not turned
        first, last = covered[[0, -1]]
        return int(columns[first]), int(high[first]), int(columns[last]), int(low[first])
    heights = np.minimum.outer(low, low) - np.maximum.outer(high, high)
    widths = columns[None] - columns[:, None]
    areas = np.where((heights > 0) & (widths > 0), heights * widths, 0)
    first, last = np.unravel_index(np.argmax(areas), areas.shape)
    if not areas[first, last]:
        return None
    upper, lower = max(high[first], high[last]), min(low[first], low[last])
    return int(columns[first]), int(upper), int(columns[last]), int(lower)


def _photo_span(
    affine: Affine, photo_size: tuple[int, int], x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the photograph's lowest and highest canvas y at each canvas x; inf, -inf if empty."""
    high, low = np.full(x.shape, -np.inf), np.full(x.shape, np.inf)
    backward = inverted(affine)
    for (ax, ay, offset), side in zip(backward, photo_size[::-1], strict=True):
        at_zero = ax * x + offset  # photo coordinate is ay * y + at_zero, within -0.5 .. side - 0.5
        if abs(ay) * max(1, side) < 1e-12:
            inside = (at_zero > -0.5 - TOLERANCE_PX) & (at_zero < side - 0.5 + TOLERANCE_PX)
            high, low = np.where(inside, high, np.inf), np.where(inside, low, -np.inf)
            continue
        ends = np.sort(np.stack([(-0.5 - at_zero) / ay, (side - 0.5 - at_zero) / ay]), axis=0)
        high, low = np.maximum(high, ends[0]), np.minimum(low, ends[1])
    return high, low
