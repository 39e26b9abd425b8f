"""How sure a mean over a few pictures is: bootstrap intervals of means and paired differences."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

RESAMPLES, LEVEL = 10_000, 0.95
_NORMAL_95 = 1.959964
_AT_ONCE = 2**22  # values drawn at once


@dataclass(frozen=True)
class Interval:
    """A mean of `count` values and its 95 % interval; ends are NaN for fewer than two."""

    mean: float
    low: float
    high: float
    count: int

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, for JSON."""
        return asdict(self)


def bootstrap(values: Sequence[float], seed: int = 0) -> Interval:
    """Mean and 95 % percentile interval of `RESAMPLES` resamples (Efron & Tibshirani 1993, ch. 13).

    Infinite values (PSNR of equal pictures) are passed through unchanged.
    """
    sample = np.asarray(values, np.float64)
    count = len(sample)
    if count == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = float(sample.mean())
    if count == 1:
        return Interval(mean, math.nan, math.nan, 1)
    rng, rows = np.random.default_rng(seed), max(1, _AT_ONCE // count)
    parts = [min(rows, RESAMPLES - done) for done in range(0, RESAMPLES, rows)]
    means = np.concatenate(
        [sample[rng.integers(count, size=(part, count))].mean(axis=1) for part in parts]
    )
    # Without interpolation, which would give NaN between infinite values.
    ends = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
    return Interval(mean, float(ends[0]), float(ends[1]), count)


def paired(after: Sequence[float], before: Sequence[float], seed: int = 0) -> Interval:
    """Mean of `after` minus `before`, picture by picture, with its interval; see `bootstrap`."""
    pairs = zip(after, before, strict=True)
    # Two infinite PSNRs differ by 0: the pictures are equal both times.
    return bootstrap([0.0 if a == b else a - b for a, b in pairs], seed)


def wilson(count: int, of: int) -> dict[str, Any]:
    """A share and its 95 % interval, which is honest for none and for all, too (Wilson 1927).

    Returns:
        `count`, `of`, and `share`, `low`, `high`, None where there is nothing to count.
    """
    numbers: dict[str, Any] = {"count": count, "of": of, "share": None, "low": None, "high": None}
    if of == 0:
        return numbers
    z2, share = _NORMAL_95**2, count / of
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = _NORMAL_95 * math.sqrt(share * (1 - share) / of + z2 / (4 * of**2)) / (1 + z2 / of)
    return numbers | {
        "share": share,
        "low": max(0.0, middle - half),
        "high": min(1.0, middle + half),
    }
