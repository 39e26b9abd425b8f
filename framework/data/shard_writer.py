"""Writing of tar shards, and of an index for existing shards."""

import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from framework.data.fit import Crop, Filter
from framework.data.images import FileDataset, ImageDataset, open_dataset
from framework.data.labels import LabelSource, label_kind
from framework.data.scan import OnBad, Progress, in_threads, judge
from framework.data.shard_index import INDEX, PREFIX, Index, Shard, expanded, read_label
from framework.data.sources import Problem
from framework.data.tars import BrokenShard, HashedFile, Leftovers, engine, is_url, opened, samples
from framework.errors import UserError
from framework.files import (
    check_new_file,
    check_new_folder,
    new_folder,
    sha256_file,
    whole_file,
    write_text,
)
from framework.media.images import MODES, ImageRefused, Refusal, decode, png_bytes, printable
from framework.settings import whole

_SUFFIXES = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}  # formats of pictures that may be copied


# ----------------------------------------------------------------------------------------- writing


def shard(  # noqa: D417 - the others are of `open_dataset`
    source: str | Path,
    out: str | Path,
    size: int | tuple[int, int] | None = None,
    channels: int = 3,
    crop: Crop = "center",
    filter: Filter = "lanczos",
    dedup: bool = False,
    on_bad: OnBad = "error",
    labels: LabelSource = "none",
    shard_mb: float = 256,
    seed: int = 0,
    follow_links: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write a data set as tar files in WebDataset's layout, with their index.

    The pictures are shuffled first: a stream is shuffled only within its buffer. A picture that
    already has the right size and channels is copied, others become PNG. Each shard appears
    whole, the index last; the same pictures and seed give the same bytes. Further arguments are
    those of `open_dataset`.

    Args:
        source: Folder or zip of pictures, or `toycars`.
        out: A new folder.
        shard_mb: Size at which a shard is full, in millions of bytes.
        seed: Seed of the shuffling.
        progress: Called as `progress(done, total)`, first for the scan, then for the writing.

    Returns:
        The data set's facts, as `ImageDataset.facts`, and those of the shards.

    Raises:
        UserError: If `out` holds something or cannot be written, or if `open_dataset` refuses.
    """
    engine()
    if not shard_mb > 0:
        raise UserError(f"{shard_mb}: must be positive", "shard_mb")
    whole(seed, "seed")
    check_new_folder(out)
    dataset = open_dataset(
        source, size, channels, labels != "none", on_bad, crop, filter, labels, dedup,
        follow_links, progress,
    )  # fmt: skip
    try:
        folder = new_folder(out)
        shards = tuple(_written(dataset, folder, shard_mb * 1e6, seed, progress))
        index = Index(shards, dataset.size, dataset.label_dim, dataset.classes)
        write_text(folder / INDEX, index.text())
    except OSError as error:
        where = error.filename or out
        raise UserError(f"{where}: cannot be written ({error.strerror or error})", "out") from None
    return {**dataset.facts(), "remarks": dataset.remarks(), **_facts(index)}


def _facts(index: Index) -> dict[str, Any]:
    return {"shards": len(index.shards), "bytes": sum(shard.bytes for shard in index.shards)}


def _written(
    dataset: ImageDataset, folder: Path, full_bytes: float, seed: int, progress: Progress | None
) -> Iterator[Shard]:
    encoded = _encoded(dataset, seed, progress)
    sample = next(encoded, None)
    for number in itertools.count():
        if sample is None:
            return
        path, count = folder / f"{number:06d}.tar", 0
        with whole_file(path) as temporary, open(temporary, "wb") as file:
            with engine().TarWriter(file, encoder=False, mtime=0, user="", group="") as tar:
                while sample is not None and (count == 0 or tar.tarstream.offset < full_bytes):
                    tar.write(sample)
                    count, sample = count + 1, next(encoded, None)
        yield Shard(path.name, count, path.stat().st_size, sha256_file(path))


def _encoded(
    dataset: ImageDataset, seed: int, progress: Progress | None
) -> Iterator[dict[str, Any]]:
    """Yield samples in the form that `TarWriter` takes, shuffled; the key is the number."""
    order = np.random.default_rng(seed).permutation(len(dataset)).tolist()

    def encode(index: int) -> dict[str, Any]:
        suffix, data = _file_of(dataset, index)
        label = dataset.raw_label(index)
        labels = {} if label is None else {"cls" if isinstance(label, int) else "json": label}
        texts = {kind: json.dumps(value).encode() for kind, value in labels.items()}
        return {"__key__": f"{index:09d}", suffix: data, **texts}

    for done, sample in enumerate(in_threads(encode, order), 1):
        yield sample
        if progress:
            progress(done, len(order))


def _file_of(dataset: ImageDataset, index: int) -> tuple[str, bytes]:
    """Return suffix and bytes of a picture: its own file if that fits, else a PNG."""
    if isinstance(dataset, FileDataset):
        record = dataset.scan.records[index]
        fits = record.size == dataset.size and record.mode == MODES[dataset.channels]
        if fits and record.format in _SUFFIXES:
            return _SUFFIXES[record.format], dataset.file(index)
    return "png", png_bytes(dataset.image(index).transpose(1, 2, 0))


# ---------------------------------------------------------------------------------------- indexing


def index_shards(
    source: str,
    out: str | None = None,
    on_bad: OnBad = "error",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Read shards once, decode every picture, and write an index of their content.

    Args:
        source: Folder of tar files, pattern, or URLs with {000..099}; `shards:` may precede it.
        out: The index file; by default shards.json beside the shards.
        on_bad: Stop at pictures or shards that cannot be used, or leave them out.
        progress: Called as `progress(done, total)` with shards.

    Returns:
        The index's facts, `unusable` by name and reason, and members `never_read` by suffix.

    Raises:
        UserError: If the index exists or cannot be written, or if the shards cannot be used.
    """
    engine()
    locations = expanded(source.removeprefix(PREFIX))
    path = _index_path(locations, out)
    looks = []
    for look in in_threads(_look, locations):
        looks.append(look)
        if progress:
            progress(len(looks), len(locations))
    problems = [problem for look in looks for problem in look.left.problems]
    readable = [look for look in looks if look.shard is not None]
    usable = sum(look.shard.count for look in readable if look.shard)
    judge(source, problems, usable, on_bad, remedy="mend them")
    sizes = set[tuple[int, int]]().union(*(look.sizes for look in readable))
    index = Index(
        tuple(look.shard for look in readable if look.shard),
        sizes.pop() if len(sizes) == 1 else None,
        _label_dim(set[tuple[int, int]]().union(*(look.labels for look in readable))),
    )
    try:
        write_text(path, index.text())
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})", "out") from None
    return {
        "out": str(path),
        "count": index.count,
        "size": None if index.size is None else list(index.size),
        "label_dim": index.label_dim,
        **_facts(index),
        "unusable": [{"name": printable(p.name), "reason": p.reason} for p in problems],
        "never_read": dict(sum((look.left.others for look in looks), Counter[str]())),
    }


