"""The StyleGAN2 discriminator (Karras et al. 2020, figure 7), with NVIDIA's names."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from framework.errors import UserError
from framework.models.digest import Digested
from framework.models.stylegan2.generator import MappingNetwork
from framework.models.stylegan2.layers import (
    RESAMPLE_TAPS,
    Conv2dLayer,
    FullyConnectedLayer,
    channels_at,
    dtype_on,
    low_precision_dtype,
    pyramid,
)
from framework.ops.upfirdn2d import setup_filter

Architecture = Literal["resnet", "orig"]


def minibatch_stddev(x: Tensor, group_size: int) -> Tensor:
    """Append the standard deviation over groups of the batch as one map: (N, C + 1, H, W).

    Karras et al. 2018, section 3. Group members lie a group-count apart in the batch; a group is
    the largest divisor of N up to `group_size`.
    """
    n, _, h, w = x.shape
    group = next(g for g in range(min(group_size, n), 0, -1) if n % g == 0)
    y = x.float().reshape(group, n // group, *x.shape[1:])
    y = (y - y.mean(dim=0)).square().mean(dim=0).add(1e-8).sqrt().mean(dim=(1, 2, 3))
    y = y.to(x.dtype).repeat(group)[:, None, None, None].expand(n, 1, h, w)
    return torch.cat([x, y], dim=1)


class DiscriminatorBlock(nn.Module):
    """A block of two convolutions, the second halving the size, with a shortcut in `resnet`.

    The block without `in_channels` reads the picture.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        out_channels: int,
        img_channels: int,
        dtype: torch.dtype = torch.float32,
        conv_clamp: float | None = None,
        architecture: Architecture = "resnet",
    ) -> None:
        super().__init__()
        self.dtype = dtype
        # Neither design uses it; the field's files have it.
        self.register_buffer("resample_filter", setup_filter(RESAMPLE_TAPS))
        if in_channels == 0:
            self.fromrgb = Conv2dLayer(
                img_channels, channels, 1, act="lrelu", conv_clamp=conv_clamp
            )
        self.conv0 = Conv2dLayer(channels, channels, 3, act="lrelu", conv_clamp=conv_clamp)
        self.conv1 = Conv2dLayer(
            channels, out_channels, 3, act="lrelu", down=2, conv_clamp=conv_clamp
        )
        if architecture == "resnet":
            self.skip = Conv2dLayer(channels, out_channels, 1, bias=False, down=2)

    def forward(self, x: Tensor, memory_format: torch.memory_format) -> Tensor:
        """Map features (N, C, h, w), or the picture in the first block, to (N, O, h/2, w/2)."""
        x = x.to(dtype_on(x.device, self.dtype), memory_format=memory_format)
        if hasattr(self, "fromrgb"):
            x = self.fromrgb(x)
        if not hasattr(self, "skip"):
            return self.conv1(self.conv0(x))
        skip = self.skip(x, gain=math.sqrt(0.5))
        x = self.conv1(self.conv0(x), gain=math.sqrt(0.5))
        return skip.add_(x)  # in place: one pass over memory less


