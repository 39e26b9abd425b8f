"""What an inversion or an encoder descends on: each loss one value a picture, shape (N,).

Weights, averaging and logging happen elsewhere, so each number is the one that papers print.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.perceptual.distance import weighted_mean

# ------------------------------------------------------------------------------------- pictures


def pixel_loss(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean square difference of pictures in [-1, 1]; a quarter of it is the one on [0, 1].

    Args:
        a: Shape (N, C, H, W).
        b: Same shape.
        weight: Where it counts, (N or 1, 1, H, W): a valid box or a mask. Over a box this is the
            loss of the two pictures cropped to it, and the gradient outside is exactly 0.

    Returns:
        Shape (N,).
    """
    return weighted_mean((a - b).square(), weight)


def adversarial_loss(logits: Tensor) -> Tensor:
    """Non-saturating loss of whoever wants to pass for real (Goodfellow et al. 2014).

    The image-space term of idinvert and TediGAN, and e4e's latent one (Tov et al. 2021, section
    4.2), which is the mean over the layers.

    Args:
        logits: Shape (N, ...), the discriminator's of what was made.

    Returns:
        Mean over all but the first dimension, shape (N,).
    """
    return _mean(F.softplus(-logits))


def real_loss(logits: Tensor) -> Tensor:
    """The discriminator's loss on what is real, softplus(-D), shape (N,); see `fake_loss`."""
    return _mean(F.softplus(-logits))


def fake_loss(logits: Tensor) -> Tensor:
    """The discriminator's loss on what was made, softplus(D), shape (N,)."""
    return _mean(F.softplus(logits))


# -------------------------------------------------------------------------------------- latents


def delta_loss(ws: Tensor) -> Tensor:
    """How far layers' styles are from the first layer's (Tov et al. 2021, equation 6).

    sum_i ||w_i - w_0||_2; 0 in W. Layers that an encoder has not set free yet add nothing.

    Args:
        ws: Shape (N, num_ws, w_dim).

    Returns:
        Shape (N,).
    """
    return (ws[:, 1:] - ws[:, :1]).norm(dim=2).sum(dim=1)


def w_norm_loss(ws: Tensor, w_avg: Tensor) -> Tensor:
    """Distance from the mean style, ||ws - w_avg|| over all layers (Richardson et al. 2021, eq. 3).

    Args:
        ws: Shape (N, num_ws, w_dim).
        w_avg: Shape (w_dim,).

    Returns:
        Shape (N,).
    """
    return (ws - w_avg).flatten(1).norm(dim=1)


def encoder_loss(ws: Tensor, encoded: Tensor) -> Tensor:
    """Whether the encoder reads the same styles from the picture: mean (w - E(G(w)))^2.

    The in-domain term of idinvert (Zhu et al. 2020, equation 7) and TediGAN (Xia et al. 2021).

    Args:
        ws: Styles that are searched, shape (N, num_ws, w_dim).
        encoded: What the encoder makes of their picture, same shape.

    Returns:
        Shape (N,).
    """
    return _mean((ws - encoded).square())


def latent_r1_penalty(logits: Tensor, codes: Tensor) -> Tensor:
    """R1 of a latent discriminator on real styles, squared gradient norm of each.

    Args:
        logits: Shape (N, 1).
        codes: What they were computed from, shape (N, ...), requiring grad.

    Returns:
        Shape (N,). The caller multiplies by gamma / 2.
    """
    (grads,) = torch.autograd.grad(logits.sum(), codes, create_graph=True)
    assert grads.requires_grad, "the penalty has no graph"
    return grads.square().flatten(1).sum(dim=1)


def _mean(values: Tensor) -> Tensor:
    return values.flatten(1).mean(dim=1)
