"""StyleGAN2's networks (Karras et al. 2020) as they travel inside of an exported pickle.

Files of NVIDIA's kind carry the source of their classes, and this text is what ours carry. It
stands alone: torch is all that it imports, Python 3.7 and torch 1.7 are enough for it. Names of
tensors, attributes and arguments are those of the field; arguments that only tune another
implementation (`fused_modconv`) are taken and ignored.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

try:  # At hand where such files are opened; it lets networks that are built anew be stored again.
    from torch_utils.persistence import persistent_class  # type: ignore[import-not-found]
except ImportError:

    def persistent_class(cls):
        """Make a class's objects remember the arguments that they were made with."""
        initialise = cls.__init__

        def remember(self, *args, **kwargs):
            initialise(self, *args, **kwargs)
            self._init_args, self._init_kwargs = args, kwargs

        cls.__init__ = remember
        return cls


def _pyramid(img_resolution, img_size):
    """(h, w) of the smallest block, and the blocks' names: 4, 8, 16 and so on, square or not."""
    h, w = img_size or (img_resolution, img_resolution)
    levels = 0
    while max(h, w) > 7:
        h, w, levels = h // 2, w // 2, levels + 1
    return (h, w), [4 << level for level in range(levels + 1)]


def _channels(resolution, channel_base, channel_max):
    return max(1, min(channel_base // resolution, channel_max))


def _dtype(use_fp16, force_fp32, x):
    return torch.float16 if use_fp16 and not force_fp32 and x.is_cuda else torch.float32


def _fir_kernel():
    line = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return line[:, None] * line / 64


def _filtered(x, kernel, padding, stride=1, gain=1):
    weight = (kernel * gain).flip([0, 1]).to(x.dtype).repeat(x.shape[1], 1, 1, 1)
    return F.conv2d(x, weight, stride=stride, padding=padding, groups=x.shape[1])


def _upsampled(x, kernel):
    weight = (kernel * 4).to(x.dtype).repeat(x.shape[1], 1, 1, 1)
    return F.conv_transpose2d(x, weight, stride=2, padding=1, groups=x.shape[1])


def _activated(x, bias, activation="linear", gain=1.0, clamp=None):
    if bias is not None:
        x = x + bias.to(x.dtype).reshape(1, -1, *[1] * (x.ndim - 2))
    if activation == "lrelu":
        x, gain = F.leaky_relu(x, 0.2), gain * math.sqrt(2)
    x = x * gain
    return x if clamp is None else x.clamp(-clamp, clamp)


def _normalised(x):
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


def _modulated(x, weight, styles, kernel=None, up=1, demodulate=True):
    """Convolve with w'' = w' / |w'|, w' = s w (eq. 1 and 3), by scaling the activations."""
    if demodulate and x.dtype == torch.float16:  # near 1, so that nothing overflows
        largest = weight.abs().amax(dim=(1, 2, 3), keepdim=True)
        weight = weight / (largest * math.sqrt(weight[0].numel()))
        styles = styles / styles.abs().amax(dim=1, keepdim=True)
    energy = weight.square().sum(dim=(2, 3))
    x = x * styles.to(x.dtype)[:, :, None, None]
    weight = weight.to(x.dtype)
    if up == 2:
        x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        x = _filtered(x, kernel, padding=1, gain=4)
    else:
        x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    if not demodulate:
        return x
    norm = (styles.square() @ energy.t() + 1e-8).rsqrt()
    return x * norm.to(x.dtype)[:, :, None, None]


@persistent_class
class FullyConnectedLayer(nn.Module):
    """Linear layer with equalised learning rate."""

    def __init__(
        self, in_features, out_features, activation="linear", lr_multiplier=1.0, bias_init=0.0
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full([out_features], float(bias_init)))
        self.weight_gain, self.bias_gain = lr_multiplier / math.sqrt(in_features), lr_multiplier
        self.activation = activation

    def forward(self, x):
        """(N, in_features) to (N, out_features)."""
        x = F.linear(x, (self.weight * self.weight_gain).to(x.dtype))
        return _activated(x, self.bias * self.bias_gain, self.activation)


@persistent_class
class MappingNetwork(nn.Module):
    """z and label c to w, repeated for every layer unless `num_ws` is None."""

    w_avg: torch.Tensor

    def __init__(self, z_dim, c_dim, w_dim, num_ws, num_layers=8, w_avg_beta: float | None = 0.998):
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim, self.num_ws = z_dim, c_dim, w_dim, num_ws
        self.num_layers, self.w_avg_beta = num_layers, w_avg_beta
        if c_dim > 0:
            self.embed = FullyConnectedLayer(c_dim, w_dim)
        width = z_dim + (w_dim if c_dim > 0 else 0)
        for i in range(num_layers):
            self.add_module(f"fc{i}", FullyConnectedLayer(width, w_dim, "lrelu", 0.01))
            width = w_dim
        if num_ws is not None and w_avg_beta is not None:
            self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(
        self, z, c, truncation_psi=1, truncation_cutoff=None, update_emas=False, **_ignored
    ):
        """Latents (N, z_dim) and labels (N, c_dim) or None to styles (N, num_ws, w_dim)."""
        parts = [_normalised(z.float())] if self.z_dim > 0 else []
        if self.c_dim > 0:
            parts.append(_normalised(self.embed(c.float())))
        x = torch.cat(parts, dim=1)
        for i in range(self.num_layers):
            x = getattr(self, f"fc{i}")(x)
        if self.num_ws is None:
            return x
        if update_emas and self.w_avg_beta is not None:
            self.w_avg.copy_(x.detach().mean(dim=0).lerp(self.w_avg, self.w_avg_beta))
        ws = x[:, None].repeat(1, self.num_ws, 1)
        if truncation_psi == 1:
            return ws
        cutoff = self.num_ws if truncation_cutoff is None else truncation_cutoff
        pulled = self.w_avg + (ws[:, :cutoff] - self.w_avg) * truncation_psi
        return torch.cat([pulled, ws[:, cutoff:]], dim=1)


@persistent_class
class SynthesisLayer(nn.Module):
    """Modulated convolution, noise, bias, leaky ReLU."""

    noise_const: torch.Tensor

    def __init__(self, in_channels, out_channels, w_dim, size, up=1, conv_clamp=None):
        super().__init__()
        self.size, self.up, self.use_noise, self.conv_clamp = size, up, True, conv_clamp
        self.affine = FullyConnectedLayer(w_dim, in_channels, bias_init=1)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(*size))
        self.register_buffer("resample_filter", _fir_kernel())

    def forward(self, x, w, noise_mode="random", gain=1, **_ignored):
        """(N, C, h, w) and w (N, w_dim) to (N, out_channels, *size)."""
        assert noise_mode in ("random", "const", "none"), noise_mode
        x = _modulated(x, self.weight, self.affine(w), self.resample_filter, self.up)
        if noise_mode != "none":
            noise = self.noise_const
            if noise_mode == "random":
                noise = torch.randn(x.shape[0], 1, *self.size, device=x.device)
            x = x + (noise * self.noise_strength).to(x.dtype)
        clamp = None if self.conv_clamp is None else self.conv_clamp * gain
        return _activated(x, self.bias, "lrelu", gain, clamp)


@persistent_class
class ToRGBLayer(nn.Module):
    """1x1 modulated convolution to colours, without demodulation."""

    def __init__(self, in_channels, out_channels, w_dim, conv_clamp=None):
        super().__init__()
        self.conv_clamp, self.weight_gain = conv_clamp, 1 / math.sqrt(in_channels)
        self.affine = FullyConnectedLayer(w_dim, in_channels, bias_init=1)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x, w, **_ignored):
        """(N, C, h, w) and w (N, w_dim) to (N, img_channels, h, w)."""
        x = _modulated(x, self.weight, self.affine(w) * self.weight_gain, demodulate=False)
        return _activated(x, self.bias, clamp=self.conv_clamp)


