"""Distances between two sets of feature vectors: Fréchet, kernel, precision and recall.

Fréchet and kernel distance are torchmetrics'; precision and recall, which it does not have, are
written here. All take features, not pictures, so that features of real pictures can be cached.
"""

import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from framework.training.randomness import keyed_generator

SUBSETS, SUBSET_SIZE = 100, 1000
NEIGHBOURS = 3
_ROWS = 1024  # rows of a matrix of all pairs, computed at once
_NORMAL_95 = 1.96
# Every process has all features: torchmetrics must not gather them again.
_ALONE: dict[str, Any] = {"sync_on_compute": False}


class _Identity(nn.Module):
    """A feature network for torchmetrics that passes features through unchanged."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """Squared Fréchet distance of Gaussians with the means and covariances of features (·, D).

    Heusel et al. 2017, equation 6. It is biased: fewer pictures of the same generator give a larger
    distance, so only numbers of equal counts compare. At least 2 real pictures are needed.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(_Identity(real.shape[1]), **_ALONE)
    # On the CPU: not every GPU computes the eigenvalues of a non-symmetric matrix.
    metric.update(real.double().cpu(), real=True)
    metric.update(fake.double().cpu(), real=False)
    return metric.compute().item()


class KernelDistance(NamedTuple):
    """A kernel distance; `value` ± `ci95` is its 95 % interval."""

    value: float
    ci95: float


def kernel_distance(real: Tensor, fake: Tensor, seed: int = 0) -> KernelDistance:
    """Squared maximum mean discrepancy under the cubic kernel (Binkowski et al. 2018): KID.

    Unbiased, so it may be below 0. The value is the mean over 100 pairs of random subsets of up to
    1000 of the features (M, D) and (N, D), M and N at least 3, drawn with `seed`; the interval is
    that of all features, see `kernel_interval`.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", message=".*will save all extracted features.*")
        torch.random.set_rng_state(keyed_generator("cpu", seed, "subsets").get_state())
        metric = KernelInceptionDistance(
            _Identity(real.shape[1]),
            subsets=SUBSETS,
            subset_size=min(SUBSET_SIZE, len(real), len(fake)),
            **_ALONE,
        )
        metric.update(real.double(), real=True)
        metric.update(fake.double(), real=False)
        value, _ = metric.compute()
    return KernelDistance(value.item(), kernel_interval(real, fake))


def kernel_interval(real: Tensor, fake: Tensor) -> float:
    """Half the width of the 95 % interval of the kernel distance between whole sets (M, D), (N, D).

    1.96 standard errors by the jackknife: the distance is computed without each picture in turn,
    which needs only the sums of the kernel's rows. It covers other pictures of the same data and
    generator, not other training runs.
    """
    real, fake = real.double(), fake.double()
    variance = 0.0
    for a, b in ((real, fake), (fake, real)):
        m = len(a)
        within = _kernel_sums(a, a) - _kernel(a.square().sum(dim=1), a.shape[1])
        across = _kernel_sums(a, b)
        without_each = (within.sum() - 2 * within) / ((m - 1) * (m - 2))
        without_each -= 2 * (across.sum() - across) / ((m - 1) * len(b))
        variance += (m - 1) * without_each.var(correction=0).item()
    return _NORMAL_95 * variance**0.5


def _kernel(products: Tensor, dimensions: int) -> Tensor:
    return (products / dimensions + 1) ** 3


def _kernel_sums(a: Tensor, b: Tensor) -> Tensor:
    """Sums of the kernel of each row of `a` with all rows of `b`, shape (len(a),)."""
    sums = [_kernel(rows @ b.T, a.shape[1]).sum(dim=1) for rows in a.split(_ROWS)]
    return torch.cat(sums)


def precision_recall(real: Tensor, fake: Tensor, k: int = NEIGHBOURS) -> tuple[float, float]:
    """Share of generated pictures among the real ones, and of real ones among the generated.

    Kynkäänniemi et al. 2019: a set's manifold is the union of balls about its members, each
    reaching to its k-th nearest neighbour. Features are (M, D) and (N, D), M and N above k.
    """
    # The vectors are large and close together; relative to their centre less is rounded.
    centre = real.mean(dim=0)
    real, fake = real - centre, fake - centre
    return _share_inside(fake, real, k), _share_inside(real, fake, k)


def _share_inside(points: Tensor, members: Tensor, k: int) -> float:
    """Share of `points` within the manifold of `members`."""
    near = [
        torch.cdist(rows, members).kthvalue(k + 1, dim=1).values for rows in members.split(_ROWS)
    ]
    radii = torch.cat(near)  # the nearest of all is the member itself
    inside = [(torch.cdist(part, members) <= radii).any(dim=1) for part in points.split(_ROWS)]
    return torch.cat(inside).float().mean().item()
