"""Training images in memory, in an order that depends on the seed and nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from framework.data import ImageDataset, decoded, mapped, open_dataset
from framework.errors import UserError
from framework.training.gradients import rank, world_size
from framework.training.randomness import keyed_generator

VALIDATION_COUNT = 2048


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
        """The images as networks take them: float32 (N, C, H, W) in [-1, 1], where they lie."""
        return self.images.float() / 127.5 - 1


class ImageStream(IterableDataset):
    """Endless shuffled batches: every image once an epoch, each epoch in its own order.

    Position `i` of the stream is a function of (seed, i): a run that was stopped goes on exactly
    where it was, and the number of processes does not change which images a batch holds.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, batch_size: int, seed: int, start: int = 0
    ) -> None:
        self.images, self.labels = images, labels
        self.batch_size, self.seed, self.start = batch_size, seed, start

    def __iter__(self) -> Iterator[Batch]:
        """Yield this process's share of each batch, from image `start` on."""
        share = self.batch_size // world_size()
        first = self.start + rank() * share
        while True:
            yield self.batch(first, share)
            first += self.batch_size

    def batch(self, first: int, count: int | None = None) -> Batch:
        """`count` images (a whole batch if None) from position `first` of the stream."""
        places = range(first, first + (count or self.batch_size))
        index = torch.tensor([self.position(i) for i in places])
        return Batch(self.images[index], self.labels[index], first)

    def position(self, i: int) -> int:
        """Index of the image at position `i` of the stream."""
        epoch, place = divmod(i, len(self.images))
        return int(self._order(epoch)[place])

    def _order(self, epoch: int) -> Tensor:
        if getattr(self, "_epoch", None) != epoch:
            rng = keyed_generator("cpu", self.seed, "order", epoch)
            self._epoch, self._permutation = epoch, torch.randperm(len(self.images), generator=rng)
        return self._permutation


class TrainingImages(lightning.LightningDataModule):
    """Pictures of a folder, a zip or the toy cars, decoded once into memory or a mapped file.

    Args:
        source: Folder, NVIDIA-layout zip, or `toycars` (`toycars:20000` for another count).
        size: Side in pixels, or [H, W]; the pictures' own common size if None.
        channels: 1 grey, 3 RGB, 4 RGBA.
        batch_size: Images a step, over all processes.
        labels: `none`, or `folders` for one class a sub-folder or the zip's `dataset.json`.
        crop: How a picture comes to the wanted shape: `center`, `pad` or `stretch`.
        on_bad: `error` names every unusable file and stops; `skip` goes on without them.
        cache: Folder for the decoded pictures, in one file that is read as it is needed, shared by
            the processes of a machine and used again by the next run; in memory if None.
    """

    def __init__(
        self,
        source: str = "toycars",
        size: int | tuple[int, int] | None = 64,
        channels: int = 3,
        batch_size: int = 32,
        labels: Literal["none", "folders"] = "none",
        crop: Literal["center", "pad", "stretch"] = "center",
        on_bad: Literal["error", "skip"] = "error",
        cache: str | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise UserError(f"--data.batch_size {batch_size}: must be at least 1")
        self.source, self.size, self.channels = source, size, channels
        self.batch_size, self.labels = batch_size, labels
        self.crop: Literal["center", "pad", "stretch"] = crop
        self.on_bad: Literal["error", "skip"] = on_bad
        self.cache = cache
        self.validation_count = VALIDATION_COUNT
        self.seed = 0
        self._dataset: ImageDataset | None = None
        self._images: Tensor | None = None

    def share(self, processes: int) -> int:
        """Images of a batch that each of `processes` works on.

        Raises:
            UserError: If they cannot be shared out evenly.
        """
        if self.batch_size % processes:
            raise UserError(
                f"--data.batch_size {self.batch_size}: must be a multiple of the {processes} "
                "processes"
            )
        return self.batch_size // processes

    @property
    def dataset(self) -> ImageDataset:
        """The opened data set; every file has been checked."""
        if self._dataset is None:
            self._dataset = open_dataset(
                self.source,
                size=self.size,
                channels=self.channels,
                use_labels=self.labels != "none",
                crop=self.crop,
                on_bad=self.on_bad,
            )
        return self._dataset

    def facts(self) -> dict[str, Any]:
        """What the data are, for logs, dry runs and the model card."""
        return {"source": self.source, **self.dataset.facts()}

    def prepare_data(self) -> None:
        """Write the file of decoded pictures where it is missing; one process of each machine."""
        if self.cache is not None:
            mapped(self.dataset, self.cache)

    def setup(self, stage: str) -> None:
        """Decode all pictures into memory, or open the file of them, once."""
        if self._images is None:
            pixels = mapped(self.dataset, self.cache) if self.cache else decoded(self.dataset)
            self._images = torch.from_numpy(pixels)
            labels = [torch.from_numpy(self.dataset.label(i)) for i in range(len(self.dataset))]
            self.label_table = torch.stack(labels)

    @property
    def images(self) -> Tensor:
        """All pictures, uint8, shape (N, C, H, W); after `setup`."""
        assert self._images is not None
        return self._images

    def train_dataloader(self) -> DataLoader:
        """Endless batches, from where the run stands."""
        module = self.trainer.lightning_module if self.trainer else None
        start = getattr(module, "seen_images", 0)
        stream = ImageStream(self.images, self.label_table, self.batch_size, self.seed, start)
        return DataLoader(stream, batch_size=None)

    def val_dataloader(self) -> DataLoader:
        """The first pictures of the shuffled data, every process the same, in whole batches."""
        stream = ImageStream(self.images, self.label_table, self.batch_size, self.seed)
        count = min(self.validation_count, len(self.images)) // self.batch_size * self.batch_size
        if count == 0:
            raise UserError(
                f"--data.batch_size {self.batch_size}: more than the {len(self.images)} pictures "
                "there are; a measure needs whole batches"
            )
        firsts = range(0, count, self.batch_size)
        batches: Any = [stream.batch(first) for first in firsts]
        return DataLoader(batches, batch_size=None)

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Move a batch to where the networks are."""
        return Batch(batch.images.to(device), batch.labels.to(device), batch.first)
