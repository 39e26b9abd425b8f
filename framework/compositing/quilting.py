"""Textures from whole pieces of an exemplar: quilting and growing.

Efros and Freeman 2001 (Image quilting for texture synthesis and transfer) lay blocks that overlap
and cut them where they differ least; Efros and Leung 1999 (Texture synthesis by non-parametric
sampling) grow a texture pixel by pixel. Pictures are float32 (1, C, H, W) in [-1, 1].
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.compositing.filling import FillStep

_TOLERANCE = 0.1  # errors up to this much above the least may be picked (both papers)
_SIGMA_OF_SIDE = 1 / 6.4  # Efros and Leung's Gaussian window


def masked_distances(picture: Tensor, patch: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted square distances of a patch to all patches of a picture.

    Args:
        picture: (C, H, W).
        patch: (C, h, w).
        weight: Weight of each of the patch's pixels, (h, w).

    Returns:
        Distances (H - h + 1, W - w + 1).
    """
    squares = picture.square().sum(dim=0, keepdim=True)
    kernel = torch.cat([-2 * weight * patch, weight[None]])[None]
    distances = F.conv2d(torch.cat([picture, squares])[None], kernel)[0, 0]
    return (distances + (weight * patch.square()).sum()).clamp(min=0)


def quilted(
    exemplar: Tensor, size: tuple[int, int], side: int = 24, seed: int = 0
) -> Iterator[FillStep]:
    """Lay blocks of an exemplar from the top left, cut along the least difference.

    Args:
        exemplar: The texture, of any size.
        size: (H, W) of the result.
        side: Side of a block in pixels, at most the exemplar's shorter side.
        seed: Seed of the choice among blocks that fit.
    """
    rng = torch.Generator().manual_seed(seed)
    source = exemplar[0]
    side = min(side, *source.shape[1:])
    overlap = min(max(1, side // 6), side - 1)
    stride = max(1, side - overlap)
    rows, columns = (1 + max(0, -(-(length - side) // stride)) for length in size)
    result = source.new_zeros(
        source.shape[0], (rows - 1) * stride + side, (columns - 1) * stride + side
    )
    for step, (row, column) in enumerate(
        torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).tolist()
    ):
        top, left = row * stride, column * stride
        here = result[:, top : top + side, left : left + side]
        old = torch.zeros(side, side)
        old[: overlap if row else 0] = 1
        old[:, : overlap if column else 0] = 1
        v, u = _picked(masked_distances(source, here, old), rng)
        block = source[:, v : v + side, u : u + side]
        gap = (here - block).square().sum(dim=0)
        keeps = torch.zeros(side, side, dtype=torch.bool)
        if column and overlap:
            keeps[:, :overlap] |= _before_cut(gap[:, :overlap])
        if row and overlap:
            keeps[:overlap] |= _before_cut(gap[:overlap].T).T
        here.copy_(torch.where(keeps, here, block))
        yield FillStep(result[None, :, : size[0], : size[1]], "quilting", step + 1, rows * columns)


def grown(
    exemplar: Tensor, size: tuple[int, int], side: int = 11, seed: int = 0
) -> Iterator[FillStep]:
    """Grow a texture from a piece in its middle, the pixel with the most neighbours first.

    Slow by nature: the exemplar is looked at once for each pixel. Arguments as of `quilted`; `side`
    is the window's.
    """
    rng = torch.Generator().manual_seed(seed)
    source = exemplar[0]
    side = min(side, *(length - (1 - length % 2) for length in source.shape[1:]))
    half = side // 2
    y = torch.arange(side) - half
    bell = torch.exp(-(y.square()) / (2 * max(1e-3, side * _SIGMA_OF_SIDE) ** 2))
    window = torch.outer(bell, bell)
    padded = source.new_zeros(source.shape[0], size[0] + 2 * half, size[1] + 2 * half)
    known = torch.zeros(padded.shape[1:])
    inside = torch.zeros_like(known)
    inside[half : half + size[0], half : half + size[1]] = 1
    seeded = [min(3, length, of) for length, of in zip(size, source.shape[1:], strict=True)]
    v, u = (
        int(torch.randint(of - n + 1, (), generator=rng))
        for of, n in zip(source.shape[1:], seeded, strict=True)
    )
    top, left = (half + (length - n) // 2 for length, n in zip(size, seeded, strict=True))
    padded[:, top : top + seeded[0], left : left + seeded[1]] = source[
        :, v : v + seeded[0], u : u + seeded[1]
    ]
    known[top : top + seeded[0], left : left + seeded[1]] = 1
    steps, step = size[0] + size[1], 0
    while bool((inside > known).any()):
        neighbours = F.avg_pool2d(known[None], 3, 1, 1)[0] * (inside > known)
        front = (neighbours > 0).nonzero()
        order = neighbours[front[:, 0], front[:, 1]].argsort(descending=True, stable=True)
        for y, x in front[order].tolist():
            here = (slice(y - half, y + half + 1), slice(x - half, x + half + 1))
            weight = window * known[here]
            v, u = _picked(masked_distances(source, padded[(slice(None), *here)], weight), rng)
            padded[:, y, x] = source[:, v + half, u + half]
            known[y, x] = 1
        step += 1
        shown = padded[None, :, half : half + size[0], half : half + size[1]]
        yield FillStep(shown, "growing", step, max(steps, step))


def _picked(distances: Tensor, rng: torch.Generator) -> tuple[int, int]:
    """One of the places that fit within the tolerance."""
    fits = (distances <= distances.min() * (1 + _TOLERANCE) + 1e-6).nonzero()
    v, u = fits[int(torch.randint(len(fits), (), generator=rng))].tolist()
    return v, u


def _before_cut(gap: Tensor) -> Tensor:
    """Which pixels lie before the path, from top to bottom, of least summed gap: bool (H, W).

    Dynamic programming, Efros and Freeman 2001, equation 1.
    """
    costs = gap.clone()
    for row in range(1, len(costs)):
        above = F.pad(costs[row - 1][None], (1, 1), value=torch.inf)[0]
        costs[row] += above.unfold(0, 3, 1).min(dim=1).values
    path = [int(costs[-1].argmin())]
    for row in range(len(costs) - 2, -1, -1):
        first = max(0, path[-1] - 1)
        path.append(first + int(costs[row, first : path[-1] + 2].argmin()))
    return torch.arange(gap.shape[1])[None] < torch.tensor(path[::-1])[:, None]
