"""Pictures that each come with a condition: a sketch, a map of labels, or another picture.

A data set of pairs gives both at once, the condition's channels after the picture's, so that
everything that knows pictures (memory, cache, order, held-out parts) knows pairs.
"""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from framework.compositing.geometry import fit_geometry, to_canvas
from framework.data.fit import Crop, check_treatment, fit, planar, size_pair
from framework.data.images import TOY_SIZE, ImageDataset, toy_numbers
from framework.data.pair_layouts import HINT, PARTS, Files, Kind, find_pairs
from framework.data.scan import OnBad, Progress, Record, in_threads, judge, scan
from framework.data.sources import Source, open_source
from framework.data.toycars import LOOK, Part, ToyCars
from framework.errors import UserError
from framework.media.images import MODES, decode, printable
from framework.media.label_maps import read_label_map
from framework.media.sketches import as_sketch

__all__ = ["Kind", "PairDataset", "open_pairs"]


class PairDataset(ImageDataset):
    """Pairs by number: `image` gives the picture's channels, then the condition's.

    Attributes:
        kind: What the conditions are: `sketch`, `labels` or `picture`.
        paired: Whether picture and condition belong together.
        names: Names of the labels, from 0; empty without.
        num_labels: The highest label and one; 0 without labels.
    """

    kind: Kind
    paired: bool
    names: tuple[str, ...] = ()
    num_labels: int = 0

    @abstractmethod
    def picture(self, index: int) -> np.ndarray:
        """Picture of pair `index`, uint8 (C, H, W)."""

    @abstractmethod
    def condition(self, index: int) -> np.ndarray:
        """Condition of pair `index`, uint8 (c, H, W): of labels, their numbers."""

    def image(self, index: int) -> np.ndarray:
        """Pair `index`, uint8 (C + c, H, W)."""
        return np.concatenate([self.picture(index), self.condition(index)])

    def facts(self) -> dict[str, Any]:
        """Facts of the pictures, and what the conditions are."""
        condition = {"condition": self.kind, "paired": self.paired}
        labels = {"num_labels": self.num_labels, "label_names": list(self.names)}
        return {**super().facts(), **condition, **(labels if self.num_labels else {})}


def open_pairs(
    source: str,
    size: int | tuple[int, int] | None,
    kind: Kind,
    paired: bool = True,
    channels: int = 3,
    crop: Crop = "center",
    on_bad: OnBad = "error",
    progress: Progress | None = None,
) -> PairDataset:
    """Open a data set of pairs; decode every file once.

    Args:
        source: A folder or zip in one of the layouts of `framework.data.pair_layouts`, or
            `toycars[:COUNT[:SEED]]`, which have sketches and part masks.
        size: Side or (height, width) in pixels; without it, pictures must have one size already.
        kind: What the conditions are.
        paired: Whether picture and condition must belong together.
        channels: Channels of the pictures: 1, 3 or 4.
        crop: Treatment of both sides alike; see `framework.data.fit.fit`.
        on_bad: Stop at files that cannot be used, or leave their pairs out.
        progress: Called as `progress(done, total)` during the scan.

    Raises:
        UserError: If the source is no data set of pairs, or files are bad.
    """
    if channels not in MODES:
        raise UserError(f"{channels}: give 1 (grey), 3 (RGB) or 4 (RGBA)", "channels")
    pair = None if size is None else size_pair(size)
    if source.split(":")[0] == "toycars":
        return ToyPairs(source, pair or (TOY_SIZE, TOY_SIZE), kind, paired, channels)
    check_treatment(crop, "lanczos")
    files = open_source(source)
    where = printable(str(files.path))
    layout = find_pairs(files.names, kind, paired, where)
    files.names = sorted({n for names in layout.conditions for n in names} | {*layout.pictures})
    result = scan(files, channels, progress)
    judge(where, result.problems, len(result.records), on_bad)
    records = {record.name: record for record in result.records}
    return FilePairs(files, layout, records, pair, kind, paired, channels, crop)


