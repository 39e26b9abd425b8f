"""Intervals of means: as wide as the theory says, and paired."""

import numpy as np
import pytest

from framework.evaluation.intervals import LEVEL, bootstrap, paired


def test_an_interval_is_as_wide_as_the_normal_law_has_it():
    """The percentile interval of many values is mean ± 1.96 standard errors (95 %)."""
    values = np.random.default_rng(1).normal(3.0, 2.0, 900)
    error = values.std() / np.sqrt(len(values))
    found = bootstrap(values.tolist())
    assert LEVEL == 0.95 and found.count == 900
    assert found.mean == pytest.approx(values.mean())
    assert found.high - found.mean == pytest.approx(1.96 * error, rel=0.1)
    assert found.mean - found.low == pytest.approx(1.96 * error, rel=0.1)


def test_a_pair_is_after_minus_before():
    found = paired([3.0, 5.0, float("inf")], [1.0, 3.0, float("inf")])
    assert found.mean == pytest.approx(4 / 3) and found.low >= 0.0 and found.high <= 2.0
