"""The drag of a network that knows the model: a forward pass a hop, no gradients.

A latent transformer (Endo 2022) predicts the change of the latents that moves the points. It was
trained on short ways, so long ones are gone in hops, as Auto DragGAN predicts its path (Cai et al.
2024): after each the points are looked for, and the next hop starts where they are.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from framework.drag.ends import Ends
from framework.drag.interface import Drag, Draggable, View
from framework.drag.likeness import last_look
from framework.drag.mask import Hold
from framework.drag.progress import Progress
from framework.drag.registry import named
from framework.drag.settings import DragSettings
from framework.drag.solver import energy
from framework.drag.step import DragStep
from framework.errors import InvalidEdit, UserError
from framework.models.frozen import gradients

HOP = 1 / 24  # of the picture's longer side: what the network learned from
LEAST_SHARPNESS = 0.7  # of the start's: beyond what the model draws, its pictures go into fog
ENOUGH = math.log(1.5)  # a hop that is so much longer or shorter than asked is as asked
MOST_STRETCH = 4.0  # of an update
PATIENCE = 2  # hops that may bring the points no nearer
NEARER = 0.95  # of the distance before: less is nearer
ANCHORS = 4  # along each side: places outside the mask that stay
MISSING = (
    "this model has no latent transformer; train.py fit"
    " --config configs/train/editor/toycars64.yaml --model.generator MODEL trains one"
)


def run(
    draggable: Draggable, drag: Drag, settings: DragSettings, resume_from: DragStep | None = None
) -> Iterator[DragStep]:
    """Predict a hop, find the points, predict the next, until they arrive or it is stuck.

    Raises:
        UserError: If the model has no such network; at once.
    """
    with gradients(False):
        before = draggable.view(drag.start)
        prediction(draggable, before, drag.handles, drag.targets - drag.handles)
    return _hopped(draggable, drag, settings, before, resume_from)


def _hopped(
    draggable: Draggable,
    drag: Drag,
    settings: DragSettings,
    before: View,
    resume_from: DragStep | None,
) -> Iterator[DragStep]:
    sizes, tries = settings.sizes(draggable.img_size, len(drag.targets)), 0
    stretch = 1.0
    best: DragStep | None = None
    ends = Ends(settings, sizes)
    longest_px = min(HOP * max(draggable.img_size), sizes.tracking_radius_px)
    with gradients(False):
        tracker = named("trackers", settings.tracker)(draggable, before, drag.handles, sizes)
        hold = Hold(draggable, drag.mask, before, settings)
        anchors = still_places(drag.mask, drag.handles)
        first_energy = energy(draggable.picture(drag.start, before)).clamp(min=1e-12)
        at = Progress.beginning(draggable, drag, resume_from)

    while True:
        with gradients(False):
            view = draggable.view(at.state)
            points, drift = tracker.follow(view, at.points, at.moves)
            missing = drag.targets - points
            pulls = hold.pulls(view, missing.square().sum() / 2)
            numbers = at.measured(draggable, drag, view, pulls, points, drift)
            sharp = float(energy(draggable.picture(at.state, view)) / first_energy)
        if not numbers.finite:
            if best is None:
                raise InvalidEdit("the model gives NaN or infinity for these latents")
            yield replace(best, step=at.step, status="diverged")
            return
        foggy = best is not None and sharp < LEAST_SHARPNESS
        nearer = best is None or (numbers.farthest_px < NEARER * best.max_distance_px and not foggy)
        tries = 0 if nearer else tries + 1
        status = ends.status(numbers.farthest_px, settled=True, pulls=None)
        if foggy or (status == "moving" and tries > PATIENCE):
            status = "stuck"
        step = at.seen(draggable, drag, numbers, status, before, view)
        if best is not None and not nearer and status in ("stuck", "max_steps", "max_seconds"):
            there, points = draggable.view(best.state), best.points.to(points)
            sure = last_look(draggable, before, there, drag.handles, points)
            step = replace(best, step=at.step, status=status, confidence=sure)
        best = step if nearer else best
        yield step
        if status != "moving":
            return
        with gradients(False):
            if at.moves is not None:
                stretch = stretched(stretch, points - at.points, at.moves)
            moves = hops(missing, longest_px)
            update = stretch * prediction(draggable, view, points, moves, anchors)
            state = draggable.moved(at.state, update)
        at = Progress(at.step + 1, state, points, at.optimizer, at.usual_pull, moves=moves)


def preview(draggable: Draggable, drag: Drag) -> Tensor:
    """What one forward pass makes of a whole drag: the state, for a picture while a hand moves."""
    with gradients(False):
        view = draggable.view(drag.start)
        moves, anchors = drag.targets - drag.handles, still_places(drag.mask, drag.handles)
        update = prediction(draggable, view, drag.handles, moves, anchors)
        return draggable.moved(drag.start, update)


def prediction(
    draggable: Draggable,
    view: View,
    points: Tensor,
    moves: Tensor,
    anchors: Tensor | None = None,
) -> Tensor:
    """The network's update for moves of points, (K, 2), while anchors, (A, 2), stay.

    Raises:
        UserError: If the model has no such network.
    """
    if anchors is None:
        anchors = points[:0]
    places = torch.cat([points, anchors])
    update = draggable.predicted(view, places, torch.cat([moves, torch.zeros_like(anchors)]))
    if update is None:
        raise UserError(MISSING)
    return update


def hops(missing: Tensor, longest_px: float) -> Tensor:
    """Moves toward the targets, (K, 2), at most `longest_px` each."""
    return missing * (longest_px / missing.norm(dim=1, keepdim=True).clamp(min=longest_px))


def stretched(stretch: float, real: Tensor, asked: Tensor) -> float:
    """How far to go along the next prediction, from how much of the last move, (K, 2), was real.

    The network was taught to be gentle and goes part of the way; where Endo 2022 lets a person turn
    up the change, here the last hop tells how much.
    """
    share = float((real * asked).sum() / asked.square().sum().clamp(min=1e-12))
    if abs(math.log(max(share, 0.01))) > ENOUGH:
        stretch /= min(2.0, max(0.5, share))
    return min(MOST_STRETCH, max(1.0, stretch))


def still_places(mask: Tensor | None, like: Tensor) -> Tensor:
    """Places (x, y), shape (A, 2), of a grid where a mask (H, W) lets nothing change."""
    if mask is None:
        return like.new_zeros(0, 2)
    height, width = mask.shape
    rows, columns = (
        ((torch.arange(ANCHORS, device=mask.device) + 0.5) * side / ANCHORS).long()
        for side in (height, width)
    )
    grid = torch.cartesian_prod(rows, columns)
    fixed = mask[grid[:, 0], grid[:, 1]] == 0
    return grid[fixed].flip(1).to(like)
