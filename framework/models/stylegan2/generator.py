"""The StyleGAN2 generator (Karras et al. 2020), with NVIDIA's names for every tensor."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from framework.errors import UserError
from framework.models.digest import Digested
from framework.models.stylegan2.layers import (
    RESAMPLE_TAPS,
    Conv2dLayer,
    FullyConnectedLayer,
    channels_at,
    dtype_on,
    low_precision_dtype,
    normalize_2nd_moment,
    pyramid,
)
from framework.ops.bias_act import LRELU_GAIN
from framework.ops.modulated_conv2d import Modulation, modulated_conv2d
from framework.ops.upfirdn2d import setup_filter, upsample2d

NoiseMode = Literal["random", "const", "none"]
Architecture = Literal["skip", "resnet", "orig"]


class MappingNetwork(nn.Module):
    """The mapping from z (and label c) to w for every layer, with the mean of w for truncation.

    Without a decay of that mean (`w_avg_beta` None) there is none, as in a discriminator.

    With `label_fade` the label's embedding is scaled by `label_strength`, 1 unless a training run
    that fades labels in sets it (Shahbazi et al. 2022).
    """

    w_avg: Tensor
    label_strength: Tensor

    def __init__(
        self,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        num_ws: int,
        num_layers: int = 8,
        lr_multiplier: float = 0.01,
        w_avg_beta: float | None = 0.998,
        label_fade: bool = False,
    ) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim, self.num_ws = z_dim, c_dim, w_dim, num_ws
        self.num_layers, self.w_avg_beta, self.label_fade = num_layers, w_avg_beta, label_fade
        if label_fade:
            self.register_buffer("label_strength", torch.ones(()))
        if c_dim > 0:
            self.embed = FullyConnectedLayer(c_dim, w_dim)
        features = [z_dim + (w_dim if c_dim > 0 else 0)] + [w_dim] * num_layers
        for i in range(num_layers):
            layer = FullyConnectedLayer(features[i], features[i + 1], "lrelu", lr_multiplier)
            self.add_module(f"fc{i}", layer)
        if w_avg_beta is not None:
            self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(
        self,
        z: Tensor | None,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Map latents to styles.

        Args:
            z: Standard normal latents, shape (N, z_dim); ignored where `z_dim` is 0.
            c: Labels, shape (N, c_dim); required when `c_dim` > 0.
            truncation_psi: Truncation: 1 leaves w alone, 0 gives `w_avg` (Karras et al. 2019, B).
            truncation_cutoff: Number of first layers to truncate; all if None.

        Returns:
            `ws`, shape (N, num_ws, w_dim).
        """
        parts = []
        if self.z_dim > 0:
            assert z is not None and z.shape[1:] == (self.z_dim,), f"z is (N, {self.z_dim})"
            parts.append(normalize_2nd_moment(z.float()))
        if self.c_dim > 0:
            assert c is not None and c.shape[1:] == (self.c_dim,), f"c is (N, {self.c_dim})"
            embedding = normalize_2nd_moment(self.embed(c.float()))
            parts.append(embedding * self.label_strength if self.label_fade else embedding)
        x = torch.cat(parts, dim=1)
        for i in range(self.num_layers):
            x = getattr(self, f"fc{i}")(x)
        ws = x[:, None].repeat(1, self.num_ws, 1)
        return self.truncate(ws, truncation_psi, truncation_cutoff)

    def truncate(self, ws: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
        """Pull the first `cutoff` layers (all if None) of `ws` towards `w_avg` by 1 - psi."""
        if psi == 1.0:
            return ws
        cutoff = self.num_ws if cutoff is None else cutoff
        return torch.cat([self.w_avg.lerp(ws[:, :cutoff], psi), ws[:, cutoff:]], dim=1)

    @torch.no_grad()
    def update_w_avg(self, w: Tensor) -> None:
        """Move `w_avg` towards the mean of a batch of w, shape (N, w_dim)."""
        assert self.w_avg_beta is not None
        self.w_avg.copy_(w.detach().mean(dim=0).lerp(self.w_avg, self.w_avg_beta))


class SynthesisLayer(nn.Module):
    """A layer: modulated convolution, noise, bias, leaky ReLU."""

    noise_const: Tensor
    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        size: tuple[int, int],
        up: int = 1,
        conv_clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.up, self.conv_clamp, self.size = up, conv_clamp, size
        self.affine = FullyConnectedLayer(w_dim, in_channels, bias_init=1)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(*size))
        self.register_buffer("resample_filter", setup_filter(RESAMPLE_TAPS))

    def forward(
        self,
        x: Tensor,
        w: Tensor,
        noise_mode: NoiseMode = "random",
        rng: torch.Generator | None = None,
        modulation: Modulation = "scaled",
        gain: float = 1.0,
    ) -> Tensor:
        """Map features (N, C, h, w) and w (N, w_dim) to features (N, O, *size).

        The leaky ReLU's gain is part of the demodulation, the noise and the bias: one pass less.
        """
        act_gain = gain * LRELU_GAIN
        noise = self._noise(x, noise_mode, rng)
        return modulated_conv2d(
            x,
            self.weight,
            self.affine(w),
            self.resample_filter,
            up=self.up,
            gain=act_gain,
            modulation=modulation,
            noise=None if noise is None else noise * (self.noise_strength * act_gain),
            bias=self.bias * act_gain,
            act="lrelu",
            clamp=None if self.conv_clamp is None else self.conv_clamp * gain,
        )

    def _noise(self, x: Tensor, mode: NoiseMode, rng: torch.Generator | None) -> Tensor | None:
        if mode == "random":
            return torch.randn((x.shape[0], 1, *self.size), generator=rng, device=x.device)
        return self.noise_const if mode == "const" else None