class ToyPairs(PairDataset):
    """Toy cars with their sketches or part masks; without pairs, those are of other cars."""

    def __init__(
        self, spec: str, size: tuple[int, int], kind: Kind, paired: bool, channels: int
    ) -> None:
        if kind == "picture":
            raise UserError(f"{kind}: toy cars have sketch and labels", "data.condition")
        count, seed = toy_numbers(spec)
        self._cars = ToyCars(size, 2 * count, seed)
        self._count, self._shift = count, 0 if paired else count
        self.size, self.kind, self.paired, self._channels = size, kind, paired, channels
        self.channels = channels + 1
        if kind == "labels":
            self.names = tuple(part.name.lower() for part in Part)
            self.num_labels = len(Part)
        facts = json.dumps(["toycars", LOOK, count, seed, size, channels, kind, paired])
        digest = hashlib.sha256(facts.encode())
        for index in range(min(count, 4)):
            digest.update(self.image(index).tobytes())
        self.fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return self._count

    def picture(self, index: int) -> np.ndarray:
        """Picture of car `index`, uint8 (C, H, W)."""
        return self._planes(self._cars.image(index))

    def condition(self, index: int) -> np.ndarray:
        """Sketch or part mask of car `index`, or of the car that stands in for it."""
        car = self._cars[index + self._shift]
        return (car.sketch if self.kind == "sketch" else car.part_mask)[None]

    def image(self, index: int) -> np.ndarray:
        """Pair `index`; a car is drawn once."""
        if self._shift:
            return super().image(index)
        car = self._cars[index]
        condition = car.sketch if self.kind == "sketch" else car.part_mask
        return np.concatenate([self._planes(car.image), condition[None]])

    def _planes(self, picture: np.ndarray) -> np.ndarray:
        image = Image.fromarray(picture).convert(MODES[self._channels])
        return planar(np.asarray(image).reshape(*self.size, self._channels))

    def name(self, index: int) -> str:
        """`toycar00000123`."""
        return f"toycar{index:08d}"

    def facts(self) -> dict[str, Any]:
        """Facts of the pairs, and the source's name."""
        return {**super().facts(), "source": "toycars"}


