"""Bias, leaky ReLU, gain and clamp: what follows each convolution of StyleGAN2."""

import math

import torch.nn.functional as F
from torch import Tensor

LRELU_SLOPE = 0.2
LRELU_GAIN = math.sqrt(2.0)  # keeps the second moment of a unit normal through the leaky ReLU


def bias_act(
    x: Tensor,
    bias: Tensor | None = None,
    act: str = "lrelu",
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    """`clamp(act(x + bias) * gain)`.

    Args:
        x: Features with channels in axis 1, shape (N, C) or (N, C, H, W).
        bias: Shape (C,), or None.
        act: `lrelu` (slope 0.2, gain sqrt(2)) or `linear` (gain 1).
        gain: Factor instead of the activation's own.
        clamp: Largest magnitude of the result, or None.

    Returns:
        Same shape and dtype as `x`.
    """
    if gain is None:
        gain = LRELU_GAIN if act == "lrelu" else 1.0
    if bias is not None:
        x = x + bias.to(x.dtype).reshape(1, -1, *[1] * (x.ndim - 2))
    if act == "lrelu":
        x = F.leaky_relu(x, LRELU_SLOPE)
    elif act != "linear":
        raise ValueError(f"act is 'lrelu' or 'linear', not {act!r}")
    if gain != 1.0:
        x = x * gain
    return x if clamp is None else x.clamp(-clamp, clamp)
