"""The drag of Pan et al. 2023, "Drag Your GAN": section 3.2, its algorithm and equations."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from framework.drag.ends import Ends
from framework.drag.interface import Drag, Draggable
from framework.drag.mask import Hold
from framework.drag.motion import directions, motion_loss
from framework.drag.progress import Progress
from framework.drag.registry import named
from framework.drag.settings import DragSettings
from framework.drag.step import DragStep
from framework.errors import InvalidEdit
from framework.models.frozen import gradients

MotionLoss = Callable[[Tensor, Tensor, Tensor, int, tuple[int, int]], Tensor]


def run(
    draggable: Draggable,
    drag: Drag,
    settings: DragSettings,
    resume_from: DragStep | None = None,
    motion_loss: MotionLoss = motion_loss,
    hold_by: Callable[..., Any] = Hold,
) -> Iterator[DragStep]:
    """Find the points, pull them on by a pixel, take a step of Adam; repeat until they arrive.

    Points that have arrived are still supervised: they would wander. At each yield the caller's
    own gradient mode is in force.

    Args:
        draggable: The model.
        drag: What is asked for.
        settings: See `DragSettings`.
        resume_from: Where an earlier drag ended.
        motion_loss: Loss that moves what is under the handles.
        hold_by: Class of what a mask asks for.
    """
    sizes, last = settings.sizes(draggable.img_size, len(drag.targets)), None
    ends = Ends(settings, sizes)
    with gradients(False):
        before = draggable.view(drag.start)
        tracker = named("trackers", settings.tracker)(draggable, before, drag.handles, sizes)
        hold = hold_by(draggable, drag.mask, before, settings)
        at = Progress.beginning(draggable, drag, resume_from)

    while True:
        with gradients(True):
            view = draggable.view(at.state)
            with torch.no_grad():  # point tracking (eq. 2): the update moved the points
                points, drift = tracker.follow(view, at.points, at.moves)
                moves = directions(points, drag.targets)
            motion = motion_loss(  # motion supervision (eq. 1)
                view.features, points, moves, sizes.motion_radius_px, sizes.img_size
            )
            pulls = hold.pulls(view, motion.sum())
            numbers = at.measured(draggable, drag, view, pulls, points, drift)

        if not numbers.finite:
            if last is None:
                raise InvalidEdit("the model gives NaN or infinity for these latents")
            yield replace(last, step=at.step, status="diverged")
            return
        status = ends.status(numbers.farthest_px, at.settled >= hold.settle_steps, pulls)
        last = at.seen(draggable, drag, numbers, status, before, view)
        try:
            yield last
        finally:  # the graph is large, and callers collect steps
            last.picture.forget()
        if status != "moving":
            return

        arrived = ends.reached(numbers.farthest_px)
        in_common = settings.step_scale == "common"
        at = at.moved(draggable, pulls, settings.learning_rate, arrived, points, moves, in_common)
        # Half the memory: this step's graph is freed before the next one is built.
        del view, motion, pulls
