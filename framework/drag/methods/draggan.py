"""The drag of Pan et al. 2023, "Drag Your GAN": section 3.2, its algorithm and equations."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from framework.drag.ends import Ends
from framework.drag.interface import Drag, Draggable, View
from framework.drag.likeness import LEAST_CONFIDENCE, last_look
from framework.drag.mask import Hold, Pulls, usual_length
from framework.drag.motion import directions, motion_loss
from framework.drag.progress import Measurements, Progress
from framework.drag.registry import named
from framework.drag.settings import DragSettings
from framework.drag.step import DragStep, Picture
from framework.errors import InvalidEdit
from framework.models.frozen import adam_update, gradients


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
            numbers = _measure(draggable, drag, at, view, pulls, points, drift)

        if not numbers.finite:
            if last is None:
                raise InvalidEdit("the model gives NaN or infinity for these latents")
            yield replace(last, step=at.step, status="diverged")
            return
        confidence: tuple[float, ...] = ()
        status = ends.status(numbers.farthest_px, at.settled >= hold.settle_steps, pulls)
        if status != "moving":  # do the points still show what their handles showed?
            confidence = last_look(draggable, before, view, drag.handles, points)
        if status == "arrived" and min(confidence) < LEAST_CONFIDENCE:
            status = "lost"
        last = at.to_step(numbers, status, confidence, Picture(draggable, view))
        try:
            yield last
        finally:  # the graph is large, and callers collect steps
            last.picture.forget()
        if status != "moving":
            return

        # The mask pulls as hard as the points do now; once they have arrived, as they used to.
        arrived, usual = ends.reached(numbers.farthest_px), at.usual_pull
        balance = pulls.together(usual if arrived else torch.zeros_like(usual))
        with gradients(False):
            optimizer, update = adam_update(at.optimizer, balance.gradient, settings.learning_rate)
            state = draggable.moved(at.state, update)
            usual = usual if arrived else usual_length(usual, balance.pull_length)
        at = Progress(at.step + 1, state, points, optimizer, usual, at.settled + arrived, moves)
        # Half the memory: this step's graph is freed before the next one is built.
        del view, motion, pulls


def _measure(
    draggable: Draggable,
    drag: Drag,
    at: Progress,
    view: View,
    pulls: Pulls,
    points: Tensor,
    drift: Tensor,
) -> Measurements:
    """The numbers of a step, on the CPU."""
    return Measurements(
        health=draggable.trainable(at.state).sum() + view.features.detach().sum(),
        motion_loss=pulls.motion,
        mask_loss=pulls.change,
        pull_length=at.usual_pull,
        distance_px=(drag.targets - points).norm(dim=1),
        drift=drift,
        points=points,
        targets=drag.targets,
    ).to_cpu()