@persistent_class
class SynthesisBlock(nn.Module):
    """One resolution: two convolutions (one in the first block) and a colour layer.

    `skip` blocks all have colours, the others only where they are the last; `resnet` ones add what
    is below.
    """

    def __init__(
        self, in_channels, out_channels, w_dim, resolution, size, img_channels, use_fp16,
        conv_clamp, architecture, is_last,
    ):  # fmt: skip
        super().__init__()
        self.in_channels, self.resolution, self.use_fp16 = in_channels, resolution, use_fp16
        self.architecture, self.is_last = architecture, is_last
        self.num_conv = 2 if in_channels else 1
        self.num_torgb = int(is_last or architecture == "skip")
        self.register_buffer("resample_filter", _fir_kernel())
        if in_channels == 0:
            self.const = nn.Parameter(torch.randn(out_channels, *size))
        else:
            self.conv0 = SynthesisLayer(in_channels, out_channels, w_dim, size, 2, conv_clamp)
        self.conv1 = SynthesisLayer(out_channels, out_channels, w_dim, size, 1, conv_clamp)
        if self.num_torgb:
            self.torgb = ToRGBLayer(out_channels, img_channels, w_dim, conv_clamp)
        if in_channels and architecture == "resnet":
            self.skip = Conv2dLayer(in_channels, out_channels, 1, bias=False)

    def forward(self, x, img, ws, force_fp32=False, **layer_kwargs):
        """Features and picture of the block below, with styles (N, 3, w_dim), to this one's."""
        dtype = _dtype(self.use_fp16, force_fp32, ws)
        styles, below, gain = iter(ws.unbind(dim=1)), 0, 1
        if self.in_channels == 0:
            x = self.const.to(dtype)[None].repeat(ws.shape[0], 1, 1, 1)
        else:
            x = x.to(dtype)
            if self.architecture == "resnet":
                gain = math.sqrt(0.5)
                below = _upsampled(self.skip(x, gain), self.skip.resample_filter)
            x = self.conv0(x, next(styles), **layer_kwargs)
        x = self.conv1(x, next(styles), gain=gain, **layer_kwargs) + below
        if not self.num_torgb:
            return x, img
        rgb = self.torgb(x, next(styles)).float()
        return x, rgb if img is None else _upsampled(img, self.resample_filter) + rgb


