"""What pulls the latents: the points, and the mask beside them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from framework.drag.motion import Balance, balance
from framework.drag.settings import DragSettings
from framework.models.frozen import gradients

OPPOSED = 0.5  # from this cosine on, most of what the points want is what the mask forbids
NEWS_SHARE = 0.1  # of a step in the running mean of the pull
STALLED_SHARE, STALLED_STEPS = 0.1, 20


@dataclass(frozen=True)
class Pulls:
    """The gradient of a drag on the latents that move.

    Args:
        settings: Its space and its mask's weight.
        layers: Latents that move.
        masked: Whether a mask fixes anything, and has a weight.
    """

    settings: DragSettings
    layers: int
    masked: bool

    def of(self, motion: Tensor, change: Tensor, ws: Tensor, usual: Tensor) -> Balance:
        """Gradients of motion loss and mask loss by `ws`, brought together; see `balance`."""
        with gradients(False):
            pull = self._gradient(motion, ws, keep=self.masked)
            if self.masked:
                return balance(pull, self._gradient(change, ws), self.settings.mask_weight, usual)
            nothing = pull.new_zeros(())
            return Balance(pull, nothing, nothing > 0, nothing)

    def held(self, motion: Tensor, change: Tensor, ws: Tensor) -> bool:
        """Whether it is the mask that keeps the points: it opposes or outweighs their pull."""
        both = self.of(motion, change, ws, torch.zeros_like(change))
        return bool((both.opposition >= OPPOSED) | both.outweighed)

    def _gradient(self, loss: Tensor, ws: Tensor, keep: bool = False) -> Tensor:
        (gradient,) = torch.autograd.grad(loss, ws, retain_graph=keep)
        gradient = gradient[:, : self.layers]
        return gradient.sum(dim=1, keepdim=True) if self.settings.latent_space == "w" else gradient


def usual_length(before: Tensor, now: Tensor) -> Tensor:
    """Running mean of the points' pull, a scalar; `before` is 0 at the beginning."""
    return torch.where(before > 0, before.lerp(now, NEWS_SHARE), now)


def stalled(distances_px: Sequence[float]) -> bool:
    """Whether the second half of a run's steps brought its points hardly nearer.

    Args:
        distances_px: Distance of the farthest point at every step.
    """
    half = len(distances_px) // 2
    if half < STALLED_STEPS // 2:
        return False
    return min(distances_px[half:]) > (1 - STALLED_SHARE) * min(distances_px[:half])