class ToRGBLayer(nn.Module):
    """A 1x1 modulated convolution to colours, without demodulation."""

    def __init__(
        self, in_channels: int, out_channels: int, w_dim: int, conv_clamp: float | None = None
    ) -> None:
        super().__init__()
        self.conv_clamp = conv_clamp
        self.affine = FullyConnectedLayer(w_dim, in_channels, bias_init=1)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.weight_gain = 1 / math.sqrt(in_channels)

    def forward(self, x: Tensor, w: Tensor, modulation: Modulation = "scaled") -> Tensor:
        """Map features (N, C, H, W) and w (N, w_dim) to colours (N, img_channels, H, W)."""
        styles = self.affine(w) * self.weight_gain
        return modulated_conv2d(
            x,
            self.weight,
            styles,
            demodulate=False,
            modulation=modulation,
            bias=self.bias,
            clamp=self.conv_clamp,
        )


class SynthesisBlock(nn.Module):
    """The layers of one resolution: two convolutions (one in the first) and a colour layer.

    Karras et al. 2020, figure 7: the colours of all `skip` blocks are added up; in the other two
    architectures only the last block has colours, and `resnet` adds to each block's features those
    of the block below, upsampled, both by the square root of a half.
    """

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        size: tuple[int, int],
        img_channels: int,
        dtype: torch.dtype = torch.float32,
        conv_clamp: float | None = None,
        architecture: Architecture = "skip",
        is_last: bool = True,
    ) -> None:
        super().__init__()
        self.size, self.dtype, self.is_first = size, dtype, in_channels == 0
        self.has_shortcut = architecture == "resnet" and not self.is_first
        self.has_colours = architecture == "skip" or is_last
        self.num_conv = 1 if self.is_first else 2
        self.register_buffer("resample_filter", setup_filter(RESAMPLE_TAPS))
        if self.is_first:
            self.const = nn.Parameter(torch.randn(out_channels, *size))
        else:
            self.conv0 = SynthesisLayer(in_channels, out_channels, w_dim, size, 2, conv_clamp)
        self.conv1 = SynthesisLayer(out_channels, out_channels, w_dim, size, 1, conv_clamp)
        if self.has_colours:
            self.torgb = ToRGBLayer(out_channels, img_channels, w_dim, conv_clamp)
        if self.has_shortcut:
            self.skip = Conv2dLayer(in_channels, out_channels, 1, bias=False)

    def forward(
        self,
        x: Tensor | None,
        img: Tensor | None,
        ws: Tensor,
        memory_format: torch.memory_format = torch.contiguous_format,
        **layer_options,
    ) -> tuple[Tensor, Tensor | None]:
        """Map features and running picture of the block below to those of this one.

        Args:
            x: Features (N, C, h/2, w/2), None in the first block.
            img: Running picture (N, img_channels, h/2, w/2), float32, None in the first block.
            ws: Styles of this block's layers and its colour layer, (N, num_conv + 1, w_dim).
            memory_format: Layout of the features.
            **layer_options: Options of the layers.

        Returns:
            Features (N, O, h, w) in the block's dtype, picture (N, img_channels, h, w) float32 or
            None before the first colours.
        """
        dtype = dtype_on(ws.device, self.dtype)
        if x is None:
            x = self.const.to(dtype).expand(ws.shape[0], *self.const.shape)
            x = x.contiguous(memory_format=memory_format)
            below = None
        else:
            x = x.to(dtype, memory_format=memory_format)
            below = x if self.has_shortcut else None
            x = self.conv0(x, ws[:, 0], **layer_options)
        gain = 1.0 if below is None else math.sqrt(0.5)
        features: Tensor = self.conv1(x, ws[:, self.num_conv - 1], gain=gain, **layer_options)
        if below is not None:
            features = features + upsample2d(self.skip(below, gain), self.skip.resample_filter)
        if not self.has_colours:
            return features, img
        rgb = self.torgb(features, ws[:, self.num_conv], layer_options.get("modulation", "scaled"))
        rgb = rgb.to(torch.float32, memory_format=torch.contiguous_format)
        return features, rgb if img is None else upsample2d(img, self.resample_filter) + rgb


