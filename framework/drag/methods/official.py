"""What the public code of DragGAN does, where that is not what the paper says; for comparison only.

After a description of the code that Pan et al. published in 2023, not from the code. Against the
paper, and against `draggan`:

- Points are found by L2 between single features of whole pixels (paper: L1), and before the motion
  supervision of a step, on the same features.
- The patch that is pulled is open (distance < r1), and its coordinates are spaced by
  size / (size - 1): it lies up to a pixel too far to the top left.
- The motion loss is a mean over pixels and channels, and the mask loss, times 20, one over the
  whole picture: its strength depends on the mask's area. A mask of one value is ignored.
- A point within a pixel of its target is not supervised and may wander.
- The drag ends within 2 px at heights up to 512, and 4 at 1024 (paper: 1 for up to five points).
- The learning rate is 1e-3 for all models (the preset's; paper: 2e-3 for faces, cats and cars).
- The whole picture is rendered, and the features are resized to its size, at every step.

Left out: gradients of the weights, which nobody uses; the watermark; the missing limit on steps. A
radius r1 of 0, which gives NaN below 86 px, is 1 here. The settings `tracker`, `mask_weight`,
`stop_distance_px`, `settle_steps` and `template_radius_px` have no effect.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.drag.ends import Ends
from framework.drag.interface import Drag, Draggable
from framework.drag.mask import Pulls
from framework.drag.progress import Progress
from framework.drag.settings import PAPER_SIZE_PX, DragSettings
from framework.drag.step import DragStep
from framework.errors import InvalidEdit
from framework.models.frozen import gradients

MASK_WEIGHT = 20.0
STOP_PX = 2.0  # at a height of 512, and never less
RELEASED_PX = 1.0  # from here on a point is not supervised


def run(
    draggable: Draggable, drag: Drag, settings: DragSettings, resume_from: DragStep | None = None
) -> Iterator[DragStep]:
    """Find the points, and pull those on that are not within a pixel of their targets; repeat."""
    size, last = draggable.img_size, None
    sizes = settings.sizes(size, len(drag.targets))
    sizes = replace(sizes, stop_distance_px=stop_px(size[0]))
    ends, fixed = Ends(settings, sizes), None if drag.mask is None else 1 - drag.mask
    with gradients(False):
        before = draggable.view(drag.start)
        first = resized(before.features, size)
        rows, columns = drag.handles.round().long().flip(1).unbind(1)
        handles = first[0, :, rows, columns].T
        at = Progress.beginning(draggable, drag, resume_from)

    while True:
        with gradients(True):
            view = draggable.view(at.state)
            draggable.picture(at.state, view)  # whether anybody asks for it or not
            features = resized(view.features, size)
            with torch.no_grad():
                points, drift = track(features, at.points, handles, sizes.tracking_radius_px)
            motion = motion_loss(features, points, drag.targets, sizes.motion_radius_px)
            change = mask_loss(features, first, fixed)
            pulls = Pulls(draggable, view, motion, change, weight=0.0)
            numbers = at.measured(draggable, drag, view, pulls, points, drift)

        if not numbers.finite:
            if last is None:
                raise InvalidEdit("the model gives NaN or infinity for these latents")
            yield replace(last, step=at.step, status="diverged")
            return
        status = ends.status(numbers.farthest_px, settled=True, pulls=None)
        last = at.seen(draggable, drag, numbers, status, before, view)
        try:
            yield last
        finally:  # the graph is large, and callers collect steps
            last.picture.forget()
        if status != "moving":
            return

        pulls = replace(pulls, motion=motion + MASK_WEIGHT * change)
        at = at.moved(draggable, pulls, settings.learning_rate, False, points)
        del view, features, motion, change, pulls


def stop_px(height_px: int) -> float:
    """Distance at which every point has arrived, in pixels of the picture."""
    return max(STOP_PX / PAPER_SIZE_PX * height_px, STOP_PX)


def resized(features: Tensor, img_size: tuple[int, int]) -> Tensor:
    """The features at the picture's size, (1, C, H, W)."""
    return F.interpolate(features, img_size, mode="bilinear", align_corners=False)


def track(
    features: Tensor, points: Tensor, handles: Tensor, radius_px: int
) -> tuple[Tensor, Tensor]:
    """The nearest pixel to each handle's first features, in L2; and the mean difference there.

    Args:
        features: Features now at the picture's size, shape (1, C, H, W).
        points: Where the points were, shape (K, 2).
        handles: The handles' first features, shape (K, C).
        radius_px: Half side of the searched square, cut at the rim.
    """
    found, drift = [], []
    for (x, y), handle in zip(points.round().long().tolist(), handles, strict=True):
        left, top = max(x - radius_px, 0), max(y - radius_px, 0)
        window = features[0, :, top : y + radius_px + 1, left : x + radius_px + 1]
        best = int((window - handle[:, None, None]).norm(dim=0).argmin())
        row, column = divmod(best, window.shape[2])
        found.append((left + column, top + row))
        drift.append((window[:, row, column] - handle).abs().mean())
    return points.new_tensor(found), torch.stack(drift)


def patch(point: Tensor, radius_px: int, img_size: tuple[int, int]) -> Tensor:
    """Pixels (x, y) less than a radius from a point, as the code counts pixels: (n, 2)."""
    height, width = img_size
    y = torch.linspace(0, height, height, dtype=point.dtype, device=point.device)
    x = torch.linspace(0, width, width, dtype=point.dtype, device=point.device)
    distance = ((x[None] - point[0]).square() + (y[:, None] - point[1]).square()).sqrt()
    return (distance < radius_px).nonzero().flip(1).to(point.dtype)


def motion_loss(features: Tensor, points: Tensor, targets: Tensor, radius_px: int) -> Tensor:
    """Mean |F(q + d) - F(q)| of each point's patch, summed over those that are not released."""
    size = features.shape[2], features.shape[3]
    corner = points.new_tensor([size[1] - 1, size[0] - 1])
    loss = features.new_zeros(())
    for point, target in zip(points, targets, strict=True):
        way = target - point
        if way.norm() <= RELEASED_PX:
            continue
        pixels = patch(point, radius_px, size)
        ahead = (pixels + way / (way.norm() + 1e-7)) / corner * 2 - 1
        here = features.detach()[0, :, pixels[:, 1].long(), pixels[:, 0].long()]
        there = F.grid_sample(features, ahead[None, None], align_corners=True)[0, :, 0]
        loss = loss + (there - here).abs().mean()
    return loss


def mask_loss(features: Tensor, first: Tensor, fixed: Tensor | None) -> Tensor:
    """Mean change over the whole picture of what the mask holds; 0 for a mask of one value."""
    if fixed is None or not (fixed.min() == 0 and fixed.max() == 1):
        return features.new_zeros(())
    return ((features - first) * fixed).abs().mean()
