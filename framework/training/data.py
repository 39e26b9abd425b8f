"""Training pictures: in memory, in an order that the seed alone decides, or from shards."""

import ctypes
import signal
import sys
from collections.abc import Iterator
from typing import Any, Literal

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from framework.data import ImageDataset, decoded, mapped
from framework.data.fit import size_pair
from framework.data.holdout import LARGEST_SHARE, split
from framework.data.images import NO_PICTURES
from framework.data.opening import open_pictures
from framework.data.pairs import open_pairs
from framework.data.shards import PREFIX, ShardDataset
from framework.errors import UserError, named
from framework.media.images import MODES
from framework.training.batch import Batch
from framework.training.gradients import rank, world_size
from framework.training.randomness import keyed_generator
from framework.training.stream import ShardStream

SHARD_WORKERS = 2  # not a share of the machine's cores: the number decides the order
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_RESERVOIR, _RESERVOIR_BYTES = 2048, 2**28  # most of the shards' first pictures, for grids


class ImageStream(IterableDataset):
    """Endless shuffled batches: every picture once an epoch, each epoch in its own order.

    Position `i` of the stream is a function of (seed, i): a resumed run goes on exactly where it
    stopped, and the number of processes does not change which pictures are in a batch.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, batch_size: int, seed: int, start: int = 0
    ) -> None:
        self.images, self.labels = images, labels
        self.batch_size, self.seed, self.start = batch_size, seed, start
        self.rank, self.processes = rank(), world_size()  # a worker cannot ask for them

    def __iter__(self) -> Iterator[Batch]:
        """Yield this process's share of each batch, from picture `start` on; workers in turn."""
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        share = self.batch_size // self.processes
        first = self.start + number * self.batch_size + self.rank * share
        while True:
            yield self.batch(first, share)
            first += workers * self.batch_size

    def batch(self, first: int, count: int | None = None) -> Batch:
        """Return `count` pictures (a whole batch if None) from position `first` of the stream."""
        places = range(first, first + (count or self.batch_size))
        index = torch.tensor([self.position(i) for i in places])
        return Batch(self.images[index], self.labels[index], first)

    def position(self, i: int) -> int:
        """Return the index of the picture at position `i` of the stream."""
        epoch, place = divmod(i, len(self.images))
        return int(self._order(epoch)[place])

    def _order(self, epoch: int) -> Tensor:
        if getattr(self, "_epoch", None) != epoch:
            rng = keyed_generator("cpu", self.seed, "order", epoch)
            self._epoch, self._permutation = epoch, torch.randperm(len(self.images), generator=rng)
        return self._permutation


