"""ADA's pixel blits and general geometric transformations, as one motion of each picture.

Positions are in pixels from the picture's centre, x to the right and y down.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from framework.training.stylegan2.ada.changes import BLITS, WARPS, Source
from framework.training.stylegan2.ada.lines import fold
from framework.training.stylegan2.ada.warp import Warp, positions

MAX_XINT = XFRAC_STD = 1 / 8  # of the side
SCALE_STD = ANISO_STD = 0.2  # of log2


class GeometryDraw(NamedTuple):
    """One draw for each of N samples, in the order in which the changes are done.

    Attributes:
        mirror: -1 to flip left and right, else 1, shape (N,).
        turns: Quarter turns clockwise, int64, 0 to 3, shape (N,).
        shift_px: Whole pixels right and down, shape (N, 2).
        scale: Both sides times this, shape (N,).
        pre: Angle before the anisotropic scaling, radians clockwise, shape (N,).
        aniso: Width times this, height divided by it, shape (N,).
        post: Angle after it, shape (N,).
        move_px: Pixels right and down, fractional, shape (N, 2).
        warps: Whether anything from `scale` on acts, shape (N,).
    """

    mirror: Tensor
    turns: Tensor
    shift_px: Tensor
    scale: Tensor
    pre: Tensor
    aniso: Tensor
    post: Tensor
    move_px: Tensor
    warps: Tensor


class Geometry(nn.Module):
    """Moves pictures: whole pixels exactly, all else through a doubled resolution.

    Args:
        size: (H, W) of the pictures; quarter turns act on squares alone.
        multipliers: Shares of the strength p by change.
    """

    rows: Tensor
    cols: Tensor

    def __init__(self, size: tuple[int, int], multipliers: Mapping[str, float]) -> None:
        super().__init__()
        self.size = size
        self.shares = {name: multipliers.get(name, 0.0) for name in (*BLITS, *WARPS)}
        if size[0] != size[1]:
            self.shares["rotate90"] = 0.0
        for name, side in zip(("rows", "cols"), size, strict=True):
            self.register_buffer(name, torch.arange(side) - (side - 1) / 2, persistent=False)
        self.warp = Warp(size) if any(self.shares[name] for name in WARPS) else None

    def draw(self, source: Source) -> GeometryDraw:
        """Draw every change; those that do not act are neutral."""
        chance = {name: source.p * share for name, share in self.shares.items()}
        # Of two rotations that act this often, one or both act with probability p (appendix B).
        either = 1 - (1 - chance["rotate"]).sqrt()
        flips = source.acts(chance["xflip"]) & source.acts(0.5)
        turns = (source.acts(chance["rotate90"]) * source.uniform(0, 4)).long()
        shift = self._by_side(lambda side: (source.uniform(-MAX_XINT, MAX_XINT) * side).round())
        move = self._by_side(lambda side: source.normal(XFRAC_STD) * side)
        scales, narrows = source.acts(chance["scale"]), source.acts(chance["aniso"])
        before, after = source.acts(either), source.acts(either)
        moves = source.acts(chance["xfrac"])
        return GeometryDraw(
            mirror=torch.where(flips, -1.0, 1.0),
            turns=turns,
            shift_px=shift * source.acts(chance["xint"])[:, None],
            scale=torch.where(scales, source.lognormal(SCALE_STD), 1.0),
            pre=before * source.uniform(-math.pi, math.pi),
            aniso=torch.where(narrows, source.lognormal(ANISO_STD), 1.0),
            post=after * source.uniform(-math.pi, math.pi),
            move_px=move * moves[:, None],
            warps=scales | before | narrows | after | moves,
        )

    def _by_side(self, draw: Callable[[int], Tensor]) -> Tensor:
        height, width = self.size
        return torch.stack([draw(width), draw(height)], dim=1)

    def forward(self, images: Tensor, draw: GeometryDraw) -> Tensor:
        """Move each picture of (N, C, H, W) as drawn."""
        # Positions go backwards, from what is shown to where it comes from.
        matrix = _undo_blit(draw)
        offset = -_product(matrix, draw.shift_px[:, :, None])
        blitted = self._move_pixels(images, matrix, offset[:, :, 0])
        if self.warp is None:
            return blitted
        matrix = _product(matrix, _undo_warp(draw))
        offset = offset - _product(matrix, draw.move_px[:, :, None])
        warped = self.warp(images, matrix, offset[:, :, 0])
        return torch.where(draw.warps[:, None, None, None], warped, blitted)

    def _move_pixels(self, images: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
        """Copy each pixel from another whole pixel."""
        height, width = self.size
        x, y = positions(matrix, offset, self.cols, self.rows).unbind(1)
        x = fold(x + (width - 1) / 2, width - 1)
        y = fold(y + (height - 1) / 2, height - 1)
        index = (y.long() * width + x.long()).flatten(1)[:, None].expand(-1, images.shape[1], -1)
        return images.flatten(2).gather(2, index).view_as(images)


def _undo_blit(draw: GeometryDraw) -> Tensor:
    """Return the inverse of flip and quarter turns, (N, 2, 2), of exact 0, 1 and -1."""
    cos = torch.where(draw.turns % 2 == 0, 1 - draw.turns, 0)
    sin = torch.where(draw.turns % 2 == 1, 2 - draw.turns, 0)
    return _matrix(draw.mirror * cos, draw.mirror * sin, -sin, cos)


def _undo_warp(draw: GeometryDraw) -> Tensor:
    """Return the inverse of scale, rotation, anisotropic scale and rotation, (N, 2, 2)."""
    zero = torch.zeros_like(draw.aniso)
    widen = _matrix(1 / (draw.scale * draw.aniso), zero, zero, draw.aniso / draw.scale)
    return _product(_rotation(-draw.pre), _product(widen, _rotation(-draw.post)))


def _rotation(angle: Tensor) -> Tensor:
    return _matrix(angle.cos(), -angle.sin(), angle.sin(), angle.cos())


def _matrix(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return torch.stack([a, b, c, d], dim=1).unflatten(1, (2, 2)).float()


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Return (N, 2, 2) times (N, 2, K) in full precision; a matmul may be rounded to TF32."""
    return (a[:, :, :, None] * b[:, None]).sum(dim=2)
