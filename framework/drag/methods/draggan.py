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
    """Find the points, pull them a pixel on, take a step of Adam: until they are at their targets.

    Points that have arrived are not let go: they would wander. Nothing is yielded with gradients
    switched: the caller's mode is the caller's.
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
                points, drift = tracker.follow(view, at.points, at.asked)
                asked = directions(points, drag.targets)
            motion = motion_loss(  # motion supervision (eq. 1)
                view.features, points, asked, sizes.motion_radius_px, sizes.img_size
            )
            pulls = hold.pulls(view, motion.sum())
            measured = _measure(draggable, drag, at, view, pulls, points, drift)

        if not measured.finite:
            if last is None:
                raise InvalidEdit("the model gives NaN or infinity for these latents")
            yield replace(last, step=at.step, status="diverged")
            return
        status, sure = ends.status(measured.farthest_px, at.settled >= hold.settle_steps, pulls), ()
        if status != "moving":  # is what was taken hold of still there?
            sure = last_look(draggable, before, view, drag.handles, points)
        if status == "arrived" and min(sure) < LEAST_CONFIDENCE:
            status = "lost"
        last = at.seen(measured, status, sure, Picture(draggable, view))
        try:
            yield last
        finally:  # the graph is large, and steps get collected
            last.picture.forget()
        if status != "moving":
            return

        # The mask pulls as hard as the points do now; once they are there, as they used to.
        there, usual = ends.reached(measured.farthest_px), at.usual_pull
        both = pulls.together(usual if there else torch.zeros_like(usual))
        with gradients(False):
            optimizer, update = adam_update(at.optimizer, both.gradient, settings.learning_rate)
            state = draggable.moved(at.state, update)
            usual = usual if there else usual_length(usual, both.pull_length)
        at = Progress(at.step + 1, state, points, optimizer, usual, at.settled + there, asked)
        del view, motion, pulls  # this step's graph, before the next is made: half the memory


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
