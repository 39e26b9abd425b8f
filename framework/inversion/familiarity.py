"""Whether a picture is of the kind that a model makes, as far as its own discriminator tells.

The yardstick is the model's own pictures, so any model with a discriminator has one, and nothing is
asked for. Photographs lie farther out than a generator's pictures, even those that it was trained
on; how much farther was measured on two models (docs/inversion.md).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from framework.models.features.distance import Distance
from framework.models.frozen import NOISE_MODE, gradients
from framework.models.stylegan2 import Generator
from framework.models.stylegan2.statistics import styles_of_seeds

SAMPLES = 256  # of the model's pictures, each of which costs one forward pass
_FEWER = 128  # of a model of large pictures: the same limit, a few more false alarms
_LARGE_PIXELS = 128 * 128
_FOLDS = 4  # what is usual is measured on a fourth that the fit has not seen, in turn
_SHRINKAGE = 0.03  # towards a sphere, since there may be more features than pictures
_BATCH_PIXELS = 32 * 64 * 64
_SEED = 1
FAMILIAR = 2.0  # times the usual distance; beyond it lay 0.5 and 1.7 % of the kind


@dataclass(frozen=True, eq=False)
class Familiarity:
    """Where a model's own pictures lie among all that its discriminator can tell apart.

    Args:
        distance: The discriminator's features.
        mean: Of the features, averaged over positions, shape (F,), float64.
        precision: Inverse of their covariance, shape (F, F), float64.
        usual: Median Mahalanobis distance of the model's own pictures.
    """

    distance: Distance
    mean: Tensor
    precision: Tensor
    usual: float

    def strangeness(self, pictures: Tensor) -> Tensor:
        """How far out pictures (N, C, H, W) in [-1, 1] lie, (N,); 1 is usual for the model's own.

        Beyond `FAMILIAR` it is probably a picture of something else.
        """
        features = _features(self.distance, pictures)
        return _mahalanobis(features, self.mean, self.precision) / self.usual


def familiarity(generator: Generator, distance: Distance) -> Familiarity:
    """Measure `SAMPLES` of a model's own pictures, untruncated; half as many where they are large.

    The distance is of its own discriminator (`DiscriminatorDistance`), on the generator's device.
    """
    pixels = generator.img_size[0] * generator.img_size[1]
    count = SAMPLES if pixels <= _LARGE_PIXELS else _FEWER
    at_once = max(1, _BATCH_PIXELS // pixels)
    with gradients(False):
        styles = styles_of_seeds(generator, count, _SEED, at_once=at_once)
        images = (generator.synthesis(ws, noise_mode=NOISE_MODE) for ws in styles)
        features = torch.cat([_features(distance, batch) for batch in images])
    fold = torch.arange(count) % _FOLDS
    unseen = [_mahalanobis(features[fold == k], *_fit(features[fold != k])) for k in range(_FOLDS)]
    usual = torch.cat(unseen).median().clamp(min=1e-12).item()
    return Familiarity(distance, *_fit(features), usual)


def _fit(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (F,) and inverse covariance (F, F) of features (N, F)."""
    covariance = features.T.cov()
    sphere = torch.eye(len(covariance), dtype=torch.float64)
    sphere *= covariance.diagonal().mean().clamp(min=1e-12)
    shrunk = (1 - _SHRINKAGE) * covariance + _SHRINKAGE * sphere
    return features.mean(dim=0), torch.linalg.inv(shrunk)


def _mahalanobis(features: Tensor, mean: Tensor, precision: Tensor) -> Tensor:
    """Distances (N,) of features (N, F) from a cloud of them."""
    away = features - mean
    return ((away @ precision) * away).sum(dim=1).clamp(min=0).sqrt()


def _features(distance: Distance, pictures: Tensor) -> Tensor:
    """Features of every level averaged over positions, (N, F), float64, on the CPU."""
    with gradients(False):
        levels = distance.features(pictures.clamp(-1, 1))
        return torch.cat([level.mean(dim=(2, 3)) for level in levels], dim=1).double().cpu()
