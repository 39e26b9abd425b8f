"""The steps of `framework.drag.methods.dragline`: which change moves the points, and is it good?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from framework.drag.interface import Drag, Draggable, View
from framework.drag.likeness import LEAST_CONFIDENCE, last_look
from framework.drag.mask import fixed_area, mask_loss
from framework.drag.settings import DragSettings
from framework.drag.step import DragStep, Picture, Status
from framework.drag.template import Template
from framework.models.frozen import gradients

# Lengths are pixels of the reduced picture (`Sizes.reduction`).
STRIDE_PX = 2.5  # most that a step wants to move a point
RETURN = 0.7  # share of the way back to the start that a step goes where the points allow it
RADIUS, LARGEST_RADIUS, LEAST_RADIUS = 4.0, 8.0, 0.6  # of a step, in standard deviations
RETRY_RADIUS = 2.0  # after steps that only undid regret
LEAST_GAIN, GOOD_GAIN, FULL_GAIN = 0.15, 0.5, 0.6  # real approach as a share of the promised one
MOST_RISE, MOST_GOOD_RISE = 0.2, 0.3  # of the templates' drift in a step; the last with GOOD_GAIN
MOST_DRIFT, MOST_REAL_DRIFT, REALISM_KEPT = 0.55, 0.75, 0.5  # the second where the critic lost less
MANY_POINTS, MANY_DRIFT = 6, 0.2  # so many hold each other: their mean drift may be larger by this
SEARCH_PX = 2
CRITIC_SLACK = 1.5  # what the critic may lose in all, and for each pixel that is gained
LEAST_REGRET, LEAST_PULL, LIFT_RADIUS = 1e-3, 3.0, 4.0
LEAST_FALL = 1e-2  # of regret along the way that the points leave, as a share of the free one
POLISHING_RADIUS, POLISHED_PX = 1.5, 0.2
POLISHED, POLISHED_MASKED = 0.85, 0.97  # share of the regret that a step leaves at most
SHARPNESS_WEIGHT = 5.0  # the discriminator does not see fog
MASK_PRICE = 400.0  # of a mean change as large as the picture, in logits
TINT_PRICE, TINT_CELLS = 100.0, 8  # of a mean squared change of colour; cells a side
DAMPING = 1e-3  # of the tracker's Jacobian


@dataclass(frozen=True, eq=False)
class Iterate:
    """A state, and how the drag stands there.

    Args:
        whitened: Change since the start in standard deviations, shape of the trainable part.
        state: The state itself.
        view: What the model makes of it.
        maps: Its `Draggable.maps`, reduced for the templates.
        points: Where the points are, shape (K, 2).
        drift: Of each point, shape (K,).
        realism: What the critic thinks of it, a scalar; 0 without one.
        regret: What the critic, the colours and what lies outside the mask have lost, a scalar ≥ 0.
        farthest_px: Distance of the farthest point to its target.
        mask_loss: Change outside the mask.
    """

    whitened: Tensor
    state: Any
    view: View
    maps: Sequence[Tensor]
    points: Tensor
    drift: Tensor
    realism: Tensor
    regret: Tensor
    farthest_px: float
    mask_loss: float

    @property
    def finite(self) -> bool:
        """Whether all its numbers are."""
        numbers = [self.points.sum(), self.drift.sum(), self.realism.detach(), self.maps[-1].sum()]
        return bool(torch.stack([number.detach() for number in numbers]).isfinite().all())


@dataclass(frozen=True, eq=False)
class Linear:
    """How the points move with a small change of the state, and what that costs.

    Args:
        jacobian: Moves of the points by whitened changes, shape (2K, D).
        cheapest: For each row the change that makes it for the least cost, shape (2K, D).
    """

    jacobian: Tensor
    cheapest: Tensor

    def change(self, moves: Tensor) -> Tensor:
        """The cheapest change, (D,), that moves the points by `moves`, (2K,)."""
        gram = self.jacobian @ self.cheapest.T
        damping = DAMPING * gram.diagonal().mean() * torch.eye(len(gram)).to(gram)
        return torch.linalg.solve(gram + damping, moves) @ self.cheapest

    def aside(self, change: Tensor) -> Tensor:
        """What of a change leaves the points where they are."""
        return change - self.change(self.jacobian @ change)


class Solver:
    """One drag's steps.

    Args:
        draggable: The model.
        drag: What is asked for.
        settings: Radius of the templates.
    """

    def __init__(self, draggable: Draggable, drag: Drag, settings: DragSettings) -> None:
        self._draggable, self._drag = draggable, drag
        self._statistics = draggable.statistics()
        with gradients(False):
            before = draggable.view(drag.start)
            maps = draggable.maps(before)
        self._before, self._picture = before, maps[-1]
        self._fixed = None if drag.mask is None else fixed_area(drag.mask, self._picture)
        self._mask_price = MASK_PRICE * settings.mask_weight
        self._kernel = self._statistics.kernel()
        sizes = settings.sizes(draggable.img_size, len(drag.targets))
        radius_px, self._unit_px = max(2, sizes.template_radius_px), sizes.reduction
        self._template = Template(
            maps, self._statistics.scales, drag.handles, radius_px, draggable.img_size,
            sizes.reduction,
        )  # fmt: skip
        self._first_realism, self._first_tint = self._realism(self._picture), _tint(self._picture)

    def beginning(self, resume_from: DragStep | None) -> Iterate:
        """The start, or where an earlier drag ended."""
        whitened = torch.zeros_like(self._draggable.trainable(self._drag.start))
        points = self._drag.handles
        if resume_from is not None:
            state = self._draggable.own(resume_from.state)
            here, there = (self._draggable.trainable(s) for s in (self._drag.start, state))
            whitened = self._statistics.whitened(there - here)
            points = resume_from.points.to(points)
        at = self._iterate(whitened, points, search_px=0)
        return replace(at, points=points)

    def nearer(self, at: Iterate, radius: float) -> tuple[Iterate | None, float]:
        """The next iterate, and the radius to go on with; None where no step is good."""
        missing = self._drag.targets - at.points
        longest_px = STRIDE_PX * self._unit_px
        stride = missing * (longest_px / missing.norm(dim=1, keepdim=True).clamp(min=longest_px))
        linear, gone = self._linear(at), at.whitened.flatten()
        back = RETURN * linear.jacobian @ gone
        whole = linear.change(stride.flatten() + back) - RETURN * gone
        length = float(whole.norm())  # small where a model is sensitive
        lift = _within(self._lift(at, linear), min(LIFT_RADIUS, length))
        first_radius, least_radius = radius, LEAST_RADIUS * min(1.0, length / RADIUS)
        while radius >= least_radius:
            cut = length > radius
            change = _within(whole, radius) + lift * (radius / first_radius)
            promised = (linear.jacobian @ change).view_as(at.points)
            tried = self._iterate(at.whitened + change.view_as(at.whitened), at.points + promised)
            gain = self._gain(at, tried, promised)
            if self._good(at, tried, gain):
                grows = cut and gain > FULL_GAIN
                return tried, min(LARGEST_RADIUS, 1.5 * radius) if grows else radius
            radius = min(radius, length) / 2
        return None, radius

    def with_less_regret(self, at: Iterate) -> Iterate | None:
        """The iterate after a step that undoes regret while the points stay; None without one."""
        regret = at.regret.item()
        if regret <= LEAST_REGRET:
            return None
        most = regret * (POLISHED if self._fixed is None else POLISHED_MASKED)
        whole = self._lift(at, self._linear(at))
        radius = first_radius = min(POLISHING_RADIUS, float(at.whitened.norm()))
        while radius >= first_radius / 5:
            change = _within(whole, radius)
            tried = self._iterate(at.whitened + change.view_as(at.whitened), at.points)
            near = tried.farthest_px <= at.farthest_px + POLISHED_PX * self._unit_px
            if near and tried.finite and tried.regret.item() < most:
                return tried
            radius = min(radius, float(change.norm())) / 3
        return None

    def seen(self, at: Iterate, step: int, status: Status) -> DragStep:
        """The step as the caller sees it."""
        sure, points, drag = (), at.points.detach(), self._drag
        if status != "moving":
            sure = last_look(self._draggable, self._before, at.view, drag.handles, points)
        if status == "arrived" and min(sure) < LEAST_CONFIDENCE:
            status = "lost"
        missing = drag.targets - points
        return DragStep(
            step=step,
            status=status,
            state=at.state,
            points=points.cpu(),
            targets=drag.targets.cpu(),
            motion_loss=missing.square().sum().item() / 2,
            mask_loss=at.mask_loss,
            distance_px=tuple(missing.norm(dim=1).tolist()),
            drift=tuple(at.drift.tolist()),
            optimizer=None,
            picture=Picture(self._draggable),
            confidence=sure,
        )

    def _iterate(self, whitened: Tensor, expected: Tensor, search_px: int = SEARCH_PX) -> Iterate:
        """Make a state and find the points in it, near where they are expected."""
        draggable, drag = self._draggable, self._drag
        with gradients(True):
            state = draggable.moved(drag.start, self._statistics.update(whitened))
            view = draggable.view(state)
            maps = draggable.maps(view)
            picture, maps = maps[-1], self._template.reduced(maps)
            realism = self._realism(picture)
            changed = realism.new_zeros(())
            if self._fixed is not None:
                changed = mask_loss([picture], [self._picture], self._fixed)
            repainted = (_tint(picture) - self._first_tint).square().mean()
            regret = (self._first_realism - realism).clamp(min=0)
            regret = regret + self._mask_price * changed + TINT_PRICE * repainted
        with gradients(False):
            points = self._template.find(maps, expected, search_px)
            return Iterate(
                whitened=whitened,
                state=state,
                view=view,
                maps=maps,
                points=points,
                drift=self._template.drift(maps, points),
                realism=realism,
                regret=regret,
                farthest_px=float((drag.targets - points).norm(dim=1).max()),
                mask_loss=changed.item(),
            )

    def _linear(self, at: Iterate) -> Linear:
        """The tracker's Jacobian: two backward passes a point."""
        with gradients(True):
            shift = self._template.shift(at.maps, at.points).flatten()
            rows = torch.stack([self._whitened_gradient(at.view, each) for each in shift])
        return Linear(rows, self._statistics.cheapest(rows, self._kernel))

    def _whitened_gradient(self, view: View, scalar: Tensor) -> Tensor:
        gradient = self._draggable.gradient(view, scalar, keep=True)
        return self._statistics.update(gradient).flatten()

    def _lift(self, at: Iterate, linear: Linear) -> Tensor:
        """The cheapest change that would undo all regret, as far as the points allow it."""
        regret = at.regret.item()
        if regret <= LEAST_REGRET:
            return torch.zeros_like(at.whitened.flatten())
        rise = self._whitened_gradient(at.view, at.regret)
        cheapest = self._statistics.cheapest(rise[None], self._kernel)[0]
        way = linear.aside(cheapest)
        fall = float(rise @ way)
        if fall <= LEAST_FALL * float(rise @ cheapest):  # the points leave no freedom
            return torch.zeros_like(way)
        return -max(LEAST_PULL, regret / fall) * way

    def _gain(self, at: Iterate, tried: Iterate, promised: Tensor) -> float:
        """How much of the promised approach is real."""
        targets = self._drag.targets
        far, near, hoped = (
            float((targets - points).norm(dim=1).sum())
            for points in (at.points, tried.points, at.points + promised)
        )
        return (far - near) / max(far - hoped, 1e-6)

    def _good(self, at: Iterate, tried: Iterate, gain: float) -> bool:
        """Whether the points came nearer, still fit their templates, and realism is kept."""
        rise = float((tried.drift - at.drift).mean())
        most_rise = MOST_GOOD_RISE if gain > GOOD_GAIN else MOST_RISE
        lost = float((self._first_realism - tried.realism).detach())
        most_drift = MOST_DRIFT if lost > REALISM_KEPT else MOST_REAL_DRIFT
        most_drift += MANY_DRIFT if len(at.points) >= MANY_POINTS else 0.0
        fits = tried.finite and float(tried.drift.mean()) < most_drift and rise < most_rise
        missing = [(self._drag.targets - i.points).norm(dim=1).sum() for i in (at, tried)]
        gained_px = max(0.0, float(missing[0] - missing[1]))
        lost_now = float((at.realism - tried.realism).detach())
        real = lost <= CRITIC_SLACK or lost_now <= CRITIC_SLACK * gained_px / self._unit_px
        return fits and real and gain > LEAST_GAIN

    def _realism(self, picture: Tensor) -> Tensor:
        """The critic: the discriminator's logit, and a price on what is less sharp than before."""
        logit = self._draggable.realism(picture)
        if logit is None:
            return picture.new_zeros(())
        sharp = energy(picture) / energy(self._picture)
        return logit + SHARPNESS_WEIGHT * sharp.log().clamp(max=0)


def _within(change: Tensor, radius: float) -> Tensor:
    return change * (radius / change.norm().clamp(min=radius))


def _tint(picture: Tensor) -> Tensor:
    """Colour of coarse cells without their brightness, shape (1, C, n, n)."""
    cells = adaptive_avg_pool2d(picture, TINT_CELLS)
    return cells - cells.mean(dim=1, keepdim=True)


def energy(picture: Tensor) -> Tensor:
    """Mean squared gradient of a picture."""
    return picture.diff(dim=2).square().mean() + picture.diff(dim=3).square().mean()
