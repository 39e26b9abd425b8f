"""Patterns: the same for the same number, each another, of every size."""

import numpy as np
import pytest

from framework.data.patterns import KINDS, pattern


@pytest.mark.parametrize("number", range(len(KINDS)))
@pytest.mark.parametrize("side", [16, 48])
def test_a_pattern_is_decided_by_its_number(number, side):
    first, again, other = (pattern(n, side) for n in (number, number, number + len(KINDS)))
    assert first.shape == (side, side, 3) and first.dtype == np.uint8
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert first.std() > 5