@persistent_class
class SynthesisNetwork(nn.Module):
    """Styles to pictures, block by block."""

    def __init__(
        self, w_dim, img_resolution, img_channels, channel_base=32768, channel_max=512,
        num_fp16_res=0, conv_clamp=None, img_size=None, architecture="skip",
    ):  # fmt: skip
        super().__init__()
        (h, w), self.block_resolutions = _pyramid(img_resolution, img_size)
        self.w_dim, self.img_resolution, self.img_channels = w_dim, img_resolution, img_channels
        self.num_fp16_res, self.num_ws, below = num_fp16_res, 1, 0
        for level, r in enumerate(self.block_resolutions):
            half = level >= max(len(self.block_resolutions) - num_fp16_res, 1)
            size, channels = (h << level, w << level), _channels(r, channel_base, channel_max)
            block = SynthesisBlock(
                below, channels, w_dim, r, size, img_channels, half, conv_clamp,
                architecture, r == self.block_resolutions[-1],
            )  # fmt: skip
            self.add_module(f"b{r}", block)
            self.num_ws, below = self.num_ws + block.num_conv, channels

    def forward(self, ws, **block_kwargs):
        """Styles (N, num_ws, w_dim) to pictures (N, img_channels, H, W)."""
        assert ws.shape[1:] == (self.num_ws, self.w_dim), tuple(ws.shape)
        ws, first, x, img = ws.float(), 0, None, None
        for r in self.block_resolutions:
            block = getattr(self, f"b{r}")
            styles = ws[:, first : first + block.num_conv + block.num_torgb]
            x, img = block(x, img, styles, **block_kwargs)
            first += block.num_conv
        return img


