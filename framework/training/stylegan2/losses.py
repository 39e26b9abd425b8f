"""Penalties on gradients of the two networks, and style mixing.

Penalties return tensors of one value a sample; weighting, averaging and logging happen elsewhere.
"""

import math

import torch
from torch import Tensor


def r1_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """Zero-centred gradient penalty (Mescheder et al. 2018): R1 on real pictures, R2 on generated.

    Args:
        logits: Discriminator outputs, shape (N, 1).
        images: Pictures that they were computed from, (N, C, H, W), in [-1, 1], requiring grad.

    Returns:
        Squared gradient norm of each sample, shape (N,). The caller multiplies by gamma / 2.
    """
    return _squared_slope(logits, images)


def unit_slope_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """Squared distance of the gradient's norm from 1 (Gulrajani et al. 2017, equation 3).

    Args:
        logits: Discriminator outputs, shape (N, 1).
        images: Pictures that they were computed from, `interpolates`, requiring grad.

    Returns:
        Shape (N,).
    """
    # 1e-12 keeps the derivative finite where the gradient vanishes.
    return ((_squared_slope(logits, images) + 1e-12).sqrt() - 1).square()


def interpolates(real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
    """Draw pictures uniformly on the lines between `real` and `fake`, (N, C, H, W)."""
    share = torch.rand(len(real), 1, 1, 1, device=real.device, generator=rng)
    return fake.lerp(real, share.to(real.dtype))


def _squared_slope(logits: Tensor, images: Tensor) -> Tensor:
    (grads,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    slope = grads.square().sum(dim=(1, 2, 3))
    # A gradient without a graph would be a constant that trains nothing, unnoticed.
    assert slope.requires_grad, "the penalty has no graph"
    return slope


def path_lengths(images: Tensor, ws: Tensor, noise: Tensor) -> Tensor:
    """How far pictures move with their styles: |J^T y| (Karras et al. 2020, equation 4).

    Args:
        images: Generated pictures, shape (N, C, H, W).
        ws: Styles of the pictures, shape (N, num_ws, w_dim), in their graph.
        noise: Standard normal y, shape of `images`; scaled so that lengths do not depend on size.

    Returns:
        Root mean square over layers of the gradient's norm, shape (N,), differentiable again.
    """
    y = noise / math.sqrt(images.shape[2] * images.shape[3])
    (grads,) = torch.autograd.grad((images * y).sum(), ws, create_graph=True)
    assert grads.requires_grad, "the path lengths have no graph"
    return grads.square().sum(dim=2).mean(dim=1).sqrt()


def mix_styles(ws: Tensor, other_ws: Tensor, probability: float, rng: torch.Generator) -> Tensor:
    """Style mixing (Karras et al. 2019, section 3.1): late layers of some samples from others.

    The crossing point is uniform among the layers and drawn for each sample.

    Args:
        ws: Styles, shape (N, num_ws, w_dim).
        other_ws: Styles of other latents, same shape.
        probability: Share of samples that are mixed.
        rng: Source of the draws, on the device of `ws`.

    Returns:
        Shape (N, num_ws, w_dim).
    """
    n, num_ws, _ = ws.shape
    mixed = torch.rand(n, 1, device=ws.device, generator=rng) < probability
    cut = torch.randint(1, num_ws, (n, 1), device=ws.device, generator=rng)
    late = torch.arange(num_ws, device=ws.device) >= cut
    return torch.where((late & mixed)[:, :, None], other_ws, ws)
