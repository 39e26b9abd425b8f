"""The drag of Pan et al. 2023, "Drag Your GAN": section 3.2, its algorithm and equations."""

from collections.abc import Iterator
from dataclasses import replace

import torch

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


def run(
    draggable: Draggable, drag: Drag, settings: DragSettings, resume_from: DragStep | None = None
) -> Iterator[DragStep]:
    """Find the points, pull them on by a pixel, take a step of Adam; repeat until they arrive.

    Points that have arrived are still supervised: they would wander. At each yield the caller's
    own gradient mode is in force.
    """
    sizes, last = settings.sizes(draggable.img_size, len(drag.targets)), None
    ends = Ends(settings, sizes)
    with gradients(False):
        before = draggable.view(drag.start)
        tracker = named("trackers", settings.tracker)(draggable, before, drag.handles, sizes)
        hold = Hold(draggable, drag.mask, before, settings)
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
        at = at.moved(draggable, pulls, settings.learning_rate, arrived, points, moves)
        # Half the memory: this step's graph is freed before the next one is built.
        del view, motion, pulls