@dataclass(frozen=True)
class PartialSynthesis:
    """A picture in the making: the state after block `b{resolution}`.

    Attributes:
        x: Features of that block, shape (N, C, h, w).
        img: Running picture of that block, shape (N, img_channels, h, w); None before the last
            block where the architecture is not `skip`.
        resolution: Nominal resolution of the block.
    """

    x: Tensor
    img: Tensor | None
    resolution: int


class SynthesisNetwork(nn.Module):
    """The synthesis from styles to pictures, block by block."""

    def __init__(
        self,
        w_dim: int,
        img_size: Sequence[int],
        img_channels: int,
        channel_base: int,
        channel_max: int,
        low_precision_blocks: int = 0,
        low_precision: torch.dtype = torch.float16,
        conv_clamp: float | None = None,
        architecture: Architecture = "skip",
    ) -> None:
        super().__init__()
        self.w_dim, self.img_channels = w_dim, img_channels
        base, self.resolutions = pyramid(img_size)
        self.modulation: Modulation = "scaled"
        self.memory_format = torch.contiguous_format
        below = 0
        for level, resolution in enumerate(self.resolutions):
            channels = channels_at(resolution, channel_base, channel_max)
            low = level > 0 and level >= len(self.resolutions) - low_precision_blocks
            block = SynthesisBlock(
                below,
                channels,
                w_dim,
                (base[0] << level, base[1] << level),
                img_channels,
                low_precision if low else torch.float32,
                conv_clamp,
                architecture,
                resolution == self.resolutions[-1],
            )
            self.add_module(f"b{resolution}", block)
            below = channels
        self.num_ws = sum(block.num_conv for block in self.blocks) + 1

    @property
    def blocks(self) -> list[SynthesisBlock]:
        """The blocks from small to large."""
        return [self.get_submodule(f"b{r}") for r in self.resolutions]  # type: ignore[misc]

    def block_size(self, resolution: int) -> tuple[int, int]:
        """Return (h, w) of the features of block `b{resolution}`."""
        return self.get_submodule(f"b{resolution}").size  # type: ignore[return-value]

    def forward(
        self, ws: Tensor, noise_mode: NoiseMode = "random", rng: torch.Generator | None = None
    ) -> Tensor:
        """Map styles (N, num_ws, w_dim) to pictures (N, img_channels, H, W), about [-1, 1].

        Args:
            ws: Styles of every layer.
            noise_mode: Noise: `random` is drawn anew, `const` is the stored one, `none` is none.
            rng: Source of random noise; torch's default generator if None.
        """
        return _whole(self.partial(ws, self.resolutions[-1], noise_mode, rng))

    def partial(
        self,
        ws: Tensor,
        resolution: int,
        noise_mode: NoiseMode = "const",
        rng: torch.Generator | None = None,
    ) -> PartialSynthesis:
        """Synthesise up to and including block `b{resolution}`."""
        assert ws.shape[1:] == (self.num_ws, self.w_dim), f"ws: {tuple(ws.shape)}"
        stop = self.resolutions.index(resolution) + 1
        return self._run(ws, 0, stop, None, None, noise_mode, rng)

    def extend(
        self,
        partial: PartialSynthesis,
        ws: Tensor,
        resolution: int,
        noise_mode: NoiseMode = "const",
        rng: torch.Generator | None = None,
    ) -> PartialSynthesis:
        """Continue from `partial` up to and including the larger block `b{resolution}`."""
        start = self.resolutions.index(partial.resolution) + 1
        stop = self.resolutions.index(resolution) + 1
        return self._run(ws, start, stop, partial.x, partial.img, noise_mode, rng)

    def finish(
        self,
        partial: PartialSynthesis,
        ws: Tensor,
        noise_mode: NoiseMode = "const",
        rng: torch.Generator | None = None,
    ) -> Tensor:
        """Continue from `partial` to the picture, shape (N, img_channels, H, W)."""
        if partial.resolution == self.resolutions[-1]:
            return _whole(partial)
        return _whole(self.extend(partial, ws, self.resolutions[-1], noise_mode, rng))

    def _run(self, ws, start, stop, x, img, noise_mode, rng) -> PartialSynthesis:
        """Run blocks[start:stop] on the state (x, img)."""
        ws = ws.float()
        blocks = self.blocks
        first = sum(block.num_conv for block in blocks[:start])
        for block in blocks[start:stop]:
            x, img = block(
                x,
                img,
                ws[:, first : first + block.num_conv + 1],
                self.memory_format,
                noise_mode=noise_mode,
                rng=rng,
                modulation=self.modulation,
            )
            first += block.num_conv
        return PartialSynthesis(x, img, self.resolutions[stop - 1])


