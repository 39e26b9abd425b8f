"""Colours of one picture given to another: moments agree, and nothing else is done."""

import numpy as np
import pytest

from framework.compositing.colours import colour_map
from framework.errors import UserError


def picture(seed, mean, mix, count=4000):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 3)) @ np.asarray(mix, float) + mean


MIX = [[20, 6, 2], [3, 25, 5], [0, 8, 15]]
OTHER = [[35, 0, 0], [20, 12, 0], [9, 1, 10]]


def test_mean_and_covariance_become_the_other_pictures():
    ours, theirs = picture(0, [90, 120, 60], MIX), picture(1, [140, 100, 130], OTHER, 900)
    mapped = colour_map(ours, theirs.reshape(30, 30, 3))(ours)
    assert np.allclose(mapped.mean(axis=0), theirs.mean(axis=0), atol=1e-6)
    assert np.allclose(np.cov(mapped.T, bias=True), np.cov(theirs.T, bias=True), rtol=0.01, atol=1)


def test_it_is_the_least_movement():
    """Of all linear maps to these moments the one without a rotation: a symmetric matrix."""
    turn = colour_map(picture(0, 90, MIX), picture(1, 140, OTHER)).turn
    assert np.allclose(turn, turn.T) and (np.linalg.eigvalsh(turn) > 0).all()


def test_equal_colours_stay():
    ours = picture(0, 90, MIX)
    assert np.allclose(colour_map(ours, ours)(ours), ours)


def test_a_known_linear_change_is_undone():
    ours = picture(0, [90, 120, 60], MIX)
    theirs = ours * 1.3 - 20
    assert np.abs(colour_map(theirs, ours)(theirs) - ours).max() < 0.1


def test_a_flat_picture_gets_the_colour_and_no_noise():
    flat = np.full((20, 20, 3), 80.0)
    noisy = flat + np.random.default_rng(0).uniform(-0.5, 0.5, flat.shape)
    mapped = colour_map(noisy, picture(1, 140, OTHER))(noisy)
    assert np.abs(mapped.mean(axis=(0, 1)) - 140).max() < 3
    assert mapped.std() < 4 * noisy.std() + 0.1


def test_grey_pictures_have_colours_too():
    ours = np.random.default_rng(0).normal(100, 10, (50, 50, 1))
    mapped = colour_map(ours, 2 * ours)(ours)
    assert np.allclose(mapped, 2 * ours, atol=0.2)


def test_pictures_that_do_not_fit_are_one_line():
    with pytest.raises(UserError, match="1 and 3 channels"):
        colour_map(np.ones((2, 2, 1)), np.ones((2, 2, 3)))
    with pytest.raises(UserError, match="no pixels"):
        colour_map(np.ones((0, 3)), np.ones((2, 2, 3)))