@persistent_class
class Generator(nn.Module):
    """Mapping and synthesis network; `img_size` (H, W) only where a picture is not square."""

    def __init__(
        self, z_dim, c_dim, w_dim, img_resolution, img_channels, mapping_kwargs=None,
        synthesis_kwargs=None, img_size=None, **more_synthesis_kwargs,
    ):  # fmt: skip
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim = z_dim, c_dim, w_dim
        self.img_resolution, self.img_channels = img_resolution, img_channels
        options = {**more_synthesis_kwargs, **(synthesis_kwargs or {}), "img_size": img_size}
        self.synthesis = SynthesisNetwork(w_dim, img_resolution, img_channels, **options)
        self.num_ws = self.synthesis.num_ws
        self.mapping = MappingNetwork(z_dim, c_dim, w_dim, self.num_ws, **(mapping_kwargs or {}))

    def forward(self, z, c, truncation_psi=1, truncation_cutoff=None, update_emas=False, **kwargs):
        """Latents (N, z_dim), labels (N, c_dim) or None to pictures (N, img_channels, H, W)."""
        ws = self.mapping(z, c, truncation_psi, truncation_cutoff, update_emas)
        return self.synthesis(ws, **kwargs)


@persistent_class
class Conv2dLayer(nn.Module):
    """Convolution with equalised learning rate, optional halving, bias and leaky ReLU."""

    def __init__(
        self, in_channels, out_channels, kernel_size, bias=True, activation="linear", down=1,
        conv_clamp=None,
    ):  # fmt: skip
        super().__init__()
        self.activation, self.down, self.conv_clamp = activation, down, conv_clamp
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.weight_gain = 1 / math.sqrt(in_channels * kernel_size**2)
        self.register_buffer("resample_filter", _fir_kernel())

    def forward(self, x, gain=1):
        """(N, C, h, w) to (N, out_channels, h / down, w / down)."""
        weight, side = (self.weight * self.weight_gain).to(x.dtype), self.weight.shape[-1]
        if self.down == 1:
            x = F.conv2d(x, weight, padding=side // 2)
        elif side == 1:
            x = F.conv2d(_filtered(x, self.resample_filter, padding=1, stride=2), weight)
        else:
            x = F.conv2d(_filtered(x, self.resample_filter, padding=2), weight, stride=2)
        clamp = None if self.conv_clamp is None else self.conv_clamp * gain
        return _activated(x, self.bias, self.activation, gain, clamp)


@persistent_class
class DiscriminatorBlock(nn.Module):
    """Two convolutions, the second halving the size; the first block reads the picture."""

    def __init__(
        self, in_channels, channels, out_channels, resolution, img_channels, use_fp16, conv_clamp,
        architecture,
    ):  # fmt: skip
        super().__init__()
        self.architecture = architecture
        self.in_channels, self.resolution, self.use_fp16 = in_channels, resolution, use_fp16
        self.register_buffer("resample_filter", _fir_kernel())
        options = {"activation": "lrelu", "conv_clamp": conv_clamp}
        if in_channels == 0:
            self.fromrgb = Conv2dLayer(img_channels, channels, 1, **options)
        self.conv0 = Conv2dLayer(channels, channels, 3, **options)
        self.conv1 = Conv2dLayer(channels, out_channels, 3, down=2, **options)
        if architecture == "resnet":
            self.skip = Conv2dLayer(channels, out_channels, 1, bias=False, down=2)

    def forward(self, x, img, force_fp32=False, **_ignored):
        """Features of the block above, or the picture, to features of half the size."""
        x = img if self.in_channels == 0 else x
        x = x.to(_dtype(self.use_fp16, force_fp32, x))
        if self.in_channels == 0:
            x = self.fromrgb(x)
        if self.architecture != "resnet":
            return self.conv1(self.conv0(x)), None
        gain = math.sqrt(0.5)
        return self.skip(x, gain) + self.conv1(self.conv0(x), gain), None


@persistent_class
class MinibatchStdLayer(nn.Module):
    """Appends the standard deviation over groups of the batch as one map."""

    def __init__(self, group_size):
        super().__init__()
        self.group_size = group_size

    def forward(self, x):
        """(N, C, h, w) to (N, C + 1, h, w); groups are as large as N allows, up to group_size."""
        n = x.shape[0]
        group = max(g for g in range(1, min(self.group_size, n) + 1) if n % g == 0)
        y = x.reshape(group, n // group, *x.shape[1:])
        y = ((y - y.mean(dim=0)).square().mean(dim=0) + 1e-8).sqrt().mean(dim=(1, 2, 3))
        return torch.cat([x, y.repeat(group)[:, None, None, None].expand_as(x[:, :1])], dim=1)


@persistent_class
class DiscriminatorEpilogue(nn.Module):
    """Minibatch standard deviation, a convolution and two dense layers."""

    def __init__(
        self, in_channels, cmap_dim, size, conv_clamp, mbstd_group_size=4, mbstd_num_channels=1
    ):
        super().__init__()
        self.cmap_dim, width = cmap_dim, in_channels + mbstd_num_channels
        self.mbstd = MinibatchStdLayer(mbstd_group_size) if mbstd_num_channels else None
        self.conv = Conv2dLayer(width, in_channels, 3, True, "lrelu", conv_clamp=conv_clamp)
        self.fc = FullyConnectedLayer(in_channels * size[0] * size[1], in_channels, "lrelu")
        self.out = FullyConnectedLayer(in_channels, cmap_dim or 1)

    def forward(self, x, img, cmap, **_ignored):
        """Features (N, C, *size) and mapped labels (N, cmap_dim) or None to logits (N, 1)."""
        x = x.float()
        x = x if self.mbstd is None else self.mbstd(x)
        x = self.out(self.fc(self.conv(x).flatten(1)))
        if cmap is None:
            return x
        return (x * cmap).sum(dim=1, keepdim=True) / math.sqrt(self.cmap_dim)


@persistent_class
class Discriminator(nn.Module):
    """Pictures and labels to logits; `img_size` (H, W) only where a picture is not square."""

    def __init__(
        self, c_dim, img_resolution, img_channels, architecture="resnet", channel_base=32768,
        channel_max=512, num_fp16_res=0, conv_clamp=None, mapping_kwargs=None, epilogue_kwargs=None,
        img_size=None,
    ):  # fmt: skip
        super().__init__()
        self.c_dim, self.img_resolution, self.img_channels = c_dim, img_resolution, img_channels
        size, resolutions = _pyramid(img_resolution, img_size)
        self.block_resolutions = resolutions[:0:-1]
        channels = {r: _channels(r, channel_base, channel_max) for r in resolutions}
        above, last = 0, channels[4]
        for level, r in enumerate(self.block_resolutions):
            here, below, half = channels[r], channels[r // 2], level < num_fp16_res
            block = DiscriminatorBlock(
                above, here, below, r, img_channels, half, conv_clamp, architecture
            )
            self.add_module(f"b{r}", block)
            above = below
        if c_dim > 0:
            options = mapping_kwargs or {}
            self.mapping = MappingNetwork(0, c_dim, last, None, w_avg_beta=None, **options)
        options, cmap_dim = epilogue_kwargs or {}, last if c_dim > 0 else 0
        self.b4 = DiscriminatorEpilogue(last, cmap_dim, size, conv_clamp, **options)

    def forward(self, img, c, **block_kwargs):
        """Pictures (N, img_channels, H, W) in [-1, 1] and labels (N, c_dim) to logits (N, 1)."""
        x = None
        for r in self.block_resolutions:
            x, img = getattr(self, f"b{r}")(x, img, **block_kwargs)
        return self.b4(x, img, self.mapping(None, c) if self.c_dim > 0 else None)


@persistent_class
class NoDiscriminator(nn.Module):
    """Stands where a discriminator has to be in files that were exported without one."""

    def __init__(self, c_dim, img_resolution, img_channels, **_ignored):
        super().__init__()
        self.c_dim, self.img_resolution, self.img_channels = c_dim, img_resolution, img_channels

    def forward(self, img, c, **_ignored):
        """Say that there is none."""
        raise RuntimeError("this file was exported without a discriminator")
