"""The points' surroundings moved in the picture, in one pass; the model then redraws that picture.

No features are pulled and no gradient leads the points: the picture is warped
(`framework.drag.warping`), the ground that is uncovered is filled in from the rest of it, and the
model's own state is found that shows the result. A diffusion model shows it exactly, by inversion;
a generator as well as it can, by descent.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from framework.drag.ends import Ends
from framework.drag.interface import Drag, Draggable
from framework.drag.mask import Hold
from framework.drag.progress import Progress
from framework.drag.registry import named
from framework.drag.settings import DragSettings
from framework.drag.step import DragStep
from framework.drag.warping import painted, warped
from framework.errors import InvalidEdit
from framework.models.frozen import gradients


def run(
    draggable: Draggable, drag: Drag, settings: DragSettings, resume_from: DragStep | None = None
) -> Iterator[DragStep]:
    """Warp, fill, redraw; again from where the points are then, while steps are left."""
    sizes, last = settings.sizes(draggable.img_size, len(drag.targets)), None
    ends = Ends(settings, sizes)
    with gradients(False):
        before = draggable.view(drag.start)
        tracker = named("trackers", settings.tracker)(draggable, before, drag.handles, sizes)
        hold = Hold(draggable, drag.mask, before, settings)
        at = Progress.beginning(draggable, drag, resume_from)

    while True:
        with gradients(False):
            view = draggable.view(at.state)
            points, drift = tracker.follow(view, at.points, at.moves)
            missing = drag.targets - points
            pulls = hold.pulls(view, missing.square().sum() / 2)
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
        finally:
            last.picture.forget()
        if status != "moving":
            return
        with gradients(False):
            picture = draggable.picture(at.state, view)
            shown = dragged_picture(picture, points, missing, sizes.motion_radius_px, drag.mask)
            state = draggable.showing(shown, at.state)
        still = torch.zeros_like(missing)
        at = Progress(at.step + 1, state, drag.targets, at.optimizer, at.usual_pull, moves=still)


def dragged_picture(
    picture: Tensor, points: Tensor, moves: Tensor, radius_px: int, mask: Tensor | None
) -> Tensor:
    """A picture (1, C, H, W) with what is about its points moved, and the ground filled in."""
    return painted(*warped(picture, points, moves, radius_px, mask))
