"""The objectives of StyleGAN2: non-saturating loss, R1, path lengths, and how latents are mixed.

Losses return tensors of one value a sample; weighting, averaging and logging happen elsewhere.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Non-saturating generator loss -log sigmoid(D(G(z))) (Goodfellow et al. 2014), (N, 1)."""
    return F.softplus(-fake_logits)


def discriminator_fake_loss(fake_logits: Tensor) -> Tensor:
    """-log(1 - sigmoid(D(G(z)))), (N, 1)."""
    return F.softplus(fake_logits)


def discriminator_real_loss(real_logits: Tensor) -> Tensor:
    """-log sigmoid(D(x)), (N, 1)."""
    return F.softplus(-real_logits)


def r1_penalty(real_logits: Tensor, real_images: Tensor) -> Tensor:
    """Zero-centred gradient penalty on real images (Mescheder et al. 2018, R1).

    Args:
        real_logits: Discriminator outputs, shape (N, 1).
        real_images: What they were computed from, shape (N, C, H, W), in [-1, 1], requiring grad.

    Returns:
        Squared gradient norm of each sample, shape (N,). The caller multiplies by gamma / 2.
    """
    (grads,) = torch.autograd.grad(real_logits.sum(), real_images, create_graph=True)
    return grads.square().sum(dim=(1, 2, 3))


def path_lengths(images: Tensor, ws: Tensor, noise: Tensor) -> Tensor:
    """How far pictures move with their styles: |J^T y| (Karras et al. 2020, equation 4).

    Args:
        images: Generated pictures, shape (N, C, H, W).
        ws: Styles they were made of, shape (N, num_ws, w_dim), in their graph.
        noise: Standard normal y, shape of `images`; scaled so that lengths do not depend on size.

    Returns:
        Root mean square over layers of the gradient's norm, shape (N,), differentiable again.
    """
    y = noise / math.sqrt(images.shape[2] * images.shape[3])
    (grads,) = torch.autograd.grad((images * y).sum(), ws, create_graph=True)
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
