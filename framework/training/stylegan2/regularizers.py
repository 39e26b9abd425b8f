"""Regularisation by a running mean, which is saved with the run."""

import torch
from torch import Tensor, nn

from framework.training.stylegan2 import losses, objectives


class RunningMean(nn.Module):
    """A mean over the last batches, beginning at 0, the same in every process.

    A batch whose value is not finite is skipped.

    Args:
        size: Number of values.
        decay: Share of the past at each update.

    Attributes:
        value: The mean, shape (size,); small while few batches are in it.
        weight: Share of `value` that is not the 0 it began with, shape (size,).
    """

    value: Tensor
    weight: Tensor

    def __init__(self, size: int, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("value", torch.zeros(size))
        self.register_buffer("weight", torch.zeros(size))

    @torch.no_grad()
    def update(self, batch_mean: Tensor) -> None:
        """Move towards the mean of a batch, shape (size,)."""
        usable = batch_mean.isfinite()
        self.value.copy_(torch.where(usable, batch_mean.lerp(self.value, self.decay), self.value))
        self.weight.lerp_(usable.to(self.weight), (1 - self.decay) * usable)

    def unbiased(self) -> Tensor:
        """Return the mean without the bias of beginning at 0, shape (size,)."""
        return self.value / self.weight.clamp(min=1e-8)


class PathLength(nn.Module):
    """Path length regularisation (Karras et al. 2020, section 3.2).

    Args:
        weight: Weight of the penalty.
        interval: Batches from one step to the next.
        decay: Share of a batch in the mean length.
        batch_shrink: One of so many samples is used, to save memory.
    """

    def __init__(self, weight: float, interval: int, decay: float, batch_shrink: int) -> None:
        super().__init__()
        self.weight, self.interval, self.batch_shrink = weight, interval, batch_shrink
        self.mean = RunningMean(1, 1 - decay)

    def forward(self, images: Tensor, ws: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return penalty and length of each sample, both (N,); see `losses.path_lengths`."""
        lengths = losses.path_lengths(images, ws, noise)
        return (lengths - self.mean.value).square(), lengths


class LeCam(nn.Module):
    """LeCam regularisation (Tseng et al. 2021) of the discriminator, for small data sets.

    Args:
        weight: Weight of the penalty.
        decay: Decay of the running means of logits.
    """

    def __init__(self, weight: float, decay: float = 0.99) -> None:
        super().__init__()
        self.weight = weight
        self.anchors = RunningMean(2, decay)  # of generated and of real pictures' logits

    def forward(self, fake_logits: Tensor, real_logits: Tensor) -> Tensor:
        """Return the penalty of each pair, shape of the logits."""
        fake_anchor, real_anchor = self.anchors.unbiased()
        return objectives.lecam(fake_logits, real_logits, fake_anchor, real_anchor)
