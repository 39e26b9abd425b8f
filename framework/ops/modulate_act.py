"""Modulation of features and what follows it in a layer of StyleGAN2, in one pass over memory."""

import math
from typing import Any

import torch
from torch import Tensor

from framework.ops.bias_act import SLOPES, bias_act
from framework.ops.compiled import runs_compiled


def modulate_act(
    x: Tensor,
    scale: Tensor,
    noise: Tensor | None = None,
    bias: Tensor | None = None,
    act: str = "linear",
    clamp: float | None = None,
) -> Tensor:
    """Return `clamp(act(x * scale + noise + bias))`, differentiable any number of times.

    The compiled form computes in float32 where `x` is in low precision, and makes all gradients in
    one pass, too; torch's takes one for each operation, in the precision of `x`.

    Args:
        x: Features, shape (N, C, H, W).
        scale: Factor of each sample's channels, shape (N, C).
        noise: Added to all channels alike, shape (N, 1, H, W), (1, 1, H, W) or (H, W), or None.
        bias: Added to each channel, shape (C,), or None.
        act: Activation without a gain of its own, `lrelu` (slope 0.2) or `linear`.
        clamp: Largest magnitude of the result, or None.

    Returns:
        Features of the shape and dtype of `x`.
    """
    if runs_compiled("modulate_act", x):
        return _compiled(x, scale, noise, bias, SLOPES[act], math.nan if clamp is None else clamp)
    scale = scale.to(x.dtype)[:, :, None, None]
    x = x * scale if noise is None else torch.addcmul(noise.to(x.dtype), x, scale)
    if bias is None and act == "linear" and clamp is None:
        return x
    return bias_act(x, bias, act, gain=1.0, clamp=clamp, overwrite=True)


def _compiled(
    x: Tensor,
    scale: Tensor,
    noise: Tensor | None,
    bias: Tensor | None,
    slope: float,
    limit: float,
) -> Tensor:
    dtype = torch.promote_types(x.dtype, torch.float32)
    if noise is not None:
        noise = noise.to(dtype).reshape(-1, 1, *x.shape[2:])
    bias = None if bias is None else bias.to(dtype)
    return _Compiled.apply(x, scale.to(dtype), noise, bias, slope, limit)


class _Compiled(torch.autograd.Function):
    """The compiled operation; piecewise linear, so its result tells where the slopes are."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor,
        noise: Tensor | None,
        bias: Tensor | None,
        slope: float,
        limit: float,
    ) -> Tensor:
        y = torch.ops.dragline.modulate_act(x, scale, noise, bias, slope, limit)
        bent = slope != 1.0 or not math.isnan(limit)
        ctx.save_for_backward(x, scale, y if bent else None)
        ctx.line = slope, limit
        ctx.noises = None if noise is None else noise.shape[0]
        ctx.has_bias = bias is not None
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        dx, dscale, dnoise, dbias = _Backward.apply(grads[0], *ctx.saved_tensors, *ctx.line)
        if ctx.noises == 1:
            dnoise = dnoise.sum(dim=0, keepdim=True)
        noise, bias = dnoise if ctx.noises else None, dbias if ctx.has_bias else None
        return dx, dscale, noise, bias, None, None


class _Backward(torch.autograd.Function):
    """Gradients to x, scale, each sample's noise and bias: the transpose of `_Forward`."""

    @staticmethod
    def forward(
        ctx: Any,
        grad: Tensor,
        x: Tensor,
        scale: Tensor,
        y: Tensor | None,
        slope: float,
        limit: float,
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(grad, x, scale, y)
        ctx.line = slope, limit
        return torch.ops.dragline.modulate_act_backward(grad, x, scale, y, slope, limit)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad, x, scale, y = ctx.saved_tensors
        to_grad = _Forward.apply(*grads, x, scale, y, *ctx.line)
        to_x, to_scale, _, _ = _Backward.apply(grad, *grads[:2], y, *ctx.line)
        return to_grad, to_x, to_scale, _no_gradient(ctx, 3, y), None, None


class _Forward(torch.autograd.Function):
    """The change of the result due to changes of x, scale, noise and bias, to first order."""

    @staticmethod
    def forward(
        ctx: Any,
        dx: Tensor,
        dscale: Tensor,
        dnoise: Tensor,
        dbias: Tensor,
        x: Tensor,
        scale: Tensor,
        y: Tensor | None,
        slope: float,
        limit: float,
    ) -> Tensor:
        ctx.save_for_backward(dx, dscale, x, scale, y)
        ctx.line = slope, limit
        return torch.ops.dragline.modulate_act_forward(
            dx, dscale, dnoise, dbias, x, scale, y, slope, limit
        )

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        dx, dscale, x, scale, y = ctx.saved_tensors
        to_changes = _Backward.apply(grads[0], x, scale, y, *ctx.line)
        to_x, to_scale, _, _ = _Backward.apply(grads[0], dx, dscale, y, *ctx.line)
        return *to_changes, to_x, to_scale, _no_gradient(ctx, 6, y), None, None


def _no_gradient(ctx: Any, index: int, y: Tensor | None) -> Tensor | None:
    """Return zeros, as torch's own do: processes that train together need the same gradients."""
    return torch.zeros_like(y) if y is not None and ctx.needs_input_grad[index] else None
