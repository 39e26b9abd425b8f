"""Motion supervision: the losses that move what is under the handles (Pan et al. 2023, eq. 1)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.drag.features import inside, patches


def directions(points: Tensor, targets: Tensor) -> Tensor:
    """Step d_i that each handle is asked to take, in image pixels, shape (K, 2).

    A unit vector toward the target; nearer than one pixel, just what is left. So a handle at its
    target is supervised to stay within a pixel of it, and pulled back when it leaves.
    """
    offsets = targets - points
    return offsets / offsets.norm(dim=1, keepdim=True).clamp(min=1)


def motion_loss(
    features: Tensor, points: Tensor, steps: Tensor, radius_px: int, img_size: tuple[int, int]
) -> Tensor:
    """How far the features one step ahead are from those at the handles: ‖F(q) - F(q + d)‖₁.

    The features at q are constants (stop-gradient), so the gradient moves content from q to q + d.
    Where the paper sums over the disc and the channels this takes the mean, as published code does:
    the balance with the mask loss then does not depend on radius or channel count.

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


def fixed_area(mask: Tensor, features: Tensor) -> Tensor | None:
    """Weights of the features that a mask holds fixed: its area outside, shape (1, 1, h, w).

    Args:
        mask: Shape (H, W), 1 = may change, 0 = stays.
        features: The features to be held, shape (1, C, h, w).

    Returns:
        Weights in [0, 1] that sum to 1, or None if the mask lets everything change.
    """
    fixed = F.adaptive_avg_pool2d(1 - mask[None, None], (features.shape[2], features.shape[3]))
    total = fixed.sum()
    return fixed / total if total > 0 else None


def mask_loss(features: Tensor, initial: Tensor, fixed: Tensor) -> Tensor:
    """Mean change of the features outside the mask: ‖(F - F0) · (1 - M)‖₁ over the fixed area.

    The paper sums and published code averages over the whole image; the mean over the fixed area
    keeps the strength of λ the same for small and large masks. It is taken at the features' own
    size, the mask reduced to it by area.

    Args:
        features: Shape (1, C, h, w).
        initial: The same block's features before the drag.
        fixed: Weights from `fixed_area`.

    Returns:
        A scalar.
    """
    return ((features - initial).abs().mean(dim=1, keepdim=True) * fixed).sum()


def _disc(radius_px: int, device: torch.device) -> Tensor:
    """Pixels of a square patch that are within the radius of its centre: bool, shape (n, n)."""
    reach = torch.arange(-radius_px, radius_px + 1, device=device)
    return reach[:, None].square() + reach[None, :].square() <= radius_px**2
