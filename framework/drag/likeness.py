"""Whether a point still shows what its handle showed: a second look, wider than tracking's.

Tracking always finds something: the best place nearby. Here the surroundings of the handle before
the drag are compared with those of the point now, and with other places of the same two pictures.
These comparisons are the yardstick, so no calibration for a model and no other network is needed.
The limits were chosen on toy cars with a judge (docs/drag.md has the error rates).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.drag.features import differences, inside, patches
from framework.drag.interface import Draggable, View
from framework.drag.settings import REDUCED_PX
from framework.models.frozen import gradients

RADIUS_PX = 4  # half side of the compared square
ELSEWHERE_PX = (3, 10)  # distances of other places that could have been meant: above, up to
NEIGHBOURS_PX = (2, 4)  # distances of the places before that show what a small miss looks like
NEIGHBOURS_LIMIT = 2.4
SURE_CONFIDENCE = 0.525  # below it a drag is doubtful
LEAST_CONFIDENCE = 0.5  # below it the point is called lost: others fit better than it does


def last_look(
    draggable: Draggable, before: View, now: View, handles: Tensor, points: Tensor
) -> tuple[float, ...]:
    """Confidence of each point, by the drag's features and those of a larger block.

    Args:
        draggable: The model.
        before: View of the state before the drag.
        now: View of the state now.
        handles: Points (x, y) in pixels before the drag, shape (K, 2).
        points: Where the tracker says they are now, shape (K, 2).
    """
    features_before, features_now = [before.features], [now.features.detach()]
    with gradients(False):
        finer = draggable.finer(before.state), draggable.finer(now.state)
        if finer[0] is not None and finer[1] is not None:
            features_before.append(finer[0])
            features_now.append(finer[1])
        size = draggable.img_size
        return tuple(confidence(features_before, features_now, handles, points, size).tolist())


def confidence(
    before: Sequence[Tensor],
    after: Sequence[Tensor],
    handles: Tensor,
    points: Tensor,
    img_size: tuple[int, int],
) -> Tensor:
    """How sure it is that each point now shows what its handle showed before.

    The ratio test of Lowe 2004, forward and backward: does another place near the point resemble
    the handle as much, and another place near the handle the point (geometric mean)? Below
    `LEAST_CONFIDENCE` others fit better, or the point resembles the handle far less than the
    handle's own neighbours did.

    Args:
        before: Features before the drag, of one or more blocks, each (1, C, h, w), any h and w.
        after: Features of the same blocks now.
        handles: Points (x, y) in pixels before the drag, shape (K, 2).
        points: Where the tracker says they are now, shape (K, 2).
        img_size: Picture's (height, width).

    Returns:
        Confidence, shape (K,), in [0, 1]; 1 for what is unchanged.
    """
    scales = [_scale(view) for view in before]
    factor = max(1, img_size[0] // REDUCED_PX)
    size = (img_size[0] // factor, img_size[1] // factor)
    handles, points = ((place + 0.5) / factor - 0.5 for place in (handles, points))
    templates = _windows(before, scales, handles, RADIUS_PX, size)
    found = _windows(after, scales, points, RADIUS_PX, size)
    here = differences(found, templates, 1).flatten()
    forward = _least(after, scales, points, templates, ELSEWHERE_PX, size)
    backward = _least(before, scales, handles, found, ELSEWHERE_PX, size)
    neighbours = _least(before, scales, handles, templates, NEIGHBOURS_PX, size)
    limit = torch.minimum((forward * backward).sqrt(), NEIGHBOURS_LIMIT * neighbours)
    return limit.clamp(min=1e-9) / (limit.clamp(min=1e-9) + here)


def _scale(view: Tensor) -> Tensor:
    """Factors that make channels comparable, and views of many channels no louder than others."""
    spread = view.std(dim=(2, 3), keepdim=True)
    return 1 / ((spread + 1e-3 * spread.mean() + 1e-9) * view.shape[1] ** 0.5)


def _windows(
    views: Sequence[Tensor],
    scales: Sequence[Tensor],
    centres: Tensor,
    radius_px: int,
    size: tuple[int, int],
) -> Tensor:
    """Squares of all views about the centres, channel beside channel: (K, sum of C, n, n)."""
    parts = []
    for view, scale in zip(views, scales, strict=True):
        if view.shape[2] > size[0]:
            view = F.adaptive_avg_pool2d(view, size)
        parts.append(patches(view * scale, centres, radius_px, size))
    return torch.cat(parts, dim=1)


def _least(
    views: Sequence[Tensor],
    scales: Sequence[Tensor],
    centres: Tensor,
    templates: Tensor,
    ring_px: tuple[int, int],
    size: tuple[int, int],
) -> Tensor:
    """Smallest difference from the templates on a ring of places about the centres, shape (K,)."""
    beyond, reach = ring_px
    window = _windows(views, scales, centres, reach + RADIUS_PX, size)
    difference = differences(window, templates, 2 * reach + 1)
    offsets = torch.arange(-reach, reach + 1, device=centres.device)
    apart = offsets[:, None].square() + offsets[None].square()
    ring = (apart > beyond**2) & (apart <= reach**2) & inside(centres, reach, size)
    return difference.masked_fill(~ring, float("inf")).flatten(1).amin(dim=1)
