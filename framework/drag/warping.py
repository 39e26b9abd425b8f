"""Pixels moved with the points, in one pass, and the ground that they uncover, filled in.

The idea is that of Inpaint4Drag (Lu et al. 2025): what a point holds is carried in the picture
itself, forward to know what ends where and what is uncovered, backward to sample without gaps;
only the uncovered ground is made up.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.compositing.fill_registry import DEFAULT_METHOD, fill_method
from framework.compositing.filling import FillSettings

RIM = 0.3  # of the radius: the width of the rim in which the move ends
FINE = 4  # samples along each side of a pixel
IN_FRONT = 24.0  # how much more what moves wholly counts than what stays, as an exponent
LEAST_COVER = 0.5  # of a pixel's samples: where fewer end in it, the ground is uncovered
LEAST_MOVE = 1e-3  # of a pixel: less is none
PATCH_PX = 5  # of the filling


def warped(
    picture: Tensor, points: Tensor, moves: Tensor, radius_px: float, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Carry what is about the points along; what moves lies in front of what stays.

    Args:
        picture: The picture, shape (1, C, H, W).
        points: Where the points are, (x, y) in pixels, shape (K, 2).
        moves: Where they go from there, in pixels, shape (K, 2).
        radius_px: Within this distance of a point the picture moves with it; beyond, in a rim, ever
            less.
        mask: What may change, shape (H, W), 1 = may change, or None.

    Returns:
        The picture, and the ground that was uncovered and is not known, bool (H, W).
    """
    height, width = picture.shape[2:]
    fine = ((torch.arange(max(height, width) * FINE) + 0.5) / FINE - 0.5).to(points)
    places = torch.cartesian_prod(fine[: height * FINE], fine[: width * FINE]).flip(1)
    field, share = displacements(places, points, moves, radius_px)
    if mask is not None:
        allowed = mask.repeat_interleave(FINE, 0).repeat_interleave(FINE, 1).flatten()
        field, share = field * allowed[:, None], share * allowed
    ends = (places + field).round().long()
    within = ((ends >= 0) & (ends < ends.new_tensor([width, height]))).all(dim=1)
    pixel = (ends[:, 1] * width + ends[:, 0])[within]
    # Forward: how many samples end in a pixel, and how far those in front have come.
    weight = torch.exp(IN_FRONT * (share[within] - 1)) + 1e-12
    columns = torch.stack([torch.ones_like(weight), weight], dim=1)
    columns = torch.cat([columns, weight[:, None] * field[within]], dim=1)
    sums = columns.new_zeros(height * width, 4).index_add_(0, pixel, columns)
    cover, come = sums[:, 0] / FINE**2, sums[:, 2:] / sums[:, 1:2].clamp(min=1e-30)
    uncovered = (cover < LEAST_COVER).view(height, width)
    # Backward: every pixel is sampled where its own content was.
    shown = sampled(picture, come.view(height, width, 2))
    if mask is not None:
        stays = mask == 0
        uncovered, shown = uncovered & ~stays, torch.where(stays, picture, shown)
    return shown, uncovered


def displacements(
    places: Tensor, points: Tensor, moves: Tensor, radius_px: float
) -> tuple[Tensor, Tensor]:
    """How far each place moves, (N, 2), and with what share of the points' moves, (N,).

    Between points, moves are weighted by the inverse square of the distance (Shepard 1968).
    """
    apart = torch.cdist(places, points)
    share = (1 + (radius_px - apart.amin(dim=1)) / (RIM * radius_px)).clamp(0, 1)
    nearness = 1 / apart.square().clamp(min=1e-6)
    mean = nearness / nearness.sum(dim=1, keepdim=True) @ moves
    return share[:, None] * mean, share


def sampled(picture: Tensor, come: Tensor) -> Tensor:
    """Return the picture (1, C, H, W) whose pixels have come by (H, W, 2) pixels; others as is."""
    height, width = picture.shape[2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    here = torch.stack([columns, rows], dim=-1).to(come)
    size = come.new_tensor([width, height])
    grid = (2 * (here - come) + 1) / size - 1
    moved = F.grid_sample(picture, grid[None].to(picture), "bilinear", "border", False)
    return torch.where(come.norm(dim=-1) > LEAST_MOVE, moved, picture)


def painted(picture: Tensor, uncovered: Tensor, method: str = DEFAULT_METHOD) -> Tensor:
    """Fill the uncovered ground of a picture (1, C, H, W) from the rest of it."""
    if not uncovered.any() or uncovered.all():
        return picture
    fill = fill_method(method)
    where, hole = picture.device, uncovered.cpu()
    settings = FillSettings(method=method, patch_px=PATCH_PX)
    *_, last = fill(picture.float().cpu(), hole, settings)
    return torch.where(uncovered, last.picture.to(where, picture.dtype), picture)
