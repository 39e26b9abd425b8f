"""Layers that generator and discriminator share, and the sizes of their pyramid of blocks."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framework.errors import UserError
from framework.ops.bias_act import LRELU_GAIN, bias_act
from framework.ops.conv2d_resample import conv2d_resample
from framework.ops.upfirdn2d import setup_filter

RESAMPLE_TAPS = (1, 3, 3, 1)
_BASE_SIDES = range(4, 8)  # longer side of the smallest block, in pixels


def pyramid(img_size: Sequence[int]) -> tuple[tuple[int, int], tuple[int, ...]]:
    """Return base size and block names of a picture size: (3, 4), (4, 8, … 256) of (192, 256).

    Blocks have the names that a square network would have, 4 * 2^k, whatever the base: `b4` is
    always the smallest.

    Raises:
        UserError: If the sides are not base * 2^k, k at least 1, with the longer base side 4 to 7.
    """
    height, width = img_size
    levels = 0
    while max(height, width) > max(_BASE_SIDES) and height % 2 == 0 and width % 2 == 0:
        height, width, levels = height // 2, width // 2, levels + 1
    if levels == 0 or min(height, width) < 1 or max(height, width) not in _BASE_SIDES:
        raise UserError(
            f"img_size {tuple(img_size)}: sides must be base * 2^k, k >= 1, with the base's longer "
            "side from 4 to 7, like 64x64, 512x384 or 192x256"
        )
    return (height, width), tuple(4 << k for k in range(levels + 1))


def channels_at(resolution: int, channel_base: int, channel_max: int) -> int:
    """Return the width of block `b{resolution}` (Karras et al. 2018, `fmap_base`, `fmap_max`)."""
    return max(1, min(channel_base // resolution, channel_max))


def low_precision_dtype(name: str) -> torch.dtype:
    """Return the dtype called `float16` or `bfloat16`.

    Raises:
        UserError: If `name` is neither.
    """
    if name not in ("float16", "bfloat16"):
        raise UserError(f"low_precision {name!r}: float16 or bfloat16")
    return getattr(torch, name)


def dtype_on(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which a block of this dtype computes on `device`.

    float16 is for GPUs: a CPU has no arithmetic for it and is slower than in float32, and its
    pictures would differ from those in training. bfloat16 runs on CPUs, too.
    """
    return torch.float32 if device.type == "cpu" and dtype == torch.float16 else dtype


def normalize_2nd_moment(x: Tensor) -> Tensor:
    """Scale each row to a mean square of 1, shape kept."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


class FullyConnectedLayer(nn.Module):
    """A linear layer with equalised learning rate (Karras et al. 2018, section 4.1)."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        act: str = "linear",
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
    ) -> None:
        super().__init__()
        self.act = act
        weight = torch.randn(out_features, in_features)
        # A sketch (framework.models.sketch) has no values to divide.
        self.weight = nn.Parameter(weight if weight.is_meta else weight / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), float(bias_init)))
        self.weight_gain = lr_multiplier / math.sqrt(in_features)
        self.bias_gain = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_features) to (N, out_features), in the dtype of `x`."""
        weight = (self.weight * self.weight_gain).to(x.dtype)
        bias = (self.bias * self.bias_gain).to(x.dtype)
        return bias_act(F.linear(x, weight, bias), act=self.act)


class Conv2dLayer(nn.Module):
    """A convolution with equalised learning rate, optional halving, bias and activation."""

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        bias: bool = True,
        act: str = "linear",
        down: int = 1,
        conv_clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.act, self.down, self.conv_clamp = act, down, conv_clamp
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.weight_gain = 1 / math.sqrt(in_channels * kernel_size**2)
        self.register_buffer("resample_filter", setup_filter(RESAMPLE_TAPS))

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        """Map features (N, C, H, W) to (N, O, H / down, W / down); `gain` scales the result.

        A leaky ReLU lets positive factors through, so its gain is part of the weights and the bias
        instead of costing a pass over the features.
        """
        act_gain = gain * (LRELU_GAIN if self.act == "lrelu" else 1.0)
        weight = (self.weight * (self.weight_gain * act_gain)).to(x.dtype)
        bias = None if self.bias is None else (self.bias * act_gain).to(x.dtype)
        x = conv2d_resample(x, weight, self.resample_filter, down=self.down, bias=bias)
        clamp = None if self.conv_clamp is None else self.conv_clamp * gain
        return bias_act(x, act=self.act, gain=1.0, clamp=clamp, overwrite=True)
