"""The batch of a training step."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """One process's share of a batch.

    Attributes:
        images: uint8, shape (N, C, H, W).
        labels: float32, shape (N, c_dim).
        first: Index of its first image among all images ever seen, over all processes.
    """

    images: Tensor
    labels: Tensor
    first: int

    def pictures(self) -> Tensor:
        """Return the images as networks take them: float32 (N, C, H, W) in [-1, 1], same device."""
        return self.images.float() / 127.5 - 1

    def parts(self, size: int) -> "Iterator[Batch]":
        """Yield micro-batches of `size` images, in order."""
        for i in range(0, len(self.images), size):
            yield Batch(self.images[i : i + size], self.labels[i : i + size], self.first + i)

    def pin_memory(self) -> "Batch":
        """Return a copy in memory that a GPU reads by itself; the loader calls this."""
        return Batch(self.images.pin_memory(), self.labels.pin_memory(), self.first)

    def to(self, device: torch.device) -> "Batch":
        """Return a copy on a device; from pinned memory without waiting."""
        images, labels = (t.to(device, non_blocking=True) for t in (self.images, self.labels))
        return Batch(images, labels, self.first)
