"""Pad, upsample, filter with a small FIR kernel, downsample: the resampling of StyleGAN2.

Differentiable any number of times. The pure PyTorch form is the definition; the compiled one
(`framework.ops.compiled`) equals it.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.ops.compiled import runs_compiled


def setup_filter(taps: Sequence[float]) -> Tensor:
    """Return a separable FIR filter as a 2-D kernel, normalised to a sum of 1.

    Args:
        taps: One-dimensional taps, `[1, 3, 3, 1]` in StyleGAN2.

    Returns:
        The normalised outer product of the taps, shape (len(taps), len(taps)), float32.
    """
    # Plain numbers: operations on tensors are slow where networks are only sketched.
    total = sum(taps) ** 2
    return torch.tensor([[a * b / total for b in taps] for a in taps], dtype=torch.float32)


def upfirdn2d(
    x: Tensor,
    kernel: Tensor,
    up: int = 1,
    down: int = 1,
    padding: tuple[int, int] = (0, 0),
    gain: float = 1.0,
) -> Tensor:
    """Insert `up - 1` zeros after each sample, pad, convolve with `kernel`, keep every `down`-th.

    Args:
        x: Images or features, shape (N, C, H, W).
        kernel: FIR kernel, shape (kh, kw).
        up: Upsampling factor of both axes.
        down: Downsampling factor of both axes.
        padding: Zeros before and after each axis, counted in upsampled samples, not negative.
        gain: Factor on the result; `up ** 2` keeps the mean when upsampling.

    Returns:
        A tensor (N, C, H', W') with H' = (H * up + sum(padding) - kh) // down + 1; dtype of `x`.
    """
    before, after = padding
    if runs_compiled("upfirdn2d", x):
        height, width = (
            (side * up + before + after - taps) // down + 1
            for side, taps in zip(x.shape[2:], kernel.shape, strict=True)
        )
        return _Compiled.apply(x, kernel, up, down, before, before, height, width, True, gain)
    if up > 1:
        n, c, h, w = x.shape
        x = F.pad(x.reshape(n, c, h, 1, w, 1), (0, up - 1, 0, 0, 0, up - 1))
        x = x.reshape(n, c, h * up, w * up)
    if before == after:
        inside = before  # the convolution pads by itself, without a copy
    else:
        x, inside = F.pad(x, (before, after, before, after)), 0
    # A convolution flips the kernel, torch's does not.
    return _Filter.apply(x, (kernel * gain).flip(0, 1).to(x.dtype), down, inside)


class _Compiled(torch.autograd.Function):
    """The compiled operation, whose adjoint is itself with the factors exchanged."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        kernel: Tensor,
        up: int,
        down: int,
        top: int,
        left: int,
        height: int,
        width: int,
        flip: bool,
        gain: float,
    ) -> Tensor:
        ctx.save_for_backward(kernel)
        ctx.geometry = up, down, top, left, flip, gain
        ctx.size = x.shape[2:]
        return torch.ops.dragline.upfirdn2d(
            x, kernel, up, down, top, left, height, width, flip, gain
        )

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (kernel,) = ctx.saved_tensors
        up, down, top, left, flip, gain = ctx.geometry
        top, left = kernel.shape[0] - 1 - top, kernel.shape[1] - 1 - left
        back = _Compiled.apply(grads[0], kernel, down, up, top, left, *ctx.size, not flip, gain)
        return back, *[None] * 9


class _Filter(torch.autograd.Function):
    """The correlation of each channel with one constant kernel; also its adjoint's derivative.

    A depthwise `F.conv2d` computes the same. But for second derivatives, which R1 needs, torch
    makes the gradient of a depthwise weight channel by channel even where nobody needs it, which
    took half of the time of an R1 step.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(kernel)
        ctx.size, ctx.stride, ctx.padding = x.shape, stride, padding
        channels = x.shape[1]
        weight = kernel.expand(channels, 1, *kernel.shape)
        return F.conv2d(x, weight, stride=stride, padding=padding, groups=channels)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (kernel,) = ctx.saved_tensors
        return _Adjoint.apply(grads[0], kernel, ctx.stride, ctx.padding, ctx.size), None, None, None


class _Adjoint(torch.autograd.Function):
    """The transpose of `_Filter` as a linear map, for an input of `size`."""

    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, kernel: Tensor, stride: int, padding: int, size: torch.Size
    ) -> Tensor:
        ctx.save_for_backward(kernel)
        ctx.stride, ctx.padding = stride, padding
        channels, taps = size[1], kernel.shape
        rest = [
            size[axis] - ((grad.shape[axis] - 1) * stride - 2 * padding + taps[axis - 2])
            for axis in (2, 3)
        ]
        # In bfloat16 a CPU takes 20 to 70 times as long for this; a third of a training step.
        dtype = torch.float32 if grad.is_cpu and grad.dtype == torch.bfloat16 else grad.dtype
        weight = kernel.to(dtype).expand(channels, 1, *taps)
        result = F.conv_transpose2d(grad.to(dtype), weight, None, stride, padding, rest, channels)
        return result.to(grad.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        (kernel,) = ctx.saved_tensors
        filtered = _Filter.apply(grads[0], kernel, ctx.stride, ctx.padding)
        return filtered, None, None, None, None


def upsample2d(x: Tensor, kernel: Tensor) -> Tensor:
    """Double both axes with an FIR filter: (N, C, H, W) to (N, C, 2H, 2W), mean kept."""
    taps = kernel.shape[-1]
    return upfirdn2d(x, kernel, up=2, padding=((taps + 1) // 2, (taps - 2) // 2), gain=4.0)


def downsample2d(x: Tensor, kernel: Tensor) -> Tensor:
    """Halve both axes with an FIR filter: (N, C, H, W) to (N, C, H/2, W/2)."""
    taps = kernel.shape[-1]
    return upfirdn2d(x, kernel, down=2, padding=((taps - 1) // 2, (taps - 2) // 2))
