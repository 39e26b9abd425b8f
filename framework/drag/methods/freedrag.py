"""The drag of Ling et al. 2024, "FreeDrag: Feature Dragging for Reliable Point-based Editing".

Nothing is tracked. The features at nine places about a handle, its template, are to appear at an
aim on the line to the target. After a few steps the template takes over some of what appeared
there, the more the better it fits, and the aim moves on, as far as the difference stays about what
it is expected to be; where the features did not follow, it goes back.

Differences from the publication: distances of features are in standard deviations of the picture's,
so that one number serves every model (published: 0.3 or 0.4 as such, for each of its models); a
template is kept once its point has arrived, which would wander; a mask steers as in the other
methods (`framework.drag.mask`) where the paper adds 10 times the mean change.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import log

import torch
from torch import Tensor

from framework.drag.ends import Ends
from framework.drag.features import patches
from framework.drag.interface import Drag, Draggable
from framework.drag.mask import Hold
from framework.drag.progress import Progress
from framework.drag.settings import DragSettings, Sizes
from framework.drag.step import DragStep
from framework.errors import InvalidEdit
from framework.models.frozen import gradients

EXPECTED = 0.3  # l: difference that a hop of the aim should make, in standard deviations
FOLLOWED, FITTED = 0.5, 0.25  # shares of it below which the features followed, and fit
HOP = 3 / 128  # d: longest hop, as a share of the picture's height
SUB_STEPS = 5  # most steps of Adam toward one aim
CANDIDATES = 10  # places on the line that are compared


def run(
    draggable: Draggable, drag: Drag, settings: DragSettings, resume_from: DragStep | None = None
) -> Iterator[DragStep]:
    """Pull the templates to their aims by a few steps, adapt them, move the aims on; repeat.

    A step's points are the last aims that their features followed to. A drag that continues takes
    its templates from there, as the published code does when a target is reached.
    """
    sizes, last = settings.sizes(draggable.img_size, len(drag.targets)), None
    ends, hop_px = Ends(settings, sizes), HOP * draggable.img_size[0]
    with gradients(False):
        before = draggable.view(drag.start)
        hold = Hold(draggable, drag.mask, before, settings)
        at = Progress.beginning(draggable, drag, resume_from)
        handles = samples(before.features, drag.handles, sizes)
        expected = EXPECTED * before.features.std()
        template = samples(draggable.view(at.state).features, at.points, sizes)
    aims, origins, began, sub_step = at.points, at.points, expected, 0

    while True:
        with gradients(True):
            view = draggable.view(at.state)
            now = samples(view.features, aims, sizes)
            losses = difference(now, template)
            fitted, at_target = losses.detach() <= FITTED * expected, _near(aims, drag, sizes)
            followed = fitted | ~at_target & (losses.detach() < FOLLOWED * expected)
            points = torch.where(followed[:, None], aims, at.points)
            drift = difference(samples(view.features.detach(), points, sizes), handles)
            pulls = hold.pulls(view, losses.sum())
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

        with gradients(True):
            if sub_step == SUB_STEPS or bool(fitted.all()):
                ended, sub_step = losses.detach(), 0
                share = adaptation(ended, expected) * ~at_target
                template = template.lerp(now.detach(), share[:, None, None, None])
                aims = _next_aims(
                    view.features.detach(), template, aims, origins, drag.targets,
                    began, ended, expected, hop_px, sizes,
                )  # fmt: skip
                losses = difference(samples(view.features, aims, sizes), template)
                began, pulls = losses.detach(), replace(pulls, motion=losses.sum())
        arrived, sub_step = ends.reached(numbers.farthest_px), sub_step + 1
        at = at.moved(draggable, pulls, settings.learning_rate, arrived, points)
        del view, now, losses, pulls  # half the memory: the graph goes before the next one comes


def samples(features: Tensor, places: Tensor, sizes: Sizes) -> Tensor:
    """Features at nine places r1 apart, (K, C, 3, 3); what lies outside the picture is its rim."""
    radius_px = sizes.motion_radius_px
    return patches(features, places, radius_px, sizes.img_size)[..., ::radius_px, ::radius_px]


def difference(one: Tensor, other: Tensor) -> Tensor:
    """Mean absolute difference of each point's features, shape (K,)."""
    return (one - other).abs().mean(dim=(-3, -2, -1))


def adaptation(ended: Tensor, expected: Tensor) -> Tensor:
    """How much of what is at an aim its template takes over (section 3.1), shape (K,).

    .5 for a difference of .2 of the expected one, .1 for .8 of it.
    """
    steepness = log(9) / (0.6 * expected)
    return torch.sigmoid(-steepness * (ended - 0.2 * expected))


def line(start: Tensor, targets: Tensor, length_px: float) -> Tensor:
    """Places at equal distances along the way to the targets, not beyond: (K, CANDIDATES, 2)."""
    way = targets - start
    distance = way.norm(dim=1, keepdim=True)
    way = way * (length_px / distance.clamp(min=max(length_px, 1e-6)))
    shares = torch.linspace(1 / CANDIDATES, 1, CANDIDATES, dtype=way.dtype, device=way.device)
    return start[:, None] + shares[:, None] * way[:, None]


def _next_aims(
    features: Tensor,
    template: Tensor,
    aims: Tensor,
    origins: Tensor,
    targets: Tensor,
    began: Tensor,
    ended: Tensor,
    expected: Tensor,
    hop_px: float,
    sizes: Sizes,
) -> Tensor:
    """Move on, stay, or go back and look again (section 3.2), shape (K, 2).

    Args:
        features: The features now.
        template: What should be at the aims, shape (K, C, 3, 3).
        aims: Where it was pulled to, shape (K, 2).
        origins: Where the drag began, shape (K, 2): no aim goes back beyond.
        targets: Where it should go in the end, shape (K, 2).
        began: Its difference when the aims were set, shape (K,).
        ended: Its difference after the steps, shape (K,).
        expected: The difference that the next aims should have.
        hop_px: Longest hop.
        sizes: Where the samples lie.
    """

    def best(start: Tensor, length_px: float, wanted: Tensor | float) -> Tensor:
        places = line(start, targets, length_px)
        seen = samples(features, places.flatten(0, 1), sizes).unflatten(0, places.shape[:2])
        misses = (difference(seen, template[:, None]) - wanted).abs()
        return places[torch.arange(len(places)), misses.argmin(dim=1)]

    to_origin = origins - aims
    back = aims + to_origin * (hop_px / to_origin.norm(dim=1, keepdim=True).clamp(min=hop_px))
    ahead, again = best(aims, hop_px, expected), best(back, 2 * hop_px, 0.0)
    followed, improved = ended < FOLLOWED * expected, ended < began
    return torch.where(followed[:, None], ahead, torch.where(improved[:, None], aims, again))


def _near(aims: Tensor, drag: Drag, sizes: Sizes) -> Tensor:
    """Which aims are at their targets, shape (K,)."""
    return (drag.targets - aims).norm(dim=1) <= sizes.stop_distance_px
