"""Nearest training pictures of generated ones: the plainest check for learning by heart."""

import torch
import torch.nn.functional as F
from torch import Tensor

_SIDE_PX = 32


def nearest(fakes: Tensor, reals: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Find the training pictures nearest to each generated one.

    Distance is the root mean square difference of 32 px versions, so that a pixel's shift does not
    hide a copy.

    Args:
        fakes: Shape (N, C, H, W), in [-1, 1].
        reals: Shape (M, C, H, W).
        count: Neighbours a picture.

    Returns:
        Indices into `reals`, shape (N, count), nearest first, and distances, same shape.
    """
    small_fakes, small_reals = _small(fakes), _small(reals)
    distances = torch.cdist(small_fakes, small_reals) / small_fakes.shape[1] ** 0.5
    found = distances.topk(count, dim=1, largest=False)
    return found.indices, found.values


def nearest_other(reals: Tensor, picks: Tensor) -> Tensor:
    """Distance of the training pictures `picks` to their nearest other one, shape (len(picks),)."""
    _, distances = nearest(reals[picks], reals, 2)
    return distances[:, 1]


def _small(images: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(images, _SIDE_PX).flatten(1)