class DiscriminatorEpilogue(nn.Module):
    """The last block: minibatch standard deviation, convolution and two dense layers."""

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        out_features: int,
        mbstd_group_size: int,
        conv_clamp: float | None,
        unconditional: bool = False,
    ) -> None:
        super().__init__()
        self.mbstd_group_size = mbstd_group_size
        extra = 1 if mbstd_group_size > 0 else 0
        self.conv = Conv2dLayer(channels + extra, channels, 3, act="lrelu", conv_clamp=conv_clamp)
        self.fc = FullyConnectedLayer(channels * size[0] * size[1], channels, act="lrelu")
        self.out = FullyConnectedLayer(channels, out_features)
        if unconditional:
            self.out_unconditional = FullyConnectedLayer(channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, C, *size) to (N, out_features), after the unconditional logit if any."""
        x = x.to(torch.float32, memory_format=torch.contiguous_format)
        if self.mbstd_group_size > 0:
            x = minibatch_stddev(x, self.mbstd_group_size)
        x = self.fc(self.conv(x).flatten(1))
        if not hasattr(self, "out_unconditional"):
            return self.out(x)
        return torch.cat([self.out_unconditional(x), self.out(x)], dim=1)


class Discriminator(Digested):
    """The discriminator, from pictures (and labels) to logits.

    Args:
        img_size: (H, W), or one number for a square.
        c_dim: Length of label vectors, 0 without; labels enter by projection (Miyato & Koyama).
        img_channels: Channels of the pictures, 1, 3 or 4.
        channel_base: Feature maps times resolution, up to the maximum.
        channel_max: Largest number of feature maps.
        mbstd_group_size: Group size of the minibatch standard deviation; 0 switches it off.
        mapping_layers: Depth of the label's mapping network.
        low_precision_blocks: Number of the largest blocks that run in `low_precision`.
        low_precision: Type of those blocks, `float16` (float32 on a CPU) or `bfloat16`.
        conv_clamp: Largest magnitude of features; None for no clamp.
        architecture: Design: `resnet` has a shortcut around each block; `orig` has none (NVIDIA's
            CIFAR-10 models).
        label_fade: Whether labels can be faded in (Shahbazi et al. 2022): a second output judges
            the picture without its label, and the first counts by `label_strength`, 1 unless a
            training run sets it.

    Raises:
        UserError: If the sizes are impossible or the architecture is unknown.
    """

    label_strength: Tensor

    def __init__(
        self,
        img_size: int | Sequence[int],
        c_dim: int = 0,
        img_channels: int = 3,
        channel_base: int = 32768,
        channel_max: int = 512,
        mbstd_group_size: int = 4,
        mapping_layers: int = 8,
        low_precision_blocks: int = 0,
        low_precision: Literal["float16", "bfloat16"] = "float16",
        conv_clamp: float | None = None,
        architecture: Architecture = "resnet",
        label_fade: bool = False,
    ) -> None:
        super().__init__()
        if architecture not in ("resnet", "orig"):
            raise UserError(f"architecture {architecture!r}: resnet or orig")
        if label_fade and c_dim == 0:
            raise UserError("label_fade: there are no labels to fade in")
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        self.config = {
            "img_size": [height, width],
            "c_dim": c_dim,
            "img_channels": img_channels,
            "channel_base": channel_base,
            "channel_max": channel_max,
            "mbstd_group_size": mbstd_group_size,
            "mapping_layers": mapping_layers,
            "low_precision_blocks": low_precision_blocks,
            "low_precision": low_precision,
            "conv_clamp": conv_clamp,
            "architecture": architecture,
            "label_fade": label_fade,
        }
        self.img_size, self.c_dim, self.img_channels = (height, width), c_dim, img_channels
        self.memory_format = torch.contiguous_format
        base, resolutions = pyramid(self.img_size)
        self.resolutions = resolutions[::-1]
        channels = {r: channels_at(r, channel_base, channel_max) for r in resolutions}
        half = low_precision_dtype(low_precision)
        for level, r in enumerate(self.resolutions[:-1]):
            low = half if level < low_precision_blocks else torch.float32
            above = 0 if level == 0 else channels[r]
            block = DiscriminatorBlock(
                above, channels[r], channels[r // 2], img_channels, low, conv_clamp, architecture
            )
            self.add_module(f"b{r}", block)
        self.label_fade = label_fade
        self.cmap_dim = channels[4] if c_dim > 0 else 0
        if c_dim > 0:
            self.mapping = MappingNetwork(
                0, c_dim, self.cmap_dim, 1, mapping_layers, w_avg_beta=None
            )
        self.b4 = DiscriminatorEpilogue(
            channels[4], base, self.cmap_dim or 1, mbstd_group_size, conv_clamp, label_fade
        )
        if label_fade:
            self.register_buffer("label_strength", torch.ones(()))

    def forward(self, img: Tensor, c: Tensor | None = None) -> Tensor:
        """Map pictures (N, img_channels, H, W) in [-1, 1], labels (N, c_dim), to logits (N, 1)."""
        return self.weigh(self.heads(img, c))

    def weigh(self, heads: Tensor) -> Tensor:
        """Combine the logits of all heads, (N, 1 or 2), to (N, 1)."""
        if heads.shape[1] == 1:
            return heads
        return heads[:, :1] + self.label_strength * heads[:, 1:]

    def heads(self, img: Tensor, c: Tensor | None = None) -> Tensor:
        """Logits as of `forward`, but with `label_fade` those without and with a label, (N, 2)."""
        x = img
        for r in self.resolutions[:-1]:
            x = self.get_submodule(f"b{r}")(x, self.memory_format)
        x = self.b4(x)
        if self.c_dim == 0:
            return x
        cmap = self.mapping(None, c)[:, 0]
        logit = (x[:, -self.cmap_dim :] * cmap).sum(dim=1, keepdim=True) / math.sqrt(self.cmap_dim)
        return torch.cat([x[:, :1], logit], dim=1) if self.label_fade else logit
