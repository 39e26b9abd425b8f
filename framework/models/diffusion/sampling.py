"""Pictures from noise."""

from collections.abc import Callable

import torch
from torch import Tensor

from framework.models.diffusion.schedule import Schedule


@torch.no_grad()
def sample(
    predict: Callable[[Tensor, int], Tensor], schedule: Schedule, noise: Tensor, steps: int
) -> Tensor:
    """Draw samples by DDIM (Song et al. 2021), the picture's estimate kept in [-1, 1].

    Args:
        predict: The network: x_t (N, C, h, w) and t to its output.
        schedule: The noise schedule.
        noise: Standard normal, shape (N, C, h, w).
        steps: Network evaluations.
    """
    times = schedule.timesteps(steps)
    x = noise
    for t, to in zip(reversed(times), [*reversed(times[:-1]), None], strict=True):
        x0, _ = schedule.estimates(x, predict(x, t), t)
        x0 = x0.clamp(-1, 1)
        alpha_bar = schedule.alpha_bar(t, x)
        left = (x - alpha_bar.sqrt() * x0) / (1 - alpha_bar).sqrt()
        x = schedule.noised(x0, left, to)
    return x
