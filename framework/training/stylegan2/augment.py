"""Differentiable augmentation for small data sets (Zhao et al. 2020, DiffAugment).

Real and generated images pass through the same kinds of random change on their way to the
discriminator, which therefore cannot learn the few real images by heart. Each change is drawn for
each sample, has shapes that depend on nothing random, and is differentiable twice.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.errors import UserError

POLICIES = ("color", "translation", "cutout")
MAX_SHIFT = 1 / 8  # of the side
CUTOUT_SIDE = 1 / 2  # of the side


def parse_policy(policy: str) -> tuple[str, ...]:
    """Split `color,translation,cutout` (in any choice; empty for none).

    Raises:
        UserError: If a name is unknown.
    """
    names = tuple(name for name in policy.replace(" ", "").split(",") if name)
    for name in names:
        if name not in POLICIES:
            choices = ", ".join(POLICIES)
            raise UserError(f"{name!r}: choose from {choices}; or ada, or none", "augment")
    return names


def augment(images: Tensor, policy: Sequence[str], rng: torch.Generator) -> Tensor:
    """Apply the changes named in `policy`, in the order color, translation, cutout.

    Args:
        images: Shape (N, C, H, W), in [-1, 1].
        policy: Names out of `POLICIES`.
        rng: Source of the draws, on the device of `images`.

    Returns:
        Same shape; colours may leave [-1, 1].
    """
    if "color" in policy:
        images = change_color(images, *(_uniform(images, rng) for _ in range(3)))
    if "translation" in policy:
        images = translate(images, *_shifts(images, MAX_SHIFT, rng))
    if "cutout" in policy:
        images = cut_out(images, _uniform(images, rng), _uniform(images, rng))
    return images


def change_color(images: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor):
    """Brightness +-0.5, saturation x0-2 (RGB only), contrast x0.5-1.5, from draws in [0, 1)."""
    images = images + (brightness - 0.5)
    if images.shape[1] == 3:
        grey = images.mean(dim=1, keepdim=True)
        images = grey + (images - grey) * (saturation * 2)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (images - mean) * (contrast + 0.5)


def translate(images: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Shift each sample by whole pixels; zeros come in.

    Args:
        images: Shape (N, C, H, W).
        dx: Shift to the right in pixels, int64, shape (N,).
        dy: Shift down in pixels, int64, shape (N,).

    Returns:
        Same shape.
    """
    n, c, h, w = images.shape
    columns = torch.arange(w, device=images.device) - dx[:, None]
    rows = torch.arange(h, device=images.device) - dy[:, None]
    # One gather a picture, from a copy with a zero row and column for positions outside.
    padded = F.pad(images, (0, 1, 0, 1)).flatten(2)
    columns = torch.where((columns >= 0) & (columns < w), columns, w)
    rows = torch.where((rows >= 0) & (rows < h), rows, h)
    index = (rows[:, :, None] * (w + 1) + columns[:, None, :]).flatten(1)
    return padded.gather(2, index[:, None].expand(n, c, h * w)).reshape(n, c, h, w)


def cut_out(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Blank a rectangle of half the sides, its centre at (x, y) in units of the sides."""
    h, w = images.shape[2:]
    columns = (torch.arange(w, device=images.device) + 0.5) / w
    rows = (torch.arange(h, device=images.device) + 0.5) / h
    inside_x = (columns[None, None, None, :] - x).abs() < CUTOUT_SIDE / 2
    inside_y = (rows[None, None, :, None] - y).abs() < CUTOUT_SIDE / 2
    return images * ~(inside_x & inside_y)


def random_flips(images: Tensor, rng: torch.Generator) -> Tensor:
    """Mirror half of the samples left to right, shape kept."""
    flip = torch.rand(len(images), 1, 1, 1, device=images.device, generator=rng) < 0.5
    return torch.where(flip, images.flip(3), images)


def _uniform(images: Tensor, rng: torch.Generator) -> Tensor:
    return torch.rand(len(images), 1, 1, 1, device=images.device, generator=rng)


def _shifts(images: Tensor, share: float, rng: torch.Generator) -> list[Tensor]:
    """Draw whole pixels up to `share` of the width and of the height, two of shape (N,)."""
    limits = [int(side * share + 0.5) for side in (images.shape[3], images.shape[2])]
    device = images.device
    return [
        torch.randint(-limit, limit + 1, (len(images),), device=device, generator=rng)
        for limit in limits
    ]
