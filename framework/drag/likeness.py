"""Whether what was taken hold of is still under the point: a second look, wider than tracking's.

Tracking always finds something: the best place near by. Here the surroundings of the handle before
the drag are compared with those of the point now, and with other places of the same two pictures.
These comparisons are the yardstick, so that it needs no calibration for a model and no other
network. The limits were chosen on toy cars with a judge (docs/drag.md has the error rates).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.drag.features import differences, inside, patches
from framework.drag.interface import Draggable, View
from framework.models.frozen import gradients

COMPARED_PX = 128  # larger pictures are reduced to about this height first
RADIUS_PX = 2  # half side of the compared square
ELSEWHERE_PX = (3, 10)  # places now that could have been meant: farther than, at most
NEIGHBOURS_PX = (2, 4)  # places before that tell what a small miss looks like: likewise
ELSEWHERE_LIMIT, NEIGHBOURS_LIMIT = 0.95, 2.85
SURE_CONFIDENCE = 0.5  # below it a drag is doubtful: a little more often wrong than right
LEAST_CONFIDENCE = 0.475  # below it the point is called lost


def last_look(
    draggable: Draggable, before: View, now: View, handles: Tensor, points: Tensor
) -> tuple[float, ...]:
    """How sure each point is, by the drag's features and those of a larger block.

    Args:
        draggable: The model.
        before: The state before the drag.
        now: The state now.
        handles: (x, y) in image pixels before the drag, shape (K, 2).
        points: Where they are said to be now, shape (K, 2).
    """
    then, after = [before.features], [now.features.detach()]
    with gradients(False):
        finer = draggable.finer(before.state), draggable.finer(now.state)
        if finer[0] is not None and finer[1] is not None:
            then.append(finer[0])
            after.append(finer[1])
        sure = confidence(then, after, handles, points, draggable.img_size)
    return tuple(sure.tolist())


def confidence(
    before: Sequence[Tensor],
    after: Sequence[Tensor],
    handles: Tensor,
    points: Tensor,
    img_size: tuple[int, int],
) -> Tensor:
    """How sure it is that each point now shows what its handle showed before.

    Below `SURE_CONFIDENCE` another place near by resembles the handle as much (Lowe's ratio test,
    2004), or the point resembles it far less than the handle's own neighbours did. Below
    `LEAST_CONFIDENCE` the point is lost.

    Args:
        before: Features before the drag, of one or more blocks, each (1, C, h, w), any h and w.
        after: The same ones now.
        handles: (x, y) in image pixels before the drag, shape (K, 2).
        points: Where they are said to be now, shape (K, 2).
        img_size: Image's (height, width).

    Returns:
        Shape (K,), in [0, 1]; 1 for what is unchanged.
    """
    scales = [_scale(view) for view in before]
    factor = max(1, img_size[0] // COMPARED_PX)
    size = (img_size[0] // factor, img_size[1] // factor)
    handles, points = ((place + 0.5) / factor - 0.5 for place in (handles, points))
    templates = _windows(before, scales, handles, RADIUS_PX, size)
    here = differences(_windows(after, scales, points, RADIUS_PX, size), templates, 1).flatten()
    elsewhere = _least(after, scales, points, templates, ELSEWHERE_PX, size)
    neighbours = _least(before, scales, handles, templates, NEIGHBOURS_PX, size)
    limit = torch.minimum(ELSEWHERE_LIMIT * elsewhere, NEIGHBOURS_LIMIT * neighbours)
    return limit.clamp(min=1e-9) / (limit.clamp(min=1e-9) + here)


def _scale(view: Tensor) -> Tensor:
    """What makes channels comparable, and views of many channels no louder than their number."""
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
    """Least difference to the templates on a ring of places about the centres, shape (K,)."""
    beyond, reach = ring_px
    window = _windows(views, scales, centres, reach + RADIUS_PX, size)
    found = differences(window, templates, 2 * reach + 1)
    offsets = torch.arange(-reach, reach + 1, device=centres.device)
    apart = offsets[:, None].square() + offsets[None].square()
    ring = (apart > beyond**2) & (apart <= reach**2) & inside(centres, reach, size)
    return found.masked_fill(~ring, float("inf")).flatten(1).amin(dim=1)
