"""Perceptual path length: how smoothly pictures change along paths between styles."""

import torch
from torch import Tensor

from framework.evaluation.generator.features import PerceptualDistance
from framework.evaluation.generator.shares import Watch, in_shares
from framework.models.features.blocks import suited
from framework.models.stylegan2 import Generator
from framework.training.randomness import keyed_generator

EPSILON = 1e-4
LARGEST_SIDE_PX = 256
_PERCENTILES = (0.01, 0.99)


@torch.no_grad()
def path_lengths(
    generator: Generator,
    distance: PerceptualDistance,
    labels: Tensor,
    seed: int,
    batch: int,
    watch: Watch,
) -> Tensor:
    """Perceptual distance of two pictures a small step in w apart, over the step squared, (N,).

    Karras et al. 2019, section 4.1, in the variant that NVIDIA's tools call `ppl2_wend`: in W, at
    the end points of the paths, without truncation or crop, with the same stored noise in both
    pictures, which are neither rounded nor larger than 256 px.

    Args:
        generator: Generator in float32: the step is 1e-4.
        distance: Distance between pictures, on the generator's device.
        labels: Label of each path, shape (N, c_dim).
        seed: Seed of the paths.
        batch: Paths at once.
        watch: See `shares.Watch`.
    """
    rng = keyed_generator("cpu", seed, "paths")
    z = torch.randn(2, len(labels), generator.z_dim, generator=rng)
    device = next(generator.parameters()).device

    def compute(first: int, last: int) -> Tensor:
        c = labels[first:last].to(device)
        here, there = (generator.mapping(part[first:last].to(device), c) for part in z)
        step = here.lerp(there, EPSILON)
        a, b = (_small(generator.synthesis(ws, noise_mode="const")) for ws in (here, step))
        return distance(a, b) / EPSILON**2

    lengths = torch.zeros(len(labels), device=device)
    return in_shares(compute, lengths, batch, watch, "path lengths")


def trimmed_mean(lengths: Tensor) -> float:
    """Mean of the values between the first and the last percentile, both included.

    A few paths cross from one kind of picture to another and would dominate the mean.
    """
    lengths = lengths.cpu().double()
    low = torch.quantile(lengths, _PERCENTILES[0], interpolation="lower")
    high = torch.quantile(lengths, _PERCENTILES[1], interpolation="higher")
    return lengths[(lengths >= low) & (lengths <= high)].mean().item()


def _small(images: Tensor) -> Tensor:
    """Reduce pictures to at most 256 px height, as LPIPS was trained for."""
    height, width = images.shape[2:]
    if height <= LARGEST_SIDE_PX:
        return images
    size = (LARGEST_SIDE_PX, round(width * LARGEST_SIDE_PX / height))
    return suited(images, size, images.shape[1])
