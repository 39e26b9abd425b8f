"""Losses of an encoder beside those of inversion: one value a picture, shape (N,)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.training.stylegan2.objectives import nonsaturating_generator


def adversarial_loss(logits: Tensor) -> Tensor:
    """Non-saturating loss of samples that should pass for real, mean softplus(-D).

    The image-space term of idinvert and TediGAN (Zhu et al. 2020, equation 4), and e4e's latent one
    (Tov et al. 2021, section 4.2), which is the mean over the layers.

    Args:
        logits: The discriminator's outputs for these samples, shape (N, ...).

    Returns:
        Shape (N,).
    """
    return _mean(nonsaturating_generator(logits))


def real_loss(logits: Tensor) -> Tensor:
    """The discriminator's loss on real samples, mean softplus(-D), (N, ...) to (N,)."""
    return adversarial_loss(logits)


def fake_loss(logits: Tensor) -> Tensor:
    """The discriminator's loss on generated samples, mean softplus(D), (N, ...) to (N,)."""
    return adversarial_loss(-logits)


def delta_loss(ws: Tensor) -> Tensor:
    """Distance of the layers' styles from the first layer's (Tov et al. 2021, equation 6).

    sum_i ||w_i - w_0||_2; 0 in W. Layers that an encoder has not set free yet add nothing.

    Args:
        ws: Styles, shape (N, num_ws, w_dim).

    Returns:
        Shape (N,).
    """
    return (ws[:, 1:] - ws[:, :1]).norm(dim=2).sum(dim=1)


def w_norm_loss(ws: Tensor, w_avg: Tensor) -> Tensor:
    """Distance from the mean style, ||ws - w_avg|| over all layers (Richardson et al. 2021, eq. 3).

    Args:
        ws: Styles, shape (N, num_ws, w_dim).
        w_avg: Mean style, shape (w_dim,).

    Returns:
        Shape (N,).
    """
    return (ws - w_avg).flatten(1).norm(dim=1)


def alignment_loss(styles: Sequence[Tensor], directions: Sequence[Tensor]) -> Tensor:
    """Distance between directions of style vectors and random pictures' (Cao et al. 2022, "NSCD").

    Mean over the layers of 1 - cos(s_i, t_i) in expectation over the styles t of random pictures,
    which is 1 - s_i/|s_i| . E[t_i/|t_i|]. Their code (LSAP) sums over layers and leaves the 1 out:
    its weight 0.5 is 0.5 num_ws here.

    Args:
        styles: Each layer's modulation, (N, C_i); see `styles.style_vectors`.
        directions: Mean unit vectors of random pictures' styles, (C_i,); see
            `styles.style_directions`.

    Returns:
        Shape (N,), from 0 to 2.
    """
    pairs = zip(styles, directions, strict=True)
    return torch.stack([1 - F.normalize(s, dim=1) @ t for s, t in pairs]).mean(dim=0)


def latent_r1_penalty(logits: Tensor, codes: Tensor) -> Tensor:
    """R1 of a latent discriminator on real styles, the squared gradient norm of each.

    Args:
        logits: The discriminator's outputs, shape (N, 1).
        codes: Styles that they were computed from, shape (N, ...), requiring grad.

    Returns:
        Shape (N,). The caller multiplies by gamma / 2.
    """
    (grads,) = torch.autograd.grad(logits.sum(), codes, create_graph=True)
    assert grads.requires_grad, "the penalty has no graph"
    return grads.square().flatten(1).sum(dim=1)


def _mean(values: Tensor) -> Tensor:
    return values.flatten(1).mean(dim=1)
