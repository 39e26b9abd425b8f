"""Moving average of a network's weights, its half-life counted in images."""

import torch
from torch import Tensor, nn


def ema_beta(
    batch_size: int, half_life_kimg: float, rampup: float | None, seen_images: int
) -> float:
    """Return the decay of one step (Karras et al. 2018, section 2; ramp-up as in StyleGAN2-ADA).

    Args:
        batch_size: Images in the step, over all processes.
        half_life_kimg: Thousands of images after which a weight counts half.
        rampup: The half-life is at most this share of the images seen; None for no ramp.
        seen_images: Images seen so far.
    """
    half_life = half_life_kimg * 1000
    if rampup is not None:
        half_life = min(half_life, seen_images * rampup)
    return 0.5 ** (batch_size / max(half_life, 1e-8))


@torch.no_grad()
def update_ema(ema: nn.Module, module: nn.Module, beta: float) -> None:
    """Set ema = beta * ema + (1 - beta) * module for parameters; copy buffers."""
    ours: list[Tensor] = list(ema.parameters())
    theirs: list[Tensor] = list(module.parameters())
    torch._foreach_lerp_(ours, theirs, 1 - beta)  # pyright: ignore[reportPrivateImportUsage]
    for buffer, source in zip(ema.buffers(), module.buffers(), strict=True):
        buffer.copy_(source)
