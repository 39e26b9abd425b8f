"""What an edit moved: where the photograph must give way, and what takes its place."""

import numpy as np
from scipy import ndimage

from framework.compositing.carried import (
    SAME_THING_LEVELS,
    carried_detail,
    left_out,
    mean_around,
    unlike_photo,
)
from framework.compositing.detail import Carried
from framework.compositing.poisson import interpolate

_GONE = 0.5  # share of the edit from which on the photograph's own detail is gone


def moved(
    before: np.ndarray, after: np.ndarray, seen: np.ndarray, share: np.ndarray, beside: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[Carried]]:
    """Find what takes the place of a photograph where an edit moved something.

    Args:
        before: The model's picture before the edit, (H, W, C) float32 in levels.
        after: The same after it.
        seen: The photograph as the model sees it, (H, W, C).
        share: How much of the photograph the edit replaces, (H, W, 1), by what changed alone.
        beside: How near to a change a pixel is, (H, W, 1), 1 to 0.

    Returns:
        The share, larger where what the model had left out sticks out; a correction of the
        colours, (H, W, C); and pieces of detail to carry along.
    """
    share = np.maximum(
        share, beside * _sticks_out(before, after, seen, share[..., 0] > _GONE)[..., None]
    )
    gone = share[..., 0] > 0
    pieces = carried_detail(before, after, gone, ~unlike_photo(before, seen))
    bare = gone & ~np.any([piece.mask for piece in pieces], axis=0)
    return share, share * _bias(before, seen, gone) * bare[..., None], pieces


def _sticks_out(
    before: np.ndarray, after: np.ndarray, seen: np.ndarray, gone: np.ndarray
) -> np.ndarray:
    """Return where the photograph still shows what is gone beside it, (H, W) booleans.

    The photograph's outline is not quite the model's. What sticks out is something that the model
    leaves out, where the model shows now what it shows beside it where something is gone. A lamp
    beside uncovered ground is left out, too, but is not ground to the model.
    """
    if not gone.any():
        return gone
    nearest: np.ndarray = np.asarray(
        ndimage.distance_transform_edt(~gone, return_distances=False, return_indices=True)
    )
    same_ground = np.abs(after - after[tuple(nearest)]).max(axis=2) < SAME_THING_LEVELS
    return left_out(before, seen) & same_ground


def _bias(before: np.ndarray, seen: np.ndarray, gone: np.ndarray) -> np.ndarray:
    """Return how much the model is off in colour, continued from around into what moved.

    Added to the canvas, this is Poisson blending: the canvas' gradients within the photograph's
    colours (Pérez et al. 2003, eq. 7).
    """
    if gone.all():
        return np.zeros_like(before)
    return interpolate(mean_around(seen - before), gone).astype(np.float32)
