"""Losses of translations; each (N,)."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Judged = list[list[Tensor]]
"""Features by scale and layer, the logits last; see `PatchJudge`."""


def of_logits(judged: Judged, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the mean over patches and scales of a loss of the logits."""
    return torch.stack([each(loss(features[-1])) for features in judged]).mean(dim=0)


def each(values: Tensor) -> Tensor:
    """Return each sample's mean, (N,)."""
    return values.flatten(1).mean(dim=1)


def matched(made: Judged, real: Judged) -> Tensor:
    """Distance of a judge's features (Wang et al. 2018, eq. 4), mean over scales, sum of layers."""
    gaps = [
        sum((each((a - b.detach()).abs()) for a, b in zip(m[:-1], r[:-1], strict=True)),
            torch.zeros(len(m[0]), device=m[0].device))
        for m, r in zip(made, real, strict=True)
    ]  # fmt: skip
    return torch.stack(gaps).mean(dim=0)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Divergence of normal distributions (N, z_dim) from the standard one (Kingma 2014)."""
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(dim=1)


# What is judged is to be told real from made: log loss, least squares, hinge.


def log_real(logits: Tensor) -> Tensor:
    """-log D, of what should pass for real (Goodfellow et al. 2014)."""
    return F.softplus(-logits)


def log_made(logits: Tensor) -> Tensor:
    """-log(1 - D), of what should be found out."""
    return F.softplus(logits)


def square_real(logits: Tensor) -> Tensor:
    """Distance from 1 (Mao et al. 2017, eq. 9)."""
    return (logits - 1).square()


def square_made(logits: Tensor) -> Tensor:
    """Distance from 0."""
    return logits.square()


def hinge_real(logits: Tensor) -> Tensor:
    """How far below 1 (Lim and Ye 2017)."""
    return F.relu(1 - logits)


def hinge_made(logits: Tensor) -> Tensor:
    """How far above -1."""
    return F.relu(1 + logits)


class Buffer(nn.Module):
    """Earlier results, of which the judge sees half (Shrivastava et al. 2017, section 2.3).

    Its pictures are buffers, so that a resumed run meets the same ones. Every process has its own,
    and a checkpoint keeps the first one's.

    Args:
        size: Number of results; 0 passes everything on.
        shape: Shape (C, H, W) of one.
    """

    stored: Tensor
    count: Tensor

    def __init__(self, size: int, shape: Sequence[int]) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("stored", torch.zeros(size, *shape))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def exchange(self, results: Tensor, rng: torch.Generator) -> Tensor:
        """Return results (N, C, H, W): each as it is, or half of the time an earlier one for it.

        While there is room, results are kept and passed on; later, one that is exchanged takes the
        place of that for which it is.
        """
        if self.size == 0:
            return results
        device = results.device
        exchanged = (torch.rand(len(results), device=device, generator=rng) < 0.5).tolist()
        places = torch.randint(self.size, (len(results),), device=device, generator=rng).tolist()
        passed = results.clone()
        for i, (is_exchanged, place) in enumerate(zip(exchanged, places, strict=True)):
            if int(self.count) < self.size:
                self.stored[int(self.count)] = results[i]
                self.count += 1
            elif is_exchanged:
                passed[i] = self.stored[place]
                self.stored[place] = results[i]
        return passed
