"""Gradient-domain blending against a dense naive solution, and against the box's own solver."""

import numpy as np
import pytest

from framework.compositing import poisson
from framework.compositing.membrane import membrane
from framework.compositing.poisson import blend, interpolate
from framework.errors import UserError


def naive(target, source, mask, mixed=False):
    """Pérez' equation 7, a row for each pixel, solved as it is written."""
    height, width = mask.shape
    matrix, right = np.zeros((mask.size, mask.size)), np.zeros((mask.size, target.shape[2]))
    for y in range(height):
        for x in range(width):
            p = y * width + x
            if not mask[y, x]:
                matrix[p, p], right[p] = 1, target[y, x]
                continue
            for v, u in ((y, x + 1), (y, x - 1), (y + 1, x), (y - 1, x)):
                if 0 <= v < height and 0 <= u < width:
                    slope, other = source[y, x] - source[v, u], target[y, x] - target[v, u]
                    if mixed:
                        slope = np.where(np.abs(other) > np.abs(slope), other, slope)
                    matrix[p, p] += 1
                    matrix[p, v * width + u] -= 1
                    right[p] += slope
    return np.linalg.solve(matrix, right).reshape(target.shape)


def pictures(size=(9, 11), seed=0):
    rng = np.random.default_rng(seed)
    mask = rng.random(size) < 0.6
    mask[0, :3], mask[-1, -1] = True, False
    return rng.uniform(0, 255, (*size, 3)), rng.uniform(0, 255, (*size, 3)), mask


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_blend_is_the_papers_solution(mixed, seed):
    target, source, mask = pictures(seed=seed)
    blended = blend(target, source, mask, mixed=mixed)
    assert np.allclose(blended, naive(target, source, mask, mixed), atol=1e-8)
    assert np.array_equal(blended[~mask], target[~mask])


@pytest.mark.parametrize("fixed", [(True,) * 4, (True, False, True, False)])
def test_in_a_box_it_is_the_membrane(fixed):
    left, top, right, bottom = map(int, fixed)
    values, mask = pictures((20, 14))[0], np.zeros((20, 14))
    mask[top : 20 - bottom, left : 14 - right] = 1
    assert np.allclose(interpolate(values, mask), membrane(values, fixed), atol=1e-9)


def test_a_picture_shifted_in_colour_loses_the_shift():
    target, _, mask = pictures()
    assert np.allclose(blend(target, target + 40, mask), target)


def test_many_unknowns_are_solved_from_a_coarse_solution(monkeypatch):
    rng = np.random.default_rng(0)
    values, mask = rng.uniform(0, 255, (61, 50, 2)), np.zeros((61, 50), bool)
    mask[1:-1, 3:-1] = True
    mask[20:30, 20:24] = False
    exact = interpolate(values, mask)
    monkeypatch.setattr(poisson, "_MOST_DIRECT", 100)
    assert np.abs(interpolate(values, mask) - exact).mean() < 1  # of a field of 255 levels
    shifted = blend(values, values + 40, mask)
    assert np.abs(shifted - values).mean() < 1


def test_what_cannot_be_blended_is_one_line():
    target, source, mask = pictures()
    assert np.array_equal(blend(target, source, np.zeros_like(mask)), target)
    with pytest.raises(UserError, match="covers the whole picture"):
        blend(target, source, np.ones_like(mask))
    with pytest.raises(UserError, match=r"mask .* for a picture"):
        blend(target, source, mask[1:])
    with pytest.raises(UserError, match="give one size"):
        blend(target, source[1:], mask)
