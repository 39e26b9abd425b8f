"""Pictures from tar shards, streamed by an index that was checked against each of them."""

import hashlib
import itertools
import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from framework.data.fit import Crop, check_treatment, fit, planar, size_pair
from framework.data.images import ImageDataset
from framework.data.shard_index import PREFIX, Index, Shard, find_index, read_label
from framework.data.tars import (
    BrokenShard,
    Leftovers,
    Sample,
    engine,
    is_url,
    open_regular,
    opened,
    places,
    samples,
)
from framework.errors import UserError
from framework.media.images import MODES, ImageRefused, decode, printable

_AGAIN = "make the index again"
_TABLES = threading.Lock()


def open_shards(
    source: str,
    size: int | tuple[int, int] | None = None,
    channels: int = 3,
    use_labels: bool = False,
    crop: Crop = "center",
) -> "ShardDataset":
    """Open a data set in shards by its index; the shards themselves are not read yet.

    Args:
        source: `shards:` and a folder, a pattern, URLs with `{000..099}`, or an index file.
        size: Side or (H, W) of the pictures, in pixels; None if all have the same size already.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA).
        use_labels: Whether to give labels to training.
        crop: Crop to the size, see `fit`.

    Raises:
        UserError: If there is no index, or it lacks the shards, the size or the labels.
    """
    engine()
    if channels not in MODES:
        raise UserError(f"{channels}: give 1 (grey), 3 (RGB) or 4 (RGBA)", "channels")
    check_treatment(crop, "lanczos")
    location, index = find_index(source.removeprefix(PREFIX))
    pair = index.size if size is None else size_pair(size)
    if pair is None:
        raise UserError(
            f"{printable(source)}: pictures of several sizes; give the one to use, size=64"
        )
    if use_labels and not index.label_dim:
        text = "no labels: a .cls or .json of one kind beside every picture makes them"
        raise UserError(f"{printable(location)}: {text}")
    base = os.path.dirname(location)
    return ShardDataset(source, base, index, pair, channels, use_labels, crop)