def _index_path(locations: list[str], out: str | None) -> Path:
    folders = {os.path.dirname(location) for location in locations}
    if out is None and (len(folders) > 1 or any(map(is_url, locations))):
        raise UserError(
            ": name the index to write (.json); these shards lie in no one folder", "out"
        )
    path = Path(out if out is not None else os.path.join(folders.pop(), INDEX))
    if path.suffix != ".json":
        raise UserError(f"{path}: give a name that ends in .json", "out")
    check_new_file(path)
    beside = all(is_url(where) or Path(where).parent == path.parent for where in locations)
    if not beside:
        raise UserError(f"{path}: must lie beside the shards, unless they are URLs", "out")
    return path


class _Look:
    """The result of reading one shard."""

    def __init__(self) -> None:
        self.shard: Shard | None = None
        self.left = Leftovers()
        self.sizes: set[tuple[int, int]] = set()
        self.labels: set[tuple[int, int]] = set()  # (kind, class numbers needed)


def _look(location: str) -> _Look:
    """Read a whole shard and decode its pictures; a broken shard counts as one problem."""
    look = _Look()
    try:
        with opened(location) as file:
            count, unusable = _look_through(file, location, look)
            sha256 = file.sha256()
    except BrokenShard as error:
        look.left.problems = [Problem(error.where, Refusal.DAMAGED, error.reason)]
        return look
    if count:
        name = location if is_url(location) else os.path.basename(location)
        look.shard = Shard(name, count, file.bytes, sha256, tuple(unusable))
    return look


def _look_through(file: HashedFile, location: str, look: _Look) -> tuple[int, list[int]]:
    count, unusable, where = 0, list[int](), os.path.basename(location)
    for number, sample in enumerate(samples(file, location, look.left)):
        try:
            height, width = decode(sample.picture, sample.name).pixels.shape[:2]
        except ImageRefused as error:
            look.left.refuse(sample.name, error.kind, error.reason)
            unusable.append(number)
            continue
        count += 1
        look.sizes.add((height, width))
        label = read_label(sample.label)
        kind = label_kind(label)
        look.labels.add((-1 if kind is None else kind, label + 1 if isinstance(label, int) else 0))
    look.left.problems = [
        Problem(f"{where}/{problem.name}", problem.kind, problem.reason)
        for problem in look.left.problems
    ]
    return count, unusable


def _label_dim(kinds_needed: set[tuple[int, int]]) -> int:
    """Return the length of the labels' vectors; 0 unless all pictures have one of one kind."""
    kinds = {kind for kind, _ in kinds_needed}
    if len(kinds) != 1 or -1 in kinds:
        return 0
    return kinds.pop() or max(needed for _, needed in kinds_needed)
