"""Statistics of features over positions, in which a picture's manner lies whatever it shows."""

from collections.abc import Sequence

from torch import Tensor

_EPSILON = 1e-5  # of a variance


def gram(features: Tensor) -> Tensor:
    """Return the mean product of each two channels (Gatys et al. 2016, equation 3).

    Args:
        features: (N, C, h, w).

    Returns:
        (N, C, C), a mean over positions: pictures of any two sizes can be compared.
    """
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


def gram_distance(features: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Return how far Gram matrices are from others (Gatys et al. 2016, equations 4 and 5).

    Each level counts relative to what is wanted there, and all alike, so 0 is the same manner and
    about 1 none of it.

    Args:
        features: Features of a picture, (1, C_l, h_l, w_l).
        wanted: Gram matrices (1, C_l, C_l).
    """
    pairs = zip(features, wanted, strict=True)
    levels = [(gram(f) - g).square().sum() / g.square().sum().clamp(min=1e-12) for f, g in pairs]
    return sum(levels[1:], levels[0]) / len(levels)


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel of (N, C, h, w), both (N, C, 1, 1)."""
    variance = features.var(dim=(2, 3), keepdim=True, correction=0)
    return features.mean(dim=(2, 3), keepdim=True), (variance + _EPSILON).sqrt()


def adapted(content: Tensor, style: Tensor) -> Tensor:
    """Give features the moments of others: AdaIN (Huang and Belongie 2017, equation 8).

    Args:
        content: (N, C, h, w).
        style: (N, C, any, any).
    """
    mean, std = moments(content)
    wanted_mean, wanted_std = moments(style)
    return (content - mean) / std * wanted_std + wanted_mean