class ShardDataset(ImageDataset):
    """Pictures in tar shards; made by `open_shards`.

    `stream` reads a shard from front to back, for training. Single pictures by number (`image`,
    `label`) are looked up in local shards, for measurements.
    """

    def __init__(
        self,
        source: str,
        base: str,
        index: Index,
        size: tuple[int, int],
        channels: int,
        use_labels: bool,
        crop: Crop,
    ) -> None:
        self.source, self.index, self.size, self.channels = source, index, size, channels
        self.crop: Crop = crop
        self.label_dim = index.label_dim if use_labels else 0
        self.classes = index.classes if use_labels else ()
        self.counts = np.array([shard.count for shard in index.shards])
        self._ends = self.counts.cumsum()
        self._base = base
        self._places: dict[int, np.ndarray] = {}
        treatment = repr((size, channels, crop, self.label_dim))
        self.fingerprint = hashlib.sha256((index.fingerprint + treatment).encode()).hexdigest()

    def __len__(self) -> int:
        return int(self._ends[-1])

    def location(self, shard: int) -> str:
        """Path or URL of a shard."""
        name = self.index.shards[shard].name
        return name if is_url(name) else os.path.join(self._base, name)

    def stream(self, shard: int) -> Iterator[Sample[bytes]]:
        """Yield the usable samples of a shard, undecoded, in order.

        Raises:
            BrokenShard: If it cannot be read or does not match the index, perhaps only at its end.
        """
        entry, location = self.index.shards[shard], self.location(shard)
        with opened(location) as file:
            yield from _usable(samples(file, location, Leftovers()), entry)
            if (file.sha256(), file.bytes) != (entry.sha256, entry.bytes):
                raise BrokenShard(location, f"changed since it was indexed; {_AGAIN}")

    def picture(self, sample: Sample[bytes]) -> np.ndarray:
        """Decode a sample's picture, uint8 (C, H, W)."""
        try:
            pixels = decode(sample.picture, sample.name, self.channels).pixels
        except ImageRefused as error:
            raise BrokenShard(sample.name, f"{error.reason}; {_AGAIN}") from None
        return planar(fit(pixels, self.size, self.crop))

    def vector(self, sample: Sample[bytes]) -> np.ndarray:
        """Return a sample's label, float32 (label_dim,)."""
        if not self.label_dim:
            return np.zeros(0, np.float32)
        label = read_label(sample.label)
        if isinstance(label, int) and label < self.label_dim:
            return (np.arange(self.label_dim) == label).astype(np.float32)
        if isinstance(label, list) and len(label) == self.label_dim:
            return np.asarray(label, np.float32)
        raise BrokenShard(sample.name, f"has no label like the others; {_AGAIN}")

    def first(self, count: int) -> Iterator[Sample[bytes]]:
        """Yield the first `count` samples of all shards, or all if there are fewer."""
        every = itertools.chain.from_iterable(map(self.stream, range(len(self.counts))))
        return itertools.islice(every, count)

    def image(self, index: int) -> np.ndarray:
        """Picture `index`, uint8 (C, H, W); for local shards only."""
        return self.picture(self._sample(index))

    def label(self, index: int) -> np.ndarray:
        """Label of picture `index`, float32 (label_dim,); for local shards only."""
        return self.vector(self._sample(index)) if self.label_dim else np.zeros(0, np.float32)

    def raw_label(self, index: int) -> int | list[float] | None:
        """Class number, vector or None; for local shards only."""
        return read_label(self._sample(index).label) if self.label_dim else None

    def name(self, index: int) -> str:
        """Shard and number in it, since the file's own name would have to be read."""
        shard, number = self._where(index)
        return printable(f"{os.path.basename(self.index.shards[shard].name)}#{number}")

    def facts(self) -> dict[str, Any]:
        """Counts, sizes and treatment."""
        shards = self.index.shards
        return {
            **super().facts(),
            "source": printable(self.source),
            "crop": self.crop,
            "shards": len(shards),
            "bytes": sum(shard.bytes for shard in shards),
            "unusable": sum(len(shard.unusable) for shard in shards),
        }

    def _where(self, index: int) -> tuple[int, int]:
        """Return the shard of a picture, and its number among the usable ones there."""
        shard = int(np.searchsorted(self._ends, index, side="right"))
        return shard, index - int(self._ends[shard] - self.counts[shard])

    def _sample(self, index: int) -> Sample[bytes]:
        shard, number = self._where(index)
        location = self.location(shard)
        if is_url(location):
            text = "single pictures, for measures, are read from local shards only"
            raise UserError(f"{printable(location)}: {text}")
        try:
            table = self._table(shard)
            with open_regular(location) as file:
                picture, label = (_piece(file, place) for place in table[number].reshape(2, 2))
        except OSError as error:
            raise BrokenShard(location, f"cannot be read ({error.strerror})") from None
        return Sample(self.name(index), picture, label or None)

    def _table(self, shard: int) -> np.ndarray:
        """Return offset and size of a shard's usable pictures and labels, 32 bytes a picture."""
        with _TABLES:
            if shard not in self._places:
                entry, location = self.index.shards[shard], self.location(shard)
                candidates = _usable(places(location, location), entry)
                rows = [(*sample.picture, *(sample.label or (0, 0))) for sample in candidates]
                self._places[shard] = np.array(rows, np.int64)
            return self._places[shard]


def _usable(candidates: Iterator[Sample[Any]], entry: Shard) -> Iterator[Sample[Any]]:
    """Yield the samples of a shard that its index lists as usable."""
    left_out, count = set(entry.unusable), 0
    for number, sample in enumerate(candidates):
        if number not in left_out:
            count += 1
            if count > entry.count:
                break
            yield sample
    if count != entry.count:
        raise BrokenShard(entry.name, f"does not hold the {entry.count} pictures it did; {_AGAIN}")


def _piece(file: Any, place: Sequence[int]) -> bytes:
    offset, size = place
    file.seek(int(offset))
    return file.read(int(size))
