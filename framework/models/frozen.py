"""Tools for optimising the inputs of a frozen network: gradients on or off, and Adam.

Adam (Kingma & Ba 2015) is a pure function here, so that an edit can stop and continue at any step.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

NOISE_MODE = "const"  # new noise at each step would itself move the picture
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


@contextmanager
def gradients(enabled: bool) -> Iterator[None]:
    """Switch gradients on or off whatever the caller's mode, inference mode included."""
    with torch.inference_mode(False), torch.set_grad_enabled(enabled):
        yield


@dataclass(frozen=True, eq=False)
class Adam:
    """Adam's state: the number of updates, running means of gradient and squared gradient."""

    count: int
    mean: Tensor
    square: Tensor

    @classmethod
    def new(cls, like: Tensor) -> "Adam":
        """Make the state before the first update."""
        return cls(0, torch.zeros_like(like), torch.zeros_like(like))


def adam_update(
    state: Adam, gradient: Tensor, learning_rate: float, in_common: bool = False
) -> tuple[Adam, Tensor]:
    """Return the next state, and what to add to the parameters (same shape as the gradient).

    Adam gives every number a step of about `learning_rate`, however small its gradient is.
    `in_common` divides all by one root mean square: what hardly matters hardly moves.
    """
    count = state.count + 1
    mean = BETA1 * state.mean + (1 - BETA1) * gradient
    square = gradient.square()
    square = square.mean().expand_as(square) if in_common else square
    square = BETA2 * state.square + (1 - BETA2) * square
    scale = (square / (1 - BETA2**count)).sqrt() + EPSILON
    return Adam(count, mean, square), -learning_rate / (1 - BETA1**count) * mean / scale
