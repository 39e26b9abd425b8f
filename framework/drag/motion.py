"""Motion supervision: the loss that moves what is under the handles (Pan et al. 2023, eq. 1)."""

import torch
from torch import Tensor

from framework.drag.features import inside, patches


def directions(points: Tensor, targets: Tensor) -> Tensor:
    """Step d_i that each handle should take, in image pixels, shape (K, 2).

    A unit vector toward the target, or the rest of the way if that is shorter. So a handle at its
    target is supervised to stay within a pixel of it, and pulled back when it leaves.
    """
    offsets = targets - points
    return offsets / offsets.norm(dim=1, keepdim=True).clamp(min=1)


def motion_loss(
    features: Tensor, points: Tensor, steps: Tensor, radius_px: int, img_size: tuple[int, int]
) -> Tensor:
    """Distance of the features one step ahead from those at the handles: ‖F(q) - F(q + d)‖₁.

    The features at q are constants (stop-gradient), so the gradient moves content from q to q + d.
    Where the paper sums over the disc and the channels this takes the mean, as published code does.

    Args:
        features: Block's features, shape (1, C, h, w).
        points: Handles (x, y) in image pixels, inside the image, shape (K, 2).
        steps: The steps d, shape (K, 2); points + steps must lie inside the image.
        radius_px: Radius r1 of the disc, its rim included: 5 pixels for 1, 29 for 3.
        img_size: Image's (height, width). The disc is cut where it or its shifted copy leaves the
            image; its centre never does.

    Returns:
        Loss of each handle, shape (K,). The paper's term is their sum.
    """
    here = patches(features.detach(), points, radius_px, img_size)
    ahead = patches(features, points + steps, radius_px, img_size)
    used = inside(points, radius_px, img_size) & inside(points + steps, radius_px, img_size)
    used = (used & _disc(radius_px, points.device)).to(features.dtype)
    difference = (ahead - here).abs().mean(dim=1)
    return (difference * used).sum(dim=(1, 2)) / used.sum(dim=(1, 2))


def _disc(radius_px: int, device: torch.device) -> Tensor:
    """Pixels of a square patch that are within the radius of its centre: bool, shape (n, n)."""
    reach = torch.arange(-radius_px, radius_px + 1, device=device)
    return reach[:, None].square() + reach[None, :].square() <= radius_px**2
