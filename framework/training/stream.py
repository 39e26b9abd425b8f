"""Endless shuffled batches from tar shards, in an order that can be resumed at any place.

A process has a few readers, one in each worker of its loader, and every reader has its own shards:
in each epoch another share of them. Its pictures leave through a buffer from which they are drawn
at random. All draws are keyed, so the i-th picture of a reader follows from (seed, processes,
readers, buffer, i); only shards with pictures that are still to come are opened.
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
    """Return the order in which `count` numbers leave a buffer that they enter from 0 up.

    The buffer has `size` places. Whenever a number enters the full buffer, one drawn at random
    leaves its place to it; in the end, the rest leave in random order. Takes some 40 bytes a number
    for a moment.

    Returns:
        int64, shape (count,).
    """
    size = min(size, count)
    places = torch.randint(size, (count - size,), generator=rng).numpy()
    last = np.arange(size)  # the number in each place at the end
    last[places] = np.arange(size, count)  # of several, the last one stays
    # A number that leaves came at the previous draw of its place, or was there from the beginning.
    by_place = np.argsort(places, kind="stable")
    again = np.flatnonzero(np.diff(places[by_place]) == 0) + 1
    leaving = places.copy()
    leaving[by_place[again]] = size + by_place[again - 1]
    return np.concatenate([leaving, last[torch.randperm(size, generator=rng).numpy()]])


class ShardStream(IterableDataset):
    """One process's share of each batch, for a loader with `readers` workers (or none, if 1).

    Args:
        shards: The data set.
        batch_size: Pictures in a step, over all processes.
        seed: Seed of all draws.
        start: Pictures seen so far, over all processes.
        buffer: Undecoded pictures from which a reader draws.
        readers: Readers in each process.
        rank: Index of this process.
        processes: Number of processes.
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
        """Yield batches; a worker also yields the error that stopped it, for the main process."""
        worker = get_worker_info()
        if worker is None:
            yield from self.batches(0)
            return
        try:
            yield from self.batches(worker.id)
        except UserError as error:
            yield error

    def batches(self, worker: int) -> Iterator[Batch]:
        """Yield this worker's batches: the loader asks its workers in turn."""
        share = self.batch_size // self.processes
        number = self.start // self.batch_size + worker
        reader = self.rank * self.readers + number % self.readers
        samples = self.samples(reader, number // self.readers * share)
        while True:
            part = list(itertools.islice(samples, share))
            images = np.stack([self.shards.picture(sample) for sample in part])
            labels = np.stack([self.shards.vector(sample) for sample in part])
            first = number * self.batch_size + self.rank * share
            yield Batch(torch.from_numpy(images), torch.from_numpy(labels), first)
            number += self.readers

    def samples(self, reader: int, start: int) -> Iterator[Sample[bytes]]:
        """Yield a reader's samples from its number `start` on, endlessly."""
        for epoch in itertools.count():
            mine = self.shards_of(reader, epoch)
            count = int(self.shards.counts[mine].sum())
            if start < count:
                yield from self._epoch(reader, epoch, mine, start)
            start = max(0, start - count)

    def shards_of(self, reader: int, epoch: int) -> list[int]:
        """Return a reader's shards in an epoch, in order; an odd one goes round the readers."""
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
        entering, buffer = self._entering(mine, to_come), dict[int, Sample[bytes]]()
        for leaving in order[start:].tolist():
            while leaving not in buffer:
                number, sample = next(entering)
                buffer[number] = sample
            yield buffer.pop(leaving)
        for _ in entering:  # to the end of the last shard, where its digest is compared
            pass

    def _entering(
        self, mine: list[int], to_come: np.ndarray
    ) -> Iterator[tuple[int, Sample[bytes]]]:
        """Yield an epoch's samples that are still to come; other shards are not opened."""
        ends = self.shards.counts[mine].cumsum()
        for shard, end in zip(mine, ends.tolist(), strict=True):
            first = end - int(self.shards.counts[shard])
            if not to_come[first:end].any():
                continue
            for number, sample in enumerate(self.shards.stream(shard), first):
                if to_come[number]:
                    yield number, sample
