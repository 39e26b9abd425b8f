"""Bias, leaky ReLU, gain and clamp: what follows each convolution of StyleGAN2."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.ops.compiled import runs_compiled

LRELU_SLOPE = 0.2
SLOPES = {"lrelu": LRELU_SLOPE, "linear": 1.0}
LRELU_GAIN = math.sqrt(2.0)  # keeps the second moment of a unit normal through the leaky ReLU


def bias_act(
    x: Tensor,
    bias: Tensor | None = None,
    act: str = "lrelu",
    gain: float | None = None,
    clamp: float | None = None,
    overwrite: bool = False,
) -> Tensor:
    """Return `clamp(act(x + bias) * gain)`.

    Args:
        x: Features with channels in axis 1, shape (N, C) or (N, C, H, W).
        bias: Added to each channel, shape (C,), or None.
        act: Activation, `lrelu` (slope 0.2, gain sqrt(2)) or `linear` (gain 1).
        gain: Factor instead of the activation's own.
        clamp: Largest magnitude of the result, or None.
        overwrite: Whether the result may reuse the memory of `x`, which nobody needs.

    Returns:
        A tensor of the shape and dtype of `x`.
    """
    if act not in SLOPES:
        raise ValueError(f"act is 'lrelu' or 'linear', not {act!r}")
    if gain is None:
        gain = LRELU_GAIN if act == "lrelu" else 1.0
    if bias is not None:
        bias = bias.to(x.dtype)
    passes = (bias is not None) + (act == "lrelu") + (gain != 1.0) + (clamp is not None)
    # The gain must be positive: the derivative reads the sum's sign off the result.
    if passes > 1 and gain > 0 and runs_compiled("bias_act", x):
        return _Compiled.apply(x, bias, SLOPES[act], gain, math.nan if clamp is None else clamp)
    if bias is not None:
        bias = bias.reshape(1, -1, *[1] * (x.ndim - 2))
        x = x.add_(bias) if overwrite else x + bias
    if act == "lrelu":
        # Each pass costs as much as memory, so the second one stays in place.
        x = F.leaky_relu(x, LRELU_SLOPE, inplace=overwrite or bias is not None)
    if gain != 1.0:
        x = x * gain
    return x if clamp is None else x.clamp(-clamp, clamp)


class _Compiled(torch.autograd.Function):
    """The compiled operation; piecewise linear, so the result is all that its derivative needs."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, bias: Tensor | None, slope: float, gain: float, limit: float
    ) -> Tensor:
        y = torch.ops.dragline.bias_act(x, bias, slope, gain, limit)
        ctx.save_for_backward(y)
        ctx.line = slope, gain, limit
        ctx.has_bias = bias is not None
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        dx, dbias = _Backward.apply(grads[0], *ctx.saved_tensors, *ctx.line)
        return dx, dbias if ctx.has_bias else None, None, None, None


class _Backward(torch.autograd.Function):
    """Gradients to x and bias: the transpose of `_Forward`."""

    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, y: Tensor, slope: float, gain: float, limit: float
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(y)
        ctx.line = slope, gain, limit
        return torch.ops.dragline.bias_act_backward(grad, y, slope, gain, limit)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (y,) = ctx.saved_tensors
        return _Forward.apply(*grads, y, *ctx.line), _no_gradient(ctx, 1, y), None, None, None


class _Forward(torch.autograd.Function):
    """The change of the result due to changes of x and bias, to first order."""

    @staticmethod
    def forward(
        ctx: Any, dx: Tensor, dbias: Tensor, y: Tensor, slope: float, gain: float, limit: float
    ) -> Tensor:
        ctx.save_for_backward(y)
        ctx.line = slope, gain, limit
        return torch.ops.dragline.bias_act_forward(dx, dbias, y, slope, gain, limit)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (y,) = ctx.saved_tensors
        gradients = _Backward.apply(grads[0], y, *ctx.line)
        return *gradients, _no_gradient(ctx, 2, y), None, None, None


def _no_gradient(ctx: Any, index: int, y: Tensor) -> Tensor | None:
    """Return zeros, as torch's own do: processes that train together need the same gradients."""
    return torch.zeros_like(y) if ctx.needs_input_grad[index] else None
