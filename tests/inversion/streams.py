"""Tiny networks, photographs with known latents, and distances that streams are tested with."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from framework.inversion.step import InversionStep
from framework.models.features.distance import DiscriminatorDistance, Distance
from framework.models.stylegan2 import Discriminator, Generator
from tests.inversion.small import small_generator


def small_distance(img_size: Any = 16, img_channels: int = 3) -> Distance:
    """Features of an untrained discriminator."""
    torch.manual_seed(2)
    discriminator = Discriminator(
        img_size, img_channels=img_channels, channel_base=128, channel_max=8
    )
    return DiscriminatorDistance(discriminator)


def seeds_ws(generator: Generator, count: int, seed: int = 3) -> Tensor:
    """Latents of seeds."""
    rng = torch.Generator().manual_seed(seed)
    c = torch.eye(generator.c_dim)[:1].expand(count, -1) if generator.c_dim else None
    with torch.no_grad():
        return generator.mapping(torch.randn(count, generator.z_dim, generator=rng), c)


def known(count: int = 1, **sizes: Any) -> tuple[Generator, Tensor, Tensor]:
    """A generator, pictures that it can make, and their latents; `w_avg` is the true mean."""
    generator = small_generator(**sizes)
    generator.mapping.w_avg.copy_(seeds_ws(generator, 200, seed=9)[:, 0].mean(dim=0))
    ws = seeds_ws(generator, count)
    with torch.no_grad():
        return generator, generator.synthesis(ws, noise_mode="const"), ws


def mse(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared error of each picture, shape (N,)."""
    return (a - b).square().mean(dim=(1, 2, 3))


def monotone(steps: list[InversionStep]) -> bool:
    """Whether no picture's best ever got worse, and bests came when the steps say so."""
    never_up = all(bool((b.best_loss <= a.best_loss).all()) for a, b in pairwise(steps))
    rows = enumerate(steps[-1].best_step.tolist())
    return never_up and all(steps[k].loss[row] == steps[-1].best_loss[row] for row, k in rows)
