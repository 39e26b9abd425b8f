"""Weight (de)modulated convolution (Karras et al. 2020, StyleGAN2, section 2.2), in two ways."""

from typing import Literal

import torch
from torch import Tensor

from framework.ops.bias_act import bias_act
from framework.ops.conv2d_resample import conv2d_resample
from framework.ops.modulate_act import modulate_act

Modulation = Literal["scaled", "grouped"]
DEMOD_EPS = 1e-8


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    kernel: Tensor | None = None,
    up: int = 1,
    demodulate: bool = True,
    gain: float = 1.0,
    modulation: Modulation = "scaled",
    noise: Tensor | None = None,
    bias: Tensor | None = None,
    act: str = "linear",
    clamp: float | None = None,
) -> Tensor:
    """Convolve each sample with weights scaled by its own style, normalised to unit variance.

    w' = s_i * w_oik;  w'' = w' / sqrt(sum_ik w'^2 + eps)   (StyleGAN2, Eq. 1 and 3)

    `scaled` multiplies the activations before and after one shared convolution; `grouped` makes
    the weights of each sample and convolves them as groups. They agree up to rounding. Gradients
    to the styles need no weight gradient in the scaled form, which is therefore the faster one in
    training and in editing; and noise, bias and activation are almost free there.

    Args:
        x: Features, shape (N, C, H, W).
        weight: Filters, shape (O, C, k, k).
        styles: Factor of each channel, shape (N, C).
        kernel: FIR kernel when `up` is 2.
        up: Upsampling factor, 1 or 2.
        demodulate: Whether to normalise; colour layers do not.
        gain: Constant factor on the result, free in the scaled form.
        modulation: Form of the computation, `scaled` or `grouped`.
        noise: Added to the result, shape (N, 1, H', W'), (1, 1, H', W') or (H', W'), or None.
        bias: Added to the result, shape (O,), or None.
        act: Activation of all that, without a gain of its own: `lrelu` or `linear`.
        clamp: Largest magnitude then, or None.

    Returns:
        Features, shape (N, O, H * up, W * up), in the dtype of `x`.
    """
    n, channels = styles.shape
    assert x.shape[:2] == (n, channels) and weight.shape[1] == channels
    if demodulate and x.dtype == torch.float16:
        weight, styles = _normalised_for_half(weight, styles)
    if modulation == "scaled" and demodulate:
        x = conv2d_resample(modulate_act(x, styles), weight.to(x.dtype), kernel, up=up)
        return modulate_act(x, demodulation(weight, styles) * gain, noise, bias, act, clamp)
    if modulation == "grouped":
        x = _grouped(x, weight, styles, kernel, up, demodulate, gain)
    elif weight.shape[2:] == (1, 1) and up == 1:
        x = _mix_channels(x, weight * gain, styles)
    else:
        weight = (weight * gain).to(x.dtype)
        x = conv2d_resample(modulate_act(x, styles), weight, kernel, up=up)
    x = x if noise is None else x + noise.to(x.dtype)
    return bias_act(x, bias, act, gain=1.0, clamp=clamp, overwrite=True)


def _grouped(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    kernel: Tensor | None,
    up: int,
    demodulate: bool,
    gain: float,
) -> Tensor:
    """Convolve each sample, as a group, with its own weights."""
    n = len(styles)
    per_sample = weight[None] * styles[:, None, :, None, None]
    if demodulate:
        per_sample = per_sample * demodulation(weight, styles)[:, :, None, None, None]
    grouped = (per_sample * gain).to(x.dtype).flatten(0, 1)
    x = conv2d_resample(x.reshape(1, -1, *x.shape[2:]), grouped, kernel, up=up, groups=n)
    return x.reshape(n, -1, *x.shape[2:])


def _mix_channels(x: Tensor, weight: Tensor, styles: Tensor) -> Tensor:
    """Modulated 1x1 convolution as one matrix product a sample, without a scaled copy of x."""
    mixing = (weight[:, :, 0, 0] * styles[:, None]).to(x.dtype)  # (N, O, C)
    n, _, h, w = x.shape
    if x.is_contiguous(memory_format=torch.channels_last):
        pixels = x.permute(0, 2, 3, 1).reshape(n, h * w, -1)  # a view
        return (pixels @ mixing.mT).reshape(n, h, w, -1).permute(0, 3, 1, 2)
    return (mixing @ x.reshape(n, -1, h * w)).reshape(n, -1, h, w)


def demodulation(weight: Tensor, styles: Tensor) -> Tensor:
    """The reciprocal norm of each sample's modulated filters (StyleGAN2, Eq. 3), shape (N, O)."""
    energy = weight.square().sum(dim=(2, 3))
    return torch.rsqrt(styles.square() @ energy.t() + DEMOD_EPS)


def _normalised_for_half(weight: Tensor, styles: Tensor) -> tuple[Tensor, Tensor]:
    """Bring weights and styles near 1 so that float16 cannot overflow; demodulation undoes it."""
    fan_in = weight[0].numel()
    weight = weight / (weight.abs().amax(dim=(1, 2, 3), keepdim=True) * fan_in**0.5)
    return weight, styles / styles.abs().amax(dim=1, keepdim=True)