class FilePairs(PairDataset):
    """Pairs of a folder or a zip; made by `open_pairs`."""

    def __init__(
        self,
        source: Source,
        layout: Files,
        records: dict[str, Record],
        size: tuple[int, int] | None,
        kind: Kind,
        paired: bool,
        channels: int,
        crop: Crop,
    ) -> None:
        self.source, self.kind, self.paired = source, kind, paired
        self.crop: Crop = crop
        self._channels, self._layout = channels, layout
        self.channels = channels + (channels if kind == "picture" else 1)
        self._where = printable(str(source.path))
        self._pictures, self._conditions = self._usable(records)
        sizes = {self._size(records[name].size) for name in self._pictures}
        if size is None and len(sizes) > 1:
            some = ", ".join(f"{w}x{h}" for h, w in sorted(sizes)[:3])
            raise UserError(f"{self._where}: pictures of {len(sizes)} sizes ({some} ...); give one",
                            "data.size")  # fmt: skip
        self.size = size or next(iter(sizes))
        if kind == "labels":
            self.names = PARTS if layout.parts else ()
            maps = in_threads(lambda i: int(self._labels(i).max()), range(len(self._conditions)))
            self.num_labels = len(PARTS) if layout.parts else max(maps) + 1
        self.notes = self._sketch_notes() if kind == "sketch" else []
        digest = hashlib.sha256(repr((self.size, channels, crop, kind, paired, layout)).encode())
        for record in records.values():
            digest.update(record.file_digest)
        self.fingerprint = digest.hexdigest()

    def _usable(self, records: dict[str, Record]) -> tuple[list[str], list[tuple[str, ...]]]:
        """Return both sides without what cannot be used; paired sides are of one shape."""
        layout = self._layout
        if layout.halves:
            odd = [n for n in layout.pictures if n in records and not _is_double(records[n].size)]
            if odd:
                height, width = records[odd[0]].size
                raise UserError(
                    f"{self._where}: no pairs: {printable(odd[0])} is {width}x{height}; {HINT}"
                )
        if not self.paired and not layout.halves:
            pictures = [name for name in layout.pictures if name in records]
            return pictures, [c for c in layout.conditions if all(n in records for n in c)]
        pairs = [
            (picture, condition)
            for picture, condition in zip(layout.pictures, layout.conditions, strict=True)
            if picture in records and all(name in records for name in condition)
        ]
        for picture, condition in pairs:
            a, b = records[picture].size, records[condition[0]].size
            if abs(a[0] * b[1] - a[1] * b[0]) > max(*a, *b):
                raise UserError(
                    f"{self._where}: {printable(picture)} is {a[1]}x{a[0]} and"
                    f" {printable(condition[0])} {b[1]}x{b[0]}: a pair has one shape"
                )
        return [picture for picture, _ in pairs], [condition for _, condition in pairs]

    def _size(self, size: tuple[int, int]) -> tuple[int, int]:
        return (size[0], size[1] // 2) if self._layout.halves else size

    def _sketch_notes(self) -> list[str]:
        """Return what was changed of the first sketch."""
        return as_sketch(self._decoded(self._conditions[0][0], 3))[1]

    def __len__(self) -> int:
        return max(len(self._pictures), len(self._conditions))

    def picture(self, index: int) -> np.ndarray:
        """Picture of pair `index`, uint8 (C, H, W)."""
        picture = self._decoded(self._pictures[index % len(self._pictures)], self._channels)
        picture = picture[:, picture.shape[1] // 2 :] if self._layout.halves else picture
        return planar(fit(picture, self.size, self.crop))

    def condition(self, index: int) -> np.ndarray:
        """Condition of pair `index`, uint8 (c, H, W)."""
        if self.kind == "labels":
            labels = self._labels(index)[..., None]
            geometry = fit_geometry(labels.shape[:2], self.size, self.crop)
            geometry = replace(geometry, pad_colour=(0, 0, 0))
            return planar(to_canvas(labels, geometry, Image.Resampling.NEAREST))
        name = self._conditions[self._place(index)][0]
        picture = self._decoded(name, 3 if self.kind == "sketch" else self._channels)
        picture = picture[:, : picture.shape[1] // 2] if self._layout.halves else picture
        if self.kind == "sketch":
            picture = as_sketch(picture)[0][..., None]
        return planar(fit(picture, self.size, self.crop))

    def _place(self, index: int) -> int:
        """Return the condition's place; without pairs every other one is equally far off."""
        count = len(self._conditions)
        shift = 0 if self.paired else count // 2
        return (index + shift) % count

    def _labels(self, index: int) -> np.ndarray:
        names = self._conditions[self._place(index)]
        if not self._layout.parts:
            labels = read_label_map(self.source.read(names[0]), names[0])
            return labels[:, : labels.shape[1] // 2] if self._layout.halves else labels
        masks = [self._decoded(name, 1)[..., 0] >= 128 for name in names]
        labels = np.zeros(masks[0].shape, np.uint8)
        for name, mask in zip(names, masks, strict=True):
            if mask.shape != labels.shape:
                raise UserError(f"{self._where}: {printable(name)}: of another size than the rest")
            labels[mask] = PARTS.index(name.rsplit("/", 1)[-1].split(".")[0].partition("_")[2])
        return labels

    def _decoded(self, name: str, channels: int) -> np.ndarray:
        return decode(self.source.read(name), name, channels).pixels

    def name(self, index: int) -> str:
        """Path of the picture inside the source, in one printable line."""
        return printable(self._pictures[index % len(self._pictures)])

    def remarks(self) -> list[str]:
        """Remarks on the sketches."""
        return [f"sketches are {note}" for note in self.notes]

    def facts(self) -> dict[str, Any]:
        """Facts of the pairs, and the source."""
        return {**super().facts(), "source": self._where, "crop": self.crop}


def _is_double(size: Sequence[int]) -> bool:
    return size[1] == 2 * size[0]
