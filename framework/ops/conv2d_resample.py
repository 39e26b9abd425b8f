"""Convolution combined with FIR resampling, arranged so that the small side is convolved."""

import torch.nn.functional as F
from torch import Tensor

from framework.ops.upfirdn2d import upfirdn2d


def conv2d_resample(
    x: Tensor,
    weight: Tensor,
    kernel: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    groups: int = 1,
    bias: Tensor | None = None,
) -> Tensor:
    """Convolve with `weight`, doubling or halving the size on the way.

    `up=2` is a transposed convolution followed by the FIR filter, `down=2` the FIR filter followed
    by a strided convolution (Karras et al. 2020, StyleGAN2, B). Sides that are not resampled keep
    their size ("same" padding).

    Args:
        x: Features, shape (N, C, H, W).
        weight: Filters, shape (O, C / groups, k, k), k odd. With `up=2` it is applied as a true
            (flipped) convolution, otherwise as a correlation: the field's stored orientation.
        kernel: FIR kernel of the resampling, shape (taps, taps); required when resampling.
        up: Upsampling factor, 1 or 2.
        down: Downsampling factor, 1 or 2.
        groups: Groups of the convolution.
        bias: Added at the end, shape (O,); not with `up=2`.

    Returns:
        Features, shape (N, O, H * up / down, W * up / down).
    """
    size = weight.shape[-1]
    if up == 1 and down == 1:
        return F.conv2d(x, weight, bias, padding=size // 2, groups=groups)
    assert kernel is not None
    taps = kernel.shape[-1]
    if down == 2:
        before, after = size // 2 + (taps - 1) // 2, size // 2 + (taps - 2) // 2
        if size == 1:  # the order does not matter to a 1x1 convolution: halve first
            return F.conv2d(upfirdn2d(x, kernel, down=2, padding=(before, after)), weight, bias)
        x = upfirdn2d(x, kernel, padding=(before, after))
        return F.conv2d(x, weight, bias, stride=2, groups=groups)
    assert bias is None and up == 2
    x = F.conv_transpose2d(x, _transposed(weight, groups), stride=2, groups=groups)
    padding = size // 2 + (taps + 1) // 2 - (size - 1), size // 2 + (taps - 2) // 2 - (size - 2)
    return upfirdn2d(x, kernel, padding=padding, gain=4.0)


def _transposed(weight: Tensor, groups: int) -> Tensor:
    """Reorder (O, C/groups, k, k) to the (C, O/groups, k, k) of a transposed convolution."""
    if groups == 1:
        return weight.transpose(0, 1)
    out, c, kh, kw = weight.shape
    grouped = weight.reshape(groups, out // groups, c, kh, kw).transpose(1, 2)
    return grouped.reshape(groups * c, out // groups, kh, kw)
