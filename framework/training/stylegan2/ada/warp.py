"""Pictures read at affine positions, at twice their resolution so that little is lost.

Upsampling by two, bilinear reading at twice the output's resolution, downsampling by two, both with
the orthonormal low-pass of a wavelet (Karras et al. 2020, appendix B). Nothing is padded: positions
outside are read from the picture reflected at its outermost pixels, without end. A padding would
have to be as wide as the draws need: at p = 1 and 64 px that is 41 px for 95 % of the samples,
52 px for 99 %, and 126 px for the worst of a million. So nothing is clamped, and every draw has the
same shapes.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framework.training.stylegan2.ada.lines import Lines, fir_matrix, fold

# Low-pass of the symlet with 6 vanishing moments (Daubechies 1992). Its shifts by two samples are
# orthonormal: up and down again is the identity.
SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
    0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252,
    -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
# Taps before and after the one nearest to the centre of their weight.
_BEFORE, _AFTER = 5, 6
# Sample j of the doubled line stands at (j + _LAG) / 2 pixels, less than 0.05 off the grid.
_LAG = _BEFORE - sum(i * tap for i, tap in enumerate(SYM6)) / sum(SYM6)
# Pixels around the picture that are read themselves and not as mirror images: the filter is not
# quite symmetric, so only they restore the outermost pixels of a picture that does not move.
_MARGIN = 3


class Warp(nn.Module):
    """Reads pictures at affine positions.

    Args:
        size: (H, W) of the pictures.
    """

    rows: Tensor
    cols: Tensor
    unit: Tensor
    last: Tensor
    centre: Tensor

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.up = Lines(*(_doubling(side) for side in size))
        self.down = Lines(*(_halving(side) for side in size))
        for name, side in zip(("rows", "cols"), size, strict=True):
            samples = torch.arange(-_BEFORE, 2 * side - 1 + _AFTER)
            self.register_buffer(name, (samples + _LAG) / 2 - (side - 1) / 2, persistent=False)
        # For x and y: a pixel, the last pixel and the doubled line's centre, all in grid_sample's
        # units, in which the doubled line goes from -1 to 1.
        sides = torch.tensor(size[::-1])[:, None, None]
        self.register_buffer("unit", 2 / (sides - 0.5 + 2 * _MARGIN), persistent=False)
        self.register_buffer("last", (sides - 1) * self.unit, persistent=False)
        self.register_buffer("centre", (sides - 0.5 + _LAG) / 2 * self.unit, persistent=False)

    def forward(self, images: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
        """Return pictures that show at each position x the input at `matrix` x + `offset`.

        Args:
            images: Pictures, shape (N, C, H, W).
            matrix: Matrix for (x, y) from the centre, shape (N, 2, 2).
            offset: Offset (x, y) in pixels, shape (N, 2).

        Returns:
            Same shape.
        """
        unit = self.unit[:, :, 0]
        offset = offset * unit[:, 0] + self.last[:, 0, 0] / 2
        position = positions(matrix * unit, offset, self.cols, self.rows)
        margin = _MARGIN * self.unit
        near = position.clamp(-margin, self.last + margin) == position
        position = torch.where(near, position, fold(position, self.last)) - self.centre
        grid = position.permute(0, 2, 3, 1).to(images.dtype)
        return self.down(_Read.apply(self.up(images), grid))


def positions(matrix: Tensor, offset: Tensor, cols: Tensor, rows: Tensor) -> Tensor:
    """Return `matrix` (x, y) + `offset`, (N, 2, H, W), for x in `cols` (W,), y in `rows` (H,)."""
    matrix, offset = matrix[..., None, None], offset[..., None, None]
    return matrix[:, :, 0] * cols + (matrix[:, :, 1] * rows[:, None] + offset)


def _doubling(side: int) -> Tensor:
    """Return the matrix from a line of `side` to the doubled one with margins, same mean."""
    taps = [tap * math.sqrt(2) for tap in reversed(SYM6)]
    samples = range(-2 * _MARGIN, 2 * (side + _MARGIN))
    return fir_matrix(taps, side, 2, [sample - _AFTER for sample in samples])


def _halving(side: int) -> Tensor:
    """Return the matrix back to `side` samples: but for a factor, the transpose."""
    taps = [tap / math.sqrt(2) for tap in SYM6]
    return fir_matrix(taps, 2 * side - 1 + _BEFORE + _AFTER, 1, range(0, 2 * side, 2))


class _Read(torch.autograd.Function):
    """Bilinear reading at constant positions; its own and its adjoint's derivative.

    The oldest torch that we support has no second derivative of its own, and each of its
    derivatives also computes that of the positions, which is not needed here.
    """

    @staticmethod
    def forward(images: Tensor, grid: Tensor) -> Tensor:
        return F.grid_sample(images, grid, "bilinear", "zeros", align_corners=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.size = inputs[0].shape

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _Spread.apply(grads[0], ctx.saved_tensors[0], ctx.size), None


class _Spread(torch.autograd.Function):
    """The transpose of `_Read` as a linear map, to pictures of `size`."""

    @staticmethod
    def forward(grad: Tensor, grid: Tensor, size: torch.Size) -> Tensor:
        bilinear, zeros = 0, 0  # as torch numbers them
        pictures = grad.new_zeros(()).expand(size)  # for their shape alone
        spread, _ = torch.ops.aten.grid_sampler_2d_backward(
            grad, pictures, grid, bilinear, zeros, True, [True, False]
        )
        return spread

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _Read.apply(grads[0], ctx.saved_tensors[0]), None, None
