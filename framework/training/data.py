"""Training images: in memory, in an order of the seed and nothing else, or from shards."""

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
from framework.data.opening import open_pictures
from framework.data.shards import PREFIX, ShardDataset
from framework.errors import UserError, named
from framework.media.images import MODES
from framework.training.batch import Batch
from framework.training.gradients import rank, world_size
from framework.training.randomness import keyed_generator
from framework.training.stream import ShardStream

SHARD_WORKERS = 2  # and not a share of the machine's cores: they decide the order
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_RESERVOIR, _RESERVOIR_BYTES = 2048, 2**28  # of the first pictures of shards, for grids


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
        self.rank, self.processes = rank(), world_size()  # a worker may not know

    def __iter__(self) -> Iterator[Batch]:
        """Yield this process's share of each batch, from image `start` on; workers in turn."""
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        share = self.batch_size // self.processes
        first = self.start + number * self.batch_size + self.rank * share
        while True:
            yield self.batch(first, share)
            first += workers * self.batch_size

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
    """Pictures of a folder, a zip or the toy cars, decoded once, or streamed from tar shards.

    Args:
        source: Folder, NVIDIA-layout zip, `toycars` (`toycars:20000` for another count), or
            `shards:` and a folder, a pattern or URLs with `{000..099}` (docs/data.md).
        size: Side in pixels, or [H, W]; None takes the size that the model has (`start_from`, an
            encoder's `generator`), or without one the pictures' own common size.
        channels: 1 grey, 3 RGB, 4 RGBA.
        batch_size: Images a step, over all processes.
        labels: `none`, or `folders` for one class a sub-folder, the zip's `dataset.json`, or the
            labels in shards.
        crop: How a picture comes to the wanted shape: `center`, `pad` or `stretch`.
        on_bad: `error` names every unusable file and stops; `skip` goes on without them.
        cache: Folder for the decoded pictures, in one file that is read as it is needed, shared by
            the processes of a machine and used again by the next run; in memory if None.
        workers: Processes that read and decode, for each process that trains; None takes 2 for
            shards and 0 for what is in memory. Of shards they decide the order.
        shuffle_buffer: Undecoded pictures of shards that each worker draws from.
        held_out: Share of the pictures that training never sees, 0 to 0.5, for looking how well it
            does on others; which ones follows from their names alone. Not for shards.
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
                "--data.source: is empty; give a folder or zip of pictures, shards:FOLDER or "
                "toycars"
            )
        if size is not None:
            with named({"size": "--data.size"}):
                size_pair(size)
        if channels not in MODES:
            raise UserError(f"--data.channels {channels}: give 1 (grey), 3 (RGB) or 4 (RGBA)")
        if source.startswith(PREFIX) and cache is not None:
            raise UserError(f"--data.cache {cache}: not for shards, which are never all decoded")
        if not 0 <= held_out <= LARGEST_SHARE:
            raise UserError(f"--data.held_out {held_out}: must be from 0 to {LARGEST_SHARE}")
        if source.startswith(PREFIX) and held_out > 0:
            raise UserError(
                f"--data.held_out {held_out}: not for shards, which have no names to choose by; "
                "leave it at 0 and keep some pictures out of the shards"
            )
        self.source, self.size, self.channels = source, size, channels
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
        self._held: tuple[Tensor, Tensor] | None = None

    @property
    def img_size(self) -> tuple[int, int]:
        """(height, width) of the pictures, of a `size` that was given."""
        assert self.size is not None
        return size_pair(self.size)

    def share(self, processes: int) -> int:
        """Images of a batch that each of `processes` works on.

        Raises:
            UserError: If they cannot be shared out evenly.
        """
        share = self.even_share(processes)
        shards = self.shards
        if shards is not None and len(shards.counts) < processes:
            raise UserError(
                f"--data.source {self.source}: {len(shards.counts)} shards are too few for "
                f"{processes} processes; make smaller ones (`shard --shard_mb`)"
            )
        return share

    def even_share(self, processes: int) -> int:
        """The same, before a picture is looked at."""
        if self.batch_size % processes:
            raise UserError(
                f"--data.batch_size {self.batch_size}: must be a multiple of the {processes} "
                "processes"
            )
        return self.batch_size // processes

    @property
    def dataset(self) -> ImageDataset:
        """The pictures to train on; every file has been checked."""
        if self._dataset is None:
            use_labels = self.labels != "none"
            self._dataset = open_pictures(
                self.source, self.size, self.channels, use_labels, self.crop, self.on_bad
            )
            if self.held_out_share > 0:
                self._dataset, self.held_out_dataset = split(self._dataset, self.held_out_share)
        return self._dataset

    @property
    def shards(self) -> ShardDataset | None:
        """The data set where it is streamed; None where it is held."""
        return self.dataset if isinstance(self.dataset, ShardDataset) else None

    def readers(self, processes: int) -> int:
        """Readers of shards in each of `processes`, which have at least one shard each."""
        wanted = SHARD_WORKERS if self.workers is None else max(1, self.workers)
        return min(wanted, len(self.shards.counts) // processes) if self.shards else 1

    def facts(self) -> dict[str, Any]:
        """What the data are, for logs, dry runs and the model card."""
        return {"source": self.source, **self.dataset.facts()}

    def remarks(self) -> list[str]:
        """What a user should know of the data before training, in a line each."""
        count, noun = len(self.dataset), "picture" if len(self.dataset) == 1 else "pictures"
        few = f"{count} {noun} for batches of {self.batch_size}: batches repeat them"
        return [*self.dataset.remarks(), *([few] if count < self.batch_size else [])]

    def identity(self) -> dict[str, Any]:
        """What must not change in a run, as a digest, and in words what it is of."""
        facts = {**self.dataset.facts(), "source": self.source, "held_out": self.held_out_share}
        told = ("count", "source", "size", "channels", "label_dim", "crop", "held_out")
        pictures = {name: facts[name] for name in told if name in facts}
        return {"data": self.dataset.fingerprint, "pictures": pictures}

    def prepare_data(self) -> None:
        """Write the file of decoded pictures where it is missing; one process of each machine."""
        if self.cache is not None:
            mapped(self.dataset, self.cache)

    def setup(self, stage: str) -> None:
        """Decode all pictures into memory, or open the file of them, once; of shards later."""
        if self._held is None and self.shards is None:
            pixels = mapped(self.dataset, self.cache) if self.cache else decoded(self.dataset)
            labels = [torch.from_numpy(self.dataset.label(i)) for i in range(len(self.dataset))]
            self._held = torch.from_numpy(pixels), torch.stack(labels)

    def _tables(self) -> tuple[Tensor, Tensor]:
        """Pictures and labels: all of them, or the first ones of shards."""
        shards = self.shards
        if self._held is None and shards is not None:
            each = shards.channels * shards.size[0] * shards.size[1]
            most = max(1, _RESERVOIR_BYTES // each)
            found = list(shards.first(min(_RESERVOIR, most)))
            images = np.stack([shards.picture(sample) for sample in found])
            labels = np.stack([shards.vector(sample) for sample in found])
            self._held = torch.from_numpy(images), torch.from_numpy(labels)
        assert self._held is not None
        return self._held

    @property
    def images(self) -> Tensor:
        """All pictures, or the first ones of shards, uint8, shape (N, C, H, W); after `setup`."""
        return self._tables()[0]

    @property
    def label_table(self) -> Tensor:
        """Their labels, float32, shape (N, label_dim)."""
        return self._tables()[1]

    @property
    def held_out(self) -> Tensor | None:
        """The pictures that training never sees, uint8, shape (M, C, H, W); None without any."""
        _ = self.dataset  # opened, it is split
        if self._held_out is None and self.held_out_dataset is not None:
            self._held_out = torch.from_numpy(decoded(self.held_out_dataset))
        return self._held_out

    def train_dataloader(self) -> DataLoader:
        """Endless batches, from where the run stands."""
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
        """Move a batch to where the networks are.

        Raises:
            UserError: If it is what a worker had to say instead: raised there, it would come out as
                a page of two tracebacks.
        """
        if isinstance(batch, UserError):
            raise batch
        return batch.to(device)

    def state_dict(self) -> dict[str, Any]:
        """What the order of shards depends on besides the seed; goes into checkpoints."""
        if self.shards is None:
            return {}
        processes = world_size()
        return {
            "processes": processes,
            "workers": self.readers(processes),
            "shuffle_buffer": self.shuffle_buffer,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Say so if a resumed run will meet the pictures in another order."""
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
    """Ctrl-C reaches the workers, too, but the training decides when they end: with it at latest.

    A worker that outlives a killed training for seconds would hold its run folder's lock.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
