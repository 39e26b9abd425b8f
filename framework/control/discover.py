"""Directions without labels: of the weights (SeFa), and of the latents' spread (GANSpace)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from framework.control.directions import Direction, unit
from framework.control.layers import LayerMap
from framework.models.stylegan2 import Generator
from framework.models.stylegan2.statistics import styles_of_seeds
from framework.models.stylegan2.styles import affines

SAMPLES = 10_000


@torch.no_grad()
def sampled_w(generator: Generator, samples: int = SAMPLES, seed: int = 0) -> Tensor:
    """Return w = mapping(z) of random z without truncation, (samples, w_dim)."""
    return torch.cat([ws[:, 0] for ws in styles_of_seeds(generator, samples, seed)])


def affine_weights(generator: Generator, layers: Sequence[int]) -> Tensor:
    """Return the weights A that turn w into the styles of some layers, (sum of C_i, w_dim).

    A layer's own gain is part of them, as styles differ by `A @ step` (Shen and Zhou 2021, eq. 2).
    """
    chosen = [affines(generator)[layer] for layer in layers]
    return torch.cat([affine.weight * affine.weight_gain for affine in chosen]).detach()


def eigenvectors(symmetric: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues, largest first, and eigenvectors as rows, of a symmetric (D, D) matrix.

    Each vector's largest coordinate is positive, so that every machine finds the same direction.
    """
    values, vectors = torch.linalg.eigh(symmetric.cpu().double())
    values, rows = values.flip(0), vectors.T.flip(0)
    largest = rows.gather(1, rows.abs().argmax(dim=1, keepdim=True))
    return values, rows * largest.sign()


def closed_form(generator: Generator, layers: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Factorise the affine weights of some layers (Shen and Zhou 2021, SeFa, eq. 6).

    The step n of length 1 that changes their styles most is the first eigenvector of A^T A.

    Returns:
        Eigenvalues, largest first, (w_dim,), and directions as rows, (w_dim, w_dim), float64.
    """
    weights = affine_weights(generator, layers).cpu().double()
    return eigenvectors(weights.T @ weights)


def principal(w: Tensor) -> tuple[Tensor, Tensor]:
    """Principal components of samples of w, (M, w_dim) (Härkönen et al. 2020, GANSpace).

    Returns:
        Variances, largest first, (w_dim,), and components as rows, (w_dim, w_dim), float64.
    """
    return eigenvectors(w.cpu().double().T.cov())


def sefa_directions(
    generator: Generator, layer_map: LayerMap, w: Tensor, groups: Sequence[str], count: int
) -> list[Direction]:
    """Return the first directions of the weights of each group of layers: sefa-pose0 and so on.

    Args:
        generator: The generator.
        layer_map: Its layers.
        w: Samples of w, for their scale.
        groups: Names of groups of layers; `all` gives sefa0, ….
        count: Directions of each group.
    """
    found = []
    for group in groups:
        layers = layer_map.group(group)
        values, rows = closed_form(generator, layers)
        start = "sefa" if group == "all" else f"sefa-{group}"
        shares = (values / values.sum()).tolist()
        found += [
            unit(f"{start}{i}", rows[i : i + 1], layers, w, "sefa", {"share": shares[i]})
            for i in range(min(count, len(rows)))
        ]
    return found


def pca_directions(layer_map: LayerMap, w: Tensor, count: int) -> list[Direction]:
    """Return the first principal components of w, which move all layers: pca0, pca1 and so on."""
    values, rows = principal(w)
    shares = (values / values.sum()).tolist()
    layers = layer_map.group("all")
    return [
        unit(f"pca{i}", rows[i : i + 1], layers, w, "pca", {"share": shares[i]})
        for i in range(min(count, len(rows)))
    ]
