"""What a mask does: the area outside it pulls beside the points, and does not hold them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.drag.interface import Draggable, View
from framework.drag.settings import DragSettings
from framework.models.frozen import gradients

PAPER_WEIGHT = 20.0  # λ
OPPOSED = 0.5  # from this cosine on, most of what the points want is what the mask forbids
NEWS_SHARE = 0.1  # of a step in the running mean of the pull


class Hold:
    """The area that a mask holds as it was before the drag.

    Args:
        draggable: The model.
        mask: The mask, shape (H, W), 1 = may change, or None.
        before: View of the state before the drag.
        settings: The mask's weight, and the steps for settling.
    """

    def __init__(
        self, draggable: Draggable, mask: Tensor | None, before: View, settings: DragSettings
    ) -> None:
        self._draggable, self._before = draggable, _compared(before)
        self._fixed = None if mask is None else fixed_area(mask, before.features)
        self._weight = 0.0 if self._fixed is None else settings.mask_weight
        self.settle_steps = settings.settle_steps if self._weight > 0 else 0

    def pulls(self, view: View, motion: Tensor) -> "Pulls":
        """The pulls on a state, given its motion loss, a scalar."""
        change = motion.new_zeros(())
        if self._fixed is not None:
            change = mask_loss(_compared(view), self._before, self._fixed)
        return Pulls(self._draggable, view, motion, change, self._weight)


@dataclass(frozen=True, eq=False)
class Pulls:
    """The losses of a state, and their gradients.

    Args:
        draggable: The model.
        view: View of the state.
        motion: Motion loss, a scalar.
        change: Mask loss, a scalar; 0 without a mask.
        weight: The mask's weight; 0 where it does not pull.
    """

    draggable: Draggable
    view: View
    motion: Tensor
    change: Tensor
    weight: float

    def together(self, usual_length: Tensor) -> "Balance":
        """Balance the gradients of both losses (see `balance`); this uses up the graph."""
        masked = self.weight > 0
        with gradients(False):
            pull = self.draggable.gradient(self.view, self.motion, keep=masked)
            if masked:
                hold = self.draggable.gradient(self.view, self.change)
                return balance(pull, hold, self.weight, usual_length)
            nothing = pull.new_zeros(())
            return Balance(pull, nothing, nothing > 0, nothing)

    def held(self) -> bool:
        """Whether the mask keeps the points from moving: it opposes or outweighs their pull."""
        both = self.together(torch.zeros_like(self.change))
        return bool((both.opposition >= OPPOSED) | both.outweighed)


def fixed_area(mask: Tensor, features: Tensor) -> Tensor | None:
    """Weights of the features that a mask holds fixed, those outside it, shape (1, 1, h, w).

    Args:
        mask: The mask, shape (H, W), 1 = may change, 0 = stays.
        features: The features to be held, shape (1, C, h, w).

    Returns:
        Weights in [0, 1] that sum to 1, or None if the mask lets everything change.
    """
    fixed = F.adaptive_avg_pool2d(1 - mask[None, None], (features.shape[2], features.shape[3]))
    total = fixed.sum()
    return fixed / total if total > 0 else None


def mask_loss(views: Sequence[Tensor], initial: Sequence[Tensor], fixed: Tensor) -> Tensor:
    """Mean change outside the mask: ‖(F - F0) · (1 - M)‖₁ over the fixed area, relative to |F0|.

    The paper sums and published code averages over the whole picture; both compare features only.
    Here the block's running picture counts as much: colours that features hardly tell apart are
    what a person sees change. The mask is reduced to the block's size by area. `balance` decides
    how hard the loss pulls.

    Args:
        views: The block's features and, where it has one, its running picture, (1, C, h, w) each.
        initial: The same tensors before the drag.
        fixed: Weights from `fixed_area`.

    Returns:
        A scalar, the sum over the views.
    """
    changes = [
        ((now - before).abs().mean(dim=1, keepdim=True) * fixed).sum() / before.abs().mean()
        for now, before in zip(views, initial, strict=True)
    ]
    return torch.stack(changes).sum()


@dataclass(frozen=True)
class Balance:
    """The balanced gradients of points and mask.

    Args:
        gradient: What to descend along, in the shape of both.
        opposition: How far the mask's own gradient points against the points', from 0 to 1.
        outweighed: Whether the mask's part of `gradient` is longer than the points' usual pull.
        pull_length: Length of the points' gradient.
    """

    gradient: Tensor
    opposition: Tensor
    outweighed: Tensor
    pull_length: Tensor


def balance(pull: Tensor, hold: Tensor, weight: float, usual_length: Tensor) -> Balance:
    """Let the mask steer without holding: its gradient, less what opposes the points' pull.

    The rest, at right angles to the pull or along with it, is made `weight` times as long as the
    pull or the usual pull, whichever is longer: points that have arrived hardly pull. So the mask's
    strength does not depend on how much of the picture is fixed, nor on the model; the
    projection is that of gradient surgery (Yu et al. 2020, algorithm 1), with the points first.

    Args:
        pull: Gradient of the motion loss, any shape.
        hold: Gradient of the mask loss, same shape.
        weight: Length of the mask's part in lengths of the pull, ≥ 0.
        usual_length: Usual length of the pull in earlier steps, a scalar; 0 if there were none.
    """
    length = pull.norm()
    usual_length = torch.maximum(length, usual_length)
    along = (pull * hold).sum()
    aside = hold - along.clamp(max=0) / pull.square().sum().clamp(min=1e-30) * pull
    # Where hardly anything has changed its length means nothing: the published λ is the limit.
    scale = weight * usual_length / aside.norm().clamp(min=1e-30)
    part = scale.clamp(max=PAPER_WEIGHT * max(1.0, weight)) * aside
    cosine = along / (length * hold.norm()).clamp(min=1e-30)
    outweighed = part.norm() > 1.01 * usual_length
    return Balance(pull + part, (-cosine).clamp(min=0), outweighed, length)


def usual_length(before: Tensor, now: Tensor) -> Tensor:
    """Running mean of the length of the points' pull, a scalar; `before` is 0 at the start."""
    return torch.where(before > 0, before.lerp(now, NEWS_SHARE), now)


def _compared(view: View) -> list[Tensor]:
    """The tensors that a mask compares: features and, where there is one, the running picture."""
    return [view.features] if view.running is None else [view.features, view.running]
