"""Endless shuffled batches from tar shards, in an order that can be found again at any place.

A process has a few readers, one in each worker of its loader, and every reader has its own shards:
in each of its epochs a share of them, dealt out anew. Its pictures leave through a buffer that is
drawn from at random. All draws are keyed, so what is the i-th picture of a reader follows from
(seed, processes, readers, buffer, i); only the shards that hold what is still to come are opened.
"""

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from framework.data.shards import ShardDataset
from framework.data.tars import Sample
from framework.errors import UserError
from framework.training.batch import Batch
from framework.training.randomness import keyed_generator


def through_buffer(count: int, size: int, rng: torch.Generator) -> np.ndarray:
    """Order in which `count` numbers leave a buffer that they enter from 0 up.

    The buffer holds `size` numbers. Whenever one enters the full buffer, one drawn at random leaves
    its place to it; in the end, those that are left leave in random order. Takes some 40 bytes a
    number for a moment.

    Returns:
        int64, shape (count,).
    """
    held = min(size, count)
    places = torch.randint(held, (count - held,), generator=rng).numpy()
    last = np.arange(held)  # who holds each place
    last[places] = np.arange(held, count)  # of several, the last one stays
    # Who leaves: whoever came to this place at the draw before, or was in it from the beginning.
    by_place = np.argsort(places, kind="stable")
    again = np.flatnonzero(np.diff(places[by_place]) == 0) + 1
    leaving = places.copy()
    leaving[by_place[again]] = held + by_place[again - 1]
    return np.concatenate([leaving, last[torch.randperm(held, generator=rng).numpy()]])


class ShardStream(IterableDataset):
    """One process's share of each batch, for a loader with `readers` workers (or none, if 1).

    Args:
        shards: The data set.
        batch_size: Images a step, over all processes.
        seed: Of all draws.
        start: Images seen, over all processes: where to begin.
        buffer: Undecoded pictures that a reader draws from.
        readers: Readers a process.
        rank: Which process this is.
        processes: How many there are.
    """

    def __init__(
        self,
        shards: ShardDataset,
        batch_size: int,
        seed: int,
        start: int = 0,
        buffer: int = 1024,
        readers: int = 1,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.shards, self.batch_size, self.seed, self.start = shards, batch_size, seed, start
        self.buffer, self.readers, self.rank, self.processes = buffer, readers, rank, processes

    def __iter__(self) -> Iterator[Batch | UserError]:
        """Yield batches; a worker also yields what stopped it, for the main process to raise."""
        worker = get_worker_info()
        if worker is None:
            yield from self.batches(0)
            return
        try:
            yield from self.batches(worker.id)
        except UserError as error:
            yield error

    def batches(self, worker: int) -> Iterator[Batch]:
        """Every batch whose turn is this worker's: the loader asks them in turn."""
        share = self.batch_size // self.processes
        number = self.start // self.batch_size + worker
        reader = self.rank * self.readers + number % self.readers
        samples = self.samples(reader, number // self.readers * share)
        while True:
            found = list(itertools.islice(samples, share))
            images = np.stack([self.shards.picture(sample) for sample in found])
            labels = np.stack([self.shards.vector(sample) for sample in found])
            first = number * self.batch_size + self.rank * share
            yield Batch(torch.from_numpy(images), torch.from_numpy(labels), first)
            number += self.readers

    def samples(self, reader: int, start: int) -> Iterator[Sample[bytes]]:
        """What a reader gives from its sample number `start` on, endlessly."""
        for epoch in itertools.count():
            mine = self.dealt(reader, epoch)
            count = int(self.shards.counts[mine].sum())
            if start < count:
                yield from self._epoch(reader, epoch, mine, start)
            start = max(0, start - count)

    def dealt(self, reader: int, epoch: int) -> list[int]:
        """The shards of a reader in an epoch, in order; one more goes round among the readers."""
        rng = keyed_generator("cpu", self.seed, "shards", epoch)
        order = torch.randperm(len(self.shards.counts), generator=rng)
        readers = self.processes * self.readers
        return order[(reader + epoch) % readers :: readers].tolist()

    def _epoch(
        self, reader: int, epoch: int, mine: list[int], start: int
    ) -> Iterator[Sample[bytes]]:
        count = int(self.shards.counts[mine].sum())
        key = (self.processes, self.readers, reader, epoch)
        rng = keyed_generator("cpu", self.seed, "buffer", *key)
        order = through_buffer(count, self.buffer, rng)
        to_come = np.ones(count, bool)
        to_come[order[:start]] = False
        entering, held = self._entering(mine, to_come), dict[int, Sample[bytes]]()
        for wanted in order[start:].tolist():
            while wanted not in held:
                number, sample = next(entering)
                held[number] = sample
            yield held.pop(wanted)
        for _ in entering:  # to the end of the last shard, where its digest is compared
            pass

    def _entering(
        self, mine: list[int], to_come: np.ndarray
    ) -> Iterator[tuple[int, Sample[bytes]]]:
        """Those of an epoch's samples that are still to come; other shards are not opened."""
        ends = self.shards.counts[mine].cumsum()
        for shard, end in zip(mine, ends.tolist(), strict=True):
            first = end - int(self.shards.counts[shard])
            if not to_come[first:end].any():
                continue
            for number, sample in enumerate(self.shards.stream(shard), first):
                if to_come[number]:
                    yield number, sample