class TrainingImages(lightning.LightningDataModule):
    """Pictures of a folder, a zip or the toy cars, decoded once, or streamed from tar shards.

    Args:
        source: Folder, NVIDIA-layout zip, `toycars` (`toycars:20000` for another count), or
            `shards:` and a folder, a pattern or URLs with `{000..099}` (docs/data.md); `none` for
            an editor, which learns from its generator alone.
        size: Side in pixels, or [H, W]; None takes the size of the model (`start_from`, an
            encoder's `generator`), or without one the pictures' own common size.
        channels: 1 grey, 3 RGB, 4 RGBA.
        batch_size: Pictures in a step, over all processes.
        labels: `none`, or `folders` for one class a sub-folder, the zip's `dataset.json`, or the
            labels in shards.
        crop: How a picture gets its shape: `center`, `pad` or `stretch`.
        on_bad: `error` names every unusable file and stops; `skip` goes on without them.
        cache: Folder for the decoded pictures, in one file that is read as needed, shared by the
            processes of a machine and used again by the next run; in memory if None.
        workers: Processes that read and decode, for each process that trains; None takes 2 for
            shards and 0 for pictures in memory. For shards the number decides the order.
        shuffle_buffer: Undecoded pictures of shards from which each worker draws.
        held_out: Share of the pictures that training never sees, 0 to 0.5, to measure on; which
            ones follows from their names alone. Not for shards.
        condition: Take pictures with what they are made from, for translations: `sketch`, `labels`
            or `picture`, of a data set of pairs (docs/data.md) or of toy cars.
        paired: Whether picture and condition belong together.
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
        workers: int | None = None,
        shuffle_buffer: int = 1024,
        held_out: float = 0.0,
        condition: Literal["none", "sketch", "labels", "picture"] = "none",
        paired: bool = True,
    ) -> None:
        super().__init__()
        for name, value, least, most in (
            ("batch_size", batch_size, 1, 65_536),
            ("workers", workers or 0, 0, 256),
            ("shuffle_buffer", shuffle_buffer, 1, 10_000_000),
        ):
            if not least <= value <= most:
                text = f"at least {least}" if value < least else f"at most {most:,}"
                raise UserError(f"--data.{name} {value}: must be {text}")
        if not source.strip():
            raise UserError(
                ": is empty; give a folder or zip of pictures, shards:FOLDER or toycars",
                "data.source",
            )
        if size is not None:
            with named({"size": "--data.size"}):
                size_pair(size)
        if channels not in MODES:
            raise UserError(f"{channels}: give 1 (grey), 3 (RGB) or 4 (RGBA)", "data.channels")
        if source.startswith(PREFIX) and cache is not None:
            raise UserError(f"{cache}: not for shards, which are never all decoded", "data.cache")
        if not 0 <= held_out <= LARGEST_SHARE:
            raise UserError(f"{held_out}: must be from 0 to {LARGEST_SHARE}", "data.held_out")
        if source.startswith(PREFIX) and held_out > 0:
            raise UserError(
                f"{held_out}: not for shards, which have no names to choose by; "
                "leave it at 0 and keep some pictures out of the shards",
                "data.held_out",
            )
        if condition != "none" and source.startswith(PREFIX):
            raise UserError(f"{condition}: not for shards, which hold no pairs", "data.condition")
        if condition != "none" and labels != "none":
            raise UserError(f"{labels}: pairs have no classes; leave it at none", "data.labels")
        self.source, self.size, self.channels = source, size, channels
        self.condition: Literal["none", "sketch", "labels", "picture"] = condition
        self.paired = paired
        self.batch_size, self.labels = batch_size, labels
        self.crop: Literal["center", "pad", "stretch"] = crop
        self.on_bad: Literal["error", "skip"] = on_bad
        self.cache = cache
        self.workers, self.shuffle_buffer = workers, shuffle_buffer
        self.held_out_share = held_out
        self.seed = 0
        self._dataset: ImageDataset | None = None
        self.held_out_dataset: ImageDataset | None = None
        self._held_out: Tensor | None = None
        self._arrays: tuple[Tensor, Tensor] | None = None

    @property
    def img_size(self) -> tuple[int, int]:
        """The pictures' (height, width); `size` must not be None."""
        assert self.size is not None
        return size_pair(self.size)

    @property
    def all_channels(self) -> int:
        """Channels of the pictures, and of their conditions."""
        kinds = {"none": 0, "picture": self.channels}
        return self.channels + kinds.get(self.condition, 1)

    def share(self, processes: int) -> int:
        """Return the number of pictures of a batch that each of `processes` works on.

        Raises:
            UserError: If the batch cannot be shared out evenly.
        """
        share = self.even_share(processes)
        shards = self.shards
        if shards is not None and len(shards.counts) < processes:
            raise UserError(
                f"{self.source}: {len(shards.counts)} shards are too few for "
                f"{processes} processes; make smaller ones (`shard --shard_mb`)",
                "data.source",
            )
        return share

    def even_share(self, processes: int) -> int:
        """Return the same number without opening the pictures."""
        if self.batch_size % processes:
            raise UserError(
                f"{self.batch_size}: must be a multiple of the {processes} processes",
                "data.batch_size",
            )
        return self.batch_size // processes

    @property
    def dataset(self) -> ImageDataset:
        """The pictures to train on; every file has been checked."""
        if self._dataset is None:
            self._dataset = self._opened()
            if self.held_out_share > 0:
                self._dataset, self.held_out_dataset = split(self._dataset, self.held_out_share)
        return self._dataset

    def _opened(self) -> ImageDataset:
        source, size, channels, crop = self.source, self.size, self.channels, self.crop
        if self.condition != "none":
            paired = self.paired
            return open_pairs(source, size, self.condition, paired, channels, crop, self.on_bad)
        return open_pictures(source, size, channels, self.labels != "none", crop, self.on_bad)

    @property
    def shards(self) -> ShardDataset | None:
        """The data set if it is streamed; None if it is in memory."""
        return self.dataset if isinstance(self.dataset, ShardDataset) else None

    def readers(self, processes: int) -> int:
        """Return the number of shard readers in each of `processes`, each with a shard at least."""
        workers = SHARD_WORKERS if self.workers is None else max(1, self.workers)
        return min(workers, len(self.shards.counts) // processes) if self.shards else 1

    def facts(self) -> dict[str, Any]:
        """Return what the data are, for logs, dry runs and the model card."""
        return {"source": self.source, **self.dataset.facts()}

    def remarks(self) -> list[str]:
        """Return remarks about the data for the user, a line each."""
        if self.source == NO_PICTURES:
            return []
        count, noun = len(self.dataset), "picture" if len(self.dataset) == 1 else "pictures"
        few = f"{count} {noun} for batches of {self.batch_size}: batches repeat them"
        return [*self.dataset.remarks(), *([few] if count < self.batch_size else [])]

    def identity(self) -> dict[str, Any]:
        """Return what must not change in a run: a digest of the data, and the facts behind it."""
        facts = {**self.dataset.facts(), "source": self.source, "held_out": self.held_out_share}
        names = ("count", "source", "size", "channels", "label_dim", "crop", "held_out")
        names += ("condition", "paired")
        pictures = {name: facts[name] for name in names if name in facts}
        return {"data": self.dataset.fingerprint, "pictures": pictures}

    def prepare_data(self) -> None:
        """Write the file of decoded pictures if it is missing; one process of each machine does."""
        if self.cache is not None:
            mapped(self.dataset, self.cache)

    def setup(self, stage: str) -> None:
        """Decode all pictures into memory, or open the file of them, once; shards wait."""
        if self._arrays is None and self.shards is None:
            pixels = mapped(self.dataset, self.cache) if self.cache else decoded(self.dataset)
            labels = [torch.from_numpy(self.dataset.label(i)) for i in range(len(self.dataset))]
            self._arrays = torch.from_numpy(pixels), torch.stack(labels)

    def _tables(self) -> tuple[Tensor, Tensor]:
        """Return pictures and labels: all of them, or the first ones of shards."""
        shards = self.shards
        if self._arrays is None and shards is not None:
            each = shards.channels * shards.size[0] * shards.size[1]
            most = max(1, _RESERVOIR_BYTES // each)
            samples = list(shards.first(min(_RESERVOIR, most)))
            images = np.stack([shards.picture(sample) for sample in samples])
            labels = np.stack([shards.vector(sample) for sample in samples])
            self._arrays = torch.from_numpy(images), torch.from_numpy(labels)
        assert self._arrays is not None
        return self._arrays

    @property
    def images(self) -> Tensor:
        """All pictures, or the first ones of shards, uint8, shape (N, C, H, W); needs `setup`."""
        return self._tables()[0]

    @property
    def label_table(self) -> Tensor:
        """The labels of `images`, float32, shape (N, label_dim)."""
        return self._tables()[1]

    @property
    def held_out(self) -> Tensor | None:
        """The pictures that training never sees, uint8, shape (M, C, H, W); None without any."""
        _ = self.dataset  # opening splits it
        if self._held_out is None and self.held_out_dataset is not None:
            self._held_out = torch.from_numpy(decoded(self.held_out_dataset))
        return self._held_out

    def train_dataloader(self) -> DataLoader:
        """Return endless batches, from this point of the run."""
        module = self.trainer.lightning_module if self.trainer else None
        start = getattr(module, "seen_images", 0)
        if self.shards is None:
            images = ImageStream(*self._tables(), self.batch_size, self.seed, start)
            return self._loader(images, self.workers or 0)
        readers = self.readers(world_size())
        stream = ShardStream(
            self.shards,
            self.batch_size,
            self.seed,
            start,
            self.shuffle_buffer,
            readers,
            rank(),
            world_size(),
        )
        return self._loader(stream, 0 if self.workers == 0 else readers)

    def _loader(self, stream: IterableDataset, workers: int) -> DataLoader:
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return DataLoader(
            stream,
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=_begin_worker if workers else None,
            pin_memory=on_gpu,
        )

    def transfer_batch_to_device(
        self, batch: Batch | UserError, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Move a batch to the device of the networks.

        Raises:
            UserError: If a worker yielded it in place of a batch: raised there, it would come out
                as a page of two tracebacks.
        """
        if isinstance(batch, UserError):
            raise batch
        return batch.to(device)

    def state_dict(self) -> dict[str, Any]:
        """Return what decides the order of shards besides the seed; goes into checkpoints."""
        if self.shards is None:
            return {}
        processes = world_size()
        return {
            "processes": processes,
            "workers": self.readers(processes),
            "shuffle_buffer": self.shuffle_buffer,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Print a note if a resumed run will meet the pictures in another order."""
        now = self.state_dict()
        changed = [
            f"{name} {old}, now {now.get(name)}"
            for name, old in state_dict.items()
            if old != now.get(name)
        ]
        if changed and rank() == 0:
            print(
                f"note: {'; '.join(changed)}: the pictures come in another order than they would "
                "have, so this is not bit for bit the run that was never stopped",
                file=sys.stderr,
            )


def _begin_worker(_: int) -> None:
    """Ignore Ctrl-C in a worker, and end it with its training process.

    A worker that outlived a killed run by seconds would keep the lock of its run folder.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
