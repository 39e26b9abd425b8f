"""Motion supervision: the losses that move what is under the handles (Pan et al. 2023, eq. 1)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.drag.features import inside, patches

PAPER_WEIGHT = 20.0  # λ


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


def mask_loss(views: Sequence[Tensor], initial: Sequence[Tensor], fixed: Tensor) -> Tensor:
    """Mean change outside the mask: ‖(F - F0) · (1 - M)‖₁ over the fixed area, in mean sizes of F0.

    The paper sums and published code averages over the whole image, and both compare features only.
    Here the block's running picture counts as much: colours that features hardly tell apart are
    what a person sees change. The mask is reduced to the block's size by area. How hard the loss
    pulls is `balance`'s.

    Args:
        views: The block's features and, where it has one, its running picture, (1, C, h, w) each.
        initial: The same before the drag.
        fixed: Weights from `fixed_area`.

    Returns:
        A scalar, the sum over the views.
    """
    changes = [
        ((now - before).abs().mean(dim=1, keepdim=True) * fixed).sum() / before.abs().mean()
        for now, before in zip(views, initial, strict=True)
    ]
    return torch.stack(changes).sum()


@dataclass(frozen=True)
class Balance:
    """The gradients of points and mask brought together.

    Args:
        gradient: What to descend along, shape of both.
        opposition: How far the mask's own gradient points against the points', from 0 to 1.
        outweighed: Whether the mask's part of `gradient` is longer than the points' usual pull.
        pull_length: Length of the points' gradient.
    """

    gradient: Tensor
    opposition: Tensor
    outweighed: Tensor
    pull_length: Tensor


def balance(pull: Tensor, hold: Tensor, weight: float, usual_length: Tensor) -> Balance:
    """Let the mask steer without holding: its gradient, less what opposes the points' pull.

    The rest, at right angles to the pull or along with it, is made `weight` times as long as the
    pull, or as the pull usually is, where that is longer: points that have arrived hardly pull. So
    its strength does not depend on how much of the picture is fixed, nor on the model; the
    projection is that of gradient surgery (Yu et al. 2020, algorithm 1), with the points first.

    Args:
        pull: Gradient of the motion loss, any shape.
        hold: Gradient of the mask loss, same shape.
        weight: Length of the mask's part in lengths of the pull, ≥ 0.
        usual_length: Length of the pull in the steps before, a scalar; 0 if there were none.
    """
    length = pull.norm()
    usual_length = torch.maximum(length, usual_length)
    along = (pull * hold).sum()
    aside = hold - along.clamp(max=0) / pull.square().sum().clamp(min=1e-30) * pull
    # Where hardly anything has changed its length says nothing: the published λ is the most.
    scale = weight * usual_length / aside.norm().clamp(min=1e-30)
    part = scale.clamp(max=PAPER_WEIGHT * max(1.0, weight)) * aside
    cosine = along / (length * hold.norm()).clamp(min=1e-30)
    outweighed = part.norm() > 1.01 * usual_length
    return Balance(pull + part, (-cosine).clamp(min=0), outweighed, length)


def _disc(radius_px: int, device: torch.device) -> Tensor:
    """Pixels of a square patch that are within the radius of its centre: bool, shape (n, n)."""
    reach = torch.arange(-radius_px, radius_px + 1, device=device)
    return reach[:, None].square() + reach[None, :].square() <= radius_px**2
