"""Sliced Wasserstein distance between sets of pictures: a measure that needs no network.

Karras et al. 2018 (progressive GAN), section 5: patches from each level of a Laplacian pyramid are
compared along random directions. Large scales show the layout, small ones the texture.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.training.randomness import keyed_generator

PATCH_PX = 7
PATCHES_PER_PICTURE = 16
DIRECTIONS = 128
SMALLEST_SIDE_PX = 16
UNIT = 1e3  # published numbers are multiplied by it


def sliced_wasserstein(reals: Tensor, fakes: Tensor, seed: int = 0) -> dict[int, float]:
    """Distance of pictures (N, C, H, W) in [-1, 1] at each level of the pyramid, times 10^3.

    Lower is better. `seed` determines patch positions and directions.

    Returns:
        Distances by height of the level in px, largest level first.
    """
    assert reals.shape == fakes.shape, (reals.shape, fakes.shape)
    distances = {}
    levels = zip(laplacian_pyramid(reals), laplacian_pyramid(fakes), strict=True)
    for real, fake in levels:
        # Patches are in the same places of both sets, so that equal sets have distance 0.
        a, b = (
            _normalised(_patches(level, keyed_generator("cpu", seed, "patches", level.shape[2])))
            for level in (real, fake)
        )
        rng = keyed_generator("cpu", seed, "directions", real.shape[2])
        directions = F.normalize(torch.randn(a.shape[1], DIRECTIONS, generator=rng), dim=0)
        gap = (a @ directions).sort(dim=0).values - (b @ directions).sort(dim=0).values
        distances[real.shape[2]] = gap.abs().mean().item() * UNIT
    return distances


def laplacian_pyramid(images: Tensor) -> list[Tensor]:
    """Band-pass levels (N, C, h, w), largest first; the last, about 16 px, is low-pass."""
    levels = []
    while _can_halve(images.shape[2:]):
        below = F.avg_pool2d(images, 2)
        up = F.interpolate(below, scale_factor=2, mode="bilinear", align_corners=False)
        levels.append(images - up)
        images = below
    return [*levels, images]


def _can_halve(size: torch.Size) -> bool:
    return min(size) // 2 >= SMALLEST_SIDE_PX and all(side % 2 == 0 for side in size)


def _patches(images: Tensor, rng: torch.Generator) -> Tensor:
    """Random patches of each picture, shape (N * PATCHES_PER_PICTURE, C, PATCH_PX^2)."""
    n, c, h, w = images.shape
    shape = (n, PATCHES_PER_PICTURE)
    y = torch.randint(0, h - PATCH_PX + 1, shape, generator=rng)
    x = torch.randint(0, w - PATCH_PX + 1, shape, generator=rng)
    dy, dx = torch.meshgrid(torch.arange(PATCH_PX), torch.arange(PATCH_PX), indexing="ij")
    index = (y[..., None] + dy.flatten()) * w + x[..., None] + dx.flatten()
    picked = images.flatten(2).gather(2, index.flatten(1)[:, None].expand(n, c, -1))
    picked = picked.reshape(n, c, PATCHES_PER_PICTURE, -1)
    return picked.transpose(1, 2).flatten(0, 1)


def _normalised(patches: Tensor) -> Tensor:
    """Normalise each colour channel to mean 0 and deviation 1 over the set, then flatten."""
    mean = patches.mean(dim=(0, 2), keepdim=True)
    std = patches.std(dim=(0, 2), keepdim=True)
    return ((patches - mean) / (std + 1e-8)).flatten(1)
