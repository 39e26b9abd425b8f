"""Colour transfer: a picture gets another one's colours, its content stays.

The map is the linear one that takes one distribution's mean and covariance to the other's with the
least movement of colours (Pitié & Kokaram 2007, the Monge-Kantorovitch solution), which unlike
statistics channel by channel (Reinhard et al. 2001) turns correlated colours, too.
"""

from typing import NamedTuple

import numpy as np

from framework.errors import UserError

_NOISE_LEVELS = 0.5  # of 255: variance below this is rounding, and is never amplified
_MOST_GAIN = 4.0  # of contrast: a flat picture has no texture that could be stretched


class ColourMap(NamedTuple):
    """A linear map of colours: c becomes (c - source) @ turn + target, all in levels."""

    source: np.ndarray
    turn: np.ndarray
    target: np.ndarray

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Map a picture (..., C); float64, not clipped."""
        return (picture - self.source) @ self.turn + self.target


def colour_map(source: np.ndarray, target: np.ndarray) -> ColourMap:
    """Return the map that gives colours of one picture the statistics of another.

    Args:
        source: Colours (..., C) in levels, of any number of pixels.
        target: Colours (..., C) wanted, of any other number.

    Raises:
        UserError: If one is empty, or they have different channels.
    """
    if source.shape[-1] != target.shape[-1]:
        raise UserError(
            f"colours of {source.shape[-1]} and {target.shape[-1]} channels: give two of one kind"
        )
    if not source.size or not target.size:
        raise UserError("no pixels to take colours from")
    of, to = (np.reshape(p, (-1, p.shape[-1])).astype(np.float64) for p in (source, target))
    have, want = _covariance(of), _covariance(to)
    root, inverse = _root(have), np.linalg.inv(_root(have))
    turn = inverse @ _root(root @ want @ root) @ inverse  # eq. 13 of the paper
    values, vectors = np.linalg.eigh(turn)
    turn = (vectors * values.clip(1 / _MOST_GAIN, _MOST_GAIN)) @ vectors.T
    return ColourMap(of.mean(axis=0), turn, to.mean(axis=0))


def _covariance(colours: np.ndarray) -> np.ndarray:
    centred = colours - colours.mean(axis=0)
    rounding = np.eye(colours.shape[1]) * _NOISE_LEVELS**2
    return centred.T @ centred / len(colours) + rounding


def _root(matrix: np.ndarray) -> np.ndarray:
    """Return the symmetric square root of a symmetric positive definite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(0))) @ vectors.T
