"""What a model's states are like, and what changing one does to its pictures: a drag's yardsticks.

Distances between latents mean nothing by themselves. Whitened by the covariance of W they count
standard deviations (Wulff & Torralba 2020, "Improving inversion and generation diversity in
StyleGAN using a Gaussianized latent space"); the metric then says how much picture a change costs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from framework.models.frozen import gradients

FLOOR = 0.3  # of the mean cost: what a change costs that no picture shows


@dataclass(frozen=True, eq=False)
class Statistics:
    """Yardsticks of a model; D is the number of trainable values of a state.

    Args:
        spread: Symmetric root of the covariance of w, shape (w_dim, w_dim).
        effects: What sampled pictures show of whitened changes, shape (n, D): the metric, a
            change's squared cost, is effectsᵀ effects + `FLOOR` I.
        scales: Of each of `Draggable.maps`, what makes its channels comparable, shape (C,).
    """

    spread: Tensor
    effects: Tensor
    scales: Sequence[Tensor]

    def update(self, whitened: Tensor) -> Tensor:
        """A change in standard deviations, (..., w_dim), as a change of latents.

        The spread is symmetric: the same product takes a gradient by latents to one by whitened
        ones.
        """
        return whitened @ self.spread

    def whitened(self, update: Tensor) -> Tensor:
        """A change of latents in standard deviations; what w never does is left out."""
        return update @ torch.linalg.pinv(self.spread, rtol=1e-5)

    def kernel(self) -> Tensor:
        """Cholesky factor for `cheapest`, shape (n, n)."""
        identity = torch.eye(len(self.effects)).to(self.effects)
        return torch.linalg.cholesky(FLOOR * identity + self.effects @ self.effects.T)

    def cheapest(self, rows: Tensor, kernel: Tensor) -> Tensor:
        """For rows of a Jacobian, (k, D), the inverse metric times each (Woodbury 1950), (k, D)."""
        shown = torch.cholesky_solve(self.effects @ rows.T, kernel)
        return (rows - shown.T @ self.effects) / FLOOR


def spread_of(w: Tensor) -> Tensor:
    """Symmetric root of the covariance of samples of w, (N, w_dim)."""
    variances, axes = torch.linalg.eigh(torch.cov(w.T))
    return axes * variances.clamp(min=0).sqrt() @ axes.T


def effects_of(gradients_of_noise: Tensor) -> Tensor:
    """Effects with outer products of mean diagonal 1.

    Args:
        gradients_of_noise: Gradients of pictures weighted with white noise by whitened latents,
            (n, D): their mean outer product is that of the picture's Jacobian with itself.
    """
    power = gradients_of_noise.square().sum(dim=0).mean().clamp(min=1e-30)
    return gradients_of_noise / power.sqrt()


def scales_of(maps: Sequence[Tensor]) -> list[Tensor]:
    """What makes channels comparable and every map as loud as the others, from samples."""
    with gradients(False):
        spreads = [each.transpose(0, 1).flatten(1).std(dim=1) for each in maps]
        return [
            1 / (spread.clamp(min=1e-6 * float(spread.max()) + 1e-12))
            / math.sqrt(len(maps) * len(spread))
            for spread in spreads
        ]  # fmt: skip