def _whole(partial: PartialSynthesis) -> Tensor:
    assert partial.img is not None, "the last block has colours"
    return partial.img


class Generator(Digested):
    """The generator: mapping and synthesis network with one set of sizes.

    Args:
        img_size: (H, W), or one number for a square; base * 2^k, see `layers.pyramid`.
        z_dim: Length of z; 0 where labels alone make the pictures.
        c_dim: Length of label vectors, 0 without labels.
        w_dim: Length of w.
        img_channels: Channels of the pictures: 1 grey, 3 RGB, 4 RGBA.
        mapping_layers: Depth of the mapping network; 8 in the paper, 2 in NVIDIA's `auto`.
        channel_base: Feature maps times resolution, up to the maximum.
        channel_max: Largest number of feature maps.
        low_precision_blocks: Number of the largest blocks that run in `low_precision`.
        low_precision: Type of those blocks, `float16` (float32 on a CPU) or `bfloat16`.
        conv_clamp: Largest magnitude of features, required for float16; None for no clamp.
        w_avg_beta: Decay of the running mean of w.
        label_fade: Whether labels can be faded in, see `MappingNetwork`.
        architecture: Design of the blocks, see `SynthesisBlock`; StyleGAN2's is `skip`.

    Raises:
        UserError: If the sizes are impossible.
    """

    def __init__(
        self,
        img_size: int | Sequence[int],
        z_dim: int = 512,
        c_dim: int = 0,
        w_dim: int = 512,
        img_channels: int = 3,
        mapping_layers: int = 8,
        channel_base: int = 32768,
        channel_max: int = 512,
        low_precision_blocks: int = 0,
        low_precision: Literal["float16", "bfloat16"] = "float16",
        conv_clamp: float | None = None,
        w_avg_beta: float = 0.998,
        label_fade: bool = False,
        architecture: Architecture = "skip",
    ) -> None:
        super().__init__()
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        self.config = {
            "img_size": [height, width],
            "z_dim": z_dim,
            "c_dim": c_dim,
            "w_dim": w_dim,
            "img_channels": img_channels,
            "mapping_layers": mapping_layers,
            "channel_base": channel_base,
            "channel_max": channel_max,
            "low_precision_blocks": low_precision_blocks,
            "low_precision": low_precision,
            "conv_clamp": conv_clamp,
            "w_avg_beta": w_avg_beta,
            "label_fade": label_fade,
        }
        if architecture != "skip":  # left out otherwise: older versions know only `skip`
            self.config["architecture"] = architecture
        for name in ("w_dim", "mapping_layers", "channel_base", "channel_max"):
            if self.config[name] < 1:
                raise UserError(f"{name} {self.config[name]}: must be at least 1")
        if z_dim < (c_dim == 0):
            raise UserError(f"z_dim {z_dim}: must be at least 1, or 0 where there are labels")
        if architecture not in get_args(Architecture):
            choices = ", ".join(get_args(Architecture))
            raise UserError(f"architecture {architecture!r}: one of {choices}")
        if img_channels not in (1, 3, 4):
            raise UserError(f"img_channels {img_channels}: 1 (grey), 3 (RGB) or 4 (RGBA)")
        if label_fade and c_dim == 0:
            raise UserError("label_fade: there are no labels to fade in")
        self.img_size = (height, width)
        self.z_dim, self.c_dim, self.w_dim = z_dim, c_dim, w_dim
        self.img_channels = img_channels
        self.synthesis = SynthesisNetwork(
            w_dim,
            self.img_size,
            img_channels,
            channel_base,
            channel_max,
            low_precision_blocks,
            low_precision_dtype(low_precision),
            conv_clamp,
            architecture,
        )
        self.num_ws = self.synthesis.num_ws
        self.mapping = MappingNetwork(
            z_dim,
            c_dim,
            w_dim,
            self.num_ws,
            mapping_layers,
            w_avg_beta=w_avg_beta,
            label_fade=label_fade,
        )

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        noise_mode: NoiseMode = "const",
        rng: torch.Generator | None = None,
    ) -> Tensor:
        """Map latents (N, z_dim) and labels (N, c_dim) to pictures (N, img_channels, H, W)."""
        ws = self.mapping(z, c, truncation_psi, truncation_cutoff)
        return self.synthesis(ws, noise_mode, rng)
