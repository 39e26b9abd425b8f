"""Whether a picture is of the kind that a model makes, by its own discriminator.

The yardstick is the model's own pictures, so every model with a discriminator has one. Photographs
lie farther out than a generator's pictures, even those that it was trained on; how much farther was
measured on two models (docs/inversion.md).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from framework.models.features.distance import Distance
from framework.models.frozen import NOISE_MODE, gradients
from framework.models.stylegan2 import Generator
from framework.models.stylegan2.statistics import styles_of_seeds

SAMPLES = 256  # number of the model's pictures; each costs one forward pass
_FEWER = 128  # number for large pictures: the same limit, a few more false alarms
_LARGE_PIXELS = 128 * 128
_FOLDS = 4  # the usual distance is measured on a fourth that was not fitted, in turn
_SHRINKAGE = 0.03  # share of a sphere, since there may be more features than pictures
_BATCH_PIXELS = 32 * 64 * 64
_SEED = 1
FAMILIAR = 2.0  # limit in usual distances; 0.5 and 1.7 % of familiar photographs lay beyond


@dataclass(frozen=True, eq=False)
class Familiarity:
    """The distribution of a model's own pictures in its discriminator's features.

    Args:
        distance: The distance that computes the features.
        mean: Mean of the features, averaged over positions, shape (F,), float64.
        precision: Inverse of the covariance, shape (F, F), float64.
        usual: Median Mahalanobis distance of the model's own pictures.
    """

    distance: Distance
    mean: Tensor
    precision: Tensor
    usual: float

    def strangeness(self, pictures: Tensor) -> Tensor:
        """Return the relative distance of pictures (N, C, H, W) in [-1, 1], (N,); 1 is usual.

        A picture beyond `FAMILIAR` probably shows something else.
        """
        features = _features(self.distance, pictures)
        return _mahalanobis(features, self.mean, self.precision) / self.usual


def familiarity(generator: Generator, distance: Distance) -> Familiarity:
    """Measure `SAMPLES` of a model's own pictures, untruncated; half as many if they are large.

    The distance is that of its own discriminator (`DiscriminatorDistance`), on the same device.
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
    """Compute mean (F,) and inverse covariance (F, F) of features (N, F)."""
    covariance = features.T.cov()
    sphere = torch.eye(len(covariance), dtype=torch.float64)
    sphere *= covariance.diagonal().mean().clamp(min=1e-12)
    shrunk = (1 - _SHRINKAGE) * covariance + _SHRINKAGE * sphere
    return features.mean(dim=0), torch.linalg.inv(shrunk)


def _mahalanobis(features: Tensor, mean: Tensor, precision: Tensor) -> Tensor:
    """Compute Mahalanobis distances (N,) of features (N, F)."""
    away = features - mean
    return ((away @ precision) * away).sum(dim=1).clamp(min=0).sqrt()


def _features(distance: Distance, pictures: Tensor) -> Tensor:
    """Average the features of every level over positions, (N, F), float64, on the CPU."""
    with gradients(False):
        levels = distance.features(pictures.clamp(-1, 1))
        return torch.cat([level.mean(dim=(2, 3)) for level in levels], dim=1).double().cpu()
