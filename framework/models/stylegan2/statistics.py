"""Mean and spread of a generator's styles, the units of inversion."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from framework.errors import UserError
from framework.models.stylegan2 import Generator

_AT_ONCE = 500
_LEAST_STD = 1e-8  # for a coordinate that never changes


@dataclass(frozen=True, eq=False)
class StyleStatistics:
    """Mean and standard deviation (above 0) of w = mapping(z) by coordinate, (w_dim,)."""

    w_avg: Tensor
    w_std: Tensor

    def normalise(self, ws: Tensor) -> Tensor:
        """Express styles (..., w_dim) in standard deviations from the mean, shape kept."""
        return (ws - self.w_avg) / self.w_std

    def deviations(self, ws: Tensor) -> Tensor:
        """Return the distance of styles (N, num_ws, w_dim) from `w_avg`, in standard deviations.

        It is the root mean square over layers and coordinates, (N,); about 1 for w = mapping(z).
        """
        return self.normalise(ws).square().mean(dim=(1, 2)).sqrt()


@torch.no_grad()
def style_statistics(
    generator: Generator, samples: int = 10_000, seed: int = 0, labels: Tensor | None = None
) -> StyleStatistics:
    """Measure mean and spread of a generator's styles.

    Args:
        generator: The generator.
        samples: Number of z that are mapped.
        seed: Seed of the z, drawn on the CPU, so that every device measures the same.
        labels: Labels (M, c_dim) that the z take in turn; all classes in turn if None.

    Returns:
        The generator's own `w_avg`, or, where `labels` are given (or it has no mean), the mean of
        the mapped styles; and their standard deviation; on the generator's device.

    Raises:
        UserError: If there are fewer than 2 samples, or `labels` do not fit.
    """
    if samples < 2:
        raise UserError(f"samples {samples}: a spread needs at least 2")
    device = next(generator.parameters()).device
    total = torch.zeros(2, generator.w_dim, dtype=torch.float64, device=device)
    own = getattr(generator.mapping, "w_avg", None) if labels is None else None
    shift = torch.zeros(generator.w_dim, device=device) if own is None else own
    for ws in styles_of_seeds(generator, samples, seed, labels):
        # Sums of squares lose digits far from zero, so they are taken around w_avg.
        w = (ws[:, 0] - shift).double()
        total += torch.stack([w.sum(dim=0), w.square().sum(dim=0)])
    mean, square = total / samples
    w_std = (square - mean.square()).clamp_min(0).sqrt().float().clamp_min(_LEAST_STD)
    w_avg = (shift + mean).float() if own is None else own.detach().clone()
    return StyleStatistics(w_avg, w_std)


def styles_of_seeds(
    generator: Generator,
    samples: int,
    seed: int,
    labels: Tensor | None = None,
    at_once: int = _AT_ONCE,
) -> Iterator[Tensor]:
    """Yield styles (at_once, num_ws, w_dim) of z drawn on the CPU, the same on every device.

    `labels` are rows (M, c_dim) that the z take in turn; all classes in turn if None.
    """
    device = next(generator.parameters()).device
    rows = _label_rows(generator, labels, device)
    rng = torch.Generator().manual_seed(seed)
    for numbers in torch.arange(samples).split(at_once):
        z = torch.randn(len(numbers), generator.z_dim, generator=rng).to(device)
        yield generator.mapping(z, None if rows is None else rows[numbers.to(device) % len(rows)])


def _label_rows(generator: Generator, labels: Tensor | None, device: torch.device) -> Tensor | None:
    """Return the labels that samples take in turn; None for a generator without labels."""
    if generator.c_dim == 0:
        if labels is not None:
            raise UserError("labels: this generator takes none")
        return None
    if labels is None:
        return torch.eye(generator.c_dim, device=device)
    if labels.ndim != 2 or labels.shape[1] != generator.c_dim or len(labels) == 0:
        raise UserError(f"labels {tuple(labels.shape)}: must be (M, {generator.c_dim})")
    return labels.to(device)
