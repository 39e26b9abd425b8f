"""Data sets of pictures for training: every file checked first, one size, a fixed order."""

import hashlib
import json
import logging
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from framework.data.advice import class_remarks, enlargement, size_remarks
from framework.data.fit import Crop, Filter, check_treatment, fit, planar, size_pair
from framework.data.labels import Labels, LabelSource, read_labels
from framework.data.scan import OnBad, Progress, Scan, in_threads, judge, scan, summary
from framework.data.sources import Source, open_source
from framework.data.toycars import LOOK, ToyCars
from framework.data.toycars_captions import captions, full_caption
from framework.data.toycars_parameters import describe as describe_car
from framework.errors import UserError
from framework.media.images import MODES, ImageRefused, decode, printable

log = logging.getLogger(__name__)
TOY_COUNT, TOY_SIZE, MAX_TOYS = 50_000, 64, 10_000_000
NO_PICTURES = "none"


class ImageDataset(ABC):
    """Pictures of one size, by number.

    Attributes:
        size: (H, W) of every picture.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA).
        label_dim: Length of a label; 0 without labels.
        classes: Names of the classes, where known.
        fingerprint: Hexadecimal digest of names, contents, labels and treatment: equal if and only
            if the data set gives the same pictures under the same numbers.
    """

    size: tuple[int, int]
    channels: int
    label_dim: int = 0
    classes: tuple[str, ...] = ()
    fingerprint: str

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def image(self, index: int) -> np.ndarray:
        """Picture `index`, uint8 (C, H, W)."""

    @abstractmethod
    def name(self, index: int) -> str:
        """Name of picture `index`, in one printable line."""

    def label(self, index: int) -> np.ndarray:
        """Label of picture `index`, float32 (label_dim,)."""
        return np.zeros(0, np.float32)

    def raw_label(self, index: int) -> int | list[float] | None:
        """Label of picture `index` as `dataset.json` holds it: class number, vector or None."""
        return None

    def captions(self, index: int, count: int) -> list[str]:
        """Texts that describe picture `index`, at most `count` and two more; none if unknown."""
        return []

    def remarks(self) -> list[str]:
        """Remarks for the user before the data are used, a line each."""
        return class_remarks(self.classes, self.label_dim)

    def facts(self) -> dict[str, Any]:
        """Facts for a report or the log of a run; JSON types only."""
        return {
            "count": len(self),
            "size": list(self.size),
            "channels": self.channels,
            "label_dim": self.label_dim,
            "classes": list(self.classes),
            "fingerprint": self.fingerprint,
        }


def open_dataset(
    source: str | Path,
    size: int | tuple[int, int] | None = None,
    channels: int = 3,
    use_labels: bool = False,
    on_bad: OnBad = "error",
    crop: Crop = "center",
    filter: Filter = "lanczos",
    labels: LabelSource = "auto",
    dedup: bool = False,
    follow_links: bool = False,
    progress: Progress | None = None,
) -> ImageDataset:
    """Open a data set; decode every file once, so that training meets no bad file.

    Args:
        source: A folder (read at any depth), a zip in NVIDIA's layout, or `toycars` for procedural
            pictures (`toycars:20000` sets their number, `toycars:20000:7` also the seed), or `none`
            where nobody looks at pictures.
        size: Side or [height,width] in pixels; without it, pictures must have one size already.
        channels: 1 is grey, 3 RGB, 4 RGBA. With 1 and 3, transparency is laid on white.
        use_labels: Give labels to training.
        on_bad: Stop at files that cannot be used, or leave them out.
        crop: Cut the largest central part, pad with white, or stretch out of proportion.
        filter: Resizing; box is what NVIDIA's published FIDs used, lanczos is sharper.
        labels: From top-level folders, from dataset.json (file), from either (auto), or none.
        dedup: Of pictures with equal pixels, keep the first by name.
        follow_links: Also use links that lead out of the folder.
        progress: Called as `progress(done, total)` during the scan.

    Raises:
        UserError: If the source is missing, empty or hostile, if files are bad, or sizes differ.
    """
    pair = None if size is None else size_pair(size)
    if channels not in MODES:
        raise UserError(f"{channels}: give 1 (grey), 3 (RGB) or 4 (RGBA)", "channels")
    check_treatment(crop, filter)
    if str(source).split(":")[0] == "toycars" and not Path(source).exists():
        return ToyDataset(str(source), pair or (TOY_SIZE, TOY_SIZE), channels)
    if str(source) == NO_PICTURES and not Path(source).exists():
        return NoPictures(pair or (TOY_SIZE, TOY_SIZE), channels)
    files = open_source(source, follow_links)
    result = scan(files, channels, progress)
    judge(str(files.path), result.problems, len(result.records), on_bad)
    if result.problems:
        total = len(result.records) + len(result.problems)
        log.warning("%s: %s; skipped", files.path, summary(result.problems, total))
    if dedup:
        result = Scan(result.distinct(), result.problems)
    names = [record.name for record in result.records]
    class_labels = read_labels(files, names, labels if use_labels else "none")
    return FileDataset(
        files, result, pair or _common_size(files, result), channels, class_labels, crop, filter
    )


def decoded(dataset: ImageDataset, progress: Progress | None = None) -> np.ndarray:
    """Decode all pictures to memory, uint8 (N, C, H, W).

    Raises:
        UserError: If they do not fit in memory, or a file changed since the data set was opened.
    """
    shape = (len(dataset), dataset.channels, *dataset.size)
    needed = int(np.prod(shape, dtype=np.int64))
    if needed > (available := _memory_bytes()):
        text = f"{needed / 1e9:.1f} GB of pictures, {available / 1e9:.1f} GB of memory"
        raise UserError(
            f"data set does not fit in memory ({text}); give cache=FOLDER, "
            "or use fewer or smaller pictures"
        )
    pixels = np.empty(shape, np.uint8)
    for index, picture in pictures(dataset, progress):
        pixels[index] = picture
    return pixels


def pictures(
    dataset: ImageDataset, progress: Progress | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield every number and picture, uint8 (C, H, W), in order, decoded by several threads."""
    for index, picture in enumerate(in_threads(dataset.image, range(len(dataset)))):
        yield index, picture
        if progress:
            progress(index + 1, len(dataset))


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not every system reports it
        return 2**63


def _common_size(source: Source, scan: Scan) -> tuple[int, int]:
    sizes = Counter(record.size for record in scan.records)
    if len(sizes) > 1:
        some = ", ".join(f"{w}x{h}" for (h, w), _ in sizes.most_common(3))
        where = printable(str(source.path))
        raise UserError(
            f"{where}: pictures of {len(sizes)} sizes ({some} ...); give the one to use, size=64"
        )
    return next(iter(sizes))


class FileDataset(ImageDataset):
    """Pictures of a folder or a zip; made by `open_dataset`."""

    def __init__(
        self,
        source: Source,
        scan: Scan,
        size: tuple[int, int],
        channels: int,
        labels: Labels | None,
        crop: Crop,
        filter: Filter,
    ) -> None:
        self.source, self.scan = source, scan
        self.size, self.channels = size, channels
        self.crop: Crop = crop
        self.filter: Filter = filter
        self._labels = labels
        self._vectors = np.zeros((len(scan.records), 0), np.float32)
        if labels is not None:
            self._vectors, self.classes = labels.vectors(), labels.classes
        self.label_dim = self._vectors.shape[1]
        self.fingerprint = self._fingerprint()

    def _fingerprint(self) -> str:
        digest = hashlib.sha256(repr((self.size, self.channels, self.crop, self.filter)).encode())
        for record, vector in zip(self.scan.records, self._vectors, strict=True):
            digest.update(os.fsencode(record.name) + b"\0" + record.file_digest + vector.tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.scan.records)

    def image(self, index: int) -> np.ndarray:
        """Picture `index`, uint8 (C, H, W).

        Raises:
            UserError: If the file vanished or changed since the data set was opened.
        """
        data = self.file(index)
        picture = decode(data, self.scan.records[index].name, self.channels).pixels
        return planar(fit(picture, self.size, self.crop, self.filter))

    def file(self, index: int) -> bytes:
        """Read the file of picture `index`, unchanged.

        Raises:
            UserError: If it vanished or changed since the data set was opened.
        """
        record = self.scan.records[index]
        try:
            data = self.source.read(record.name)
        except ImageRefused as error:
            raise UserError(f"{error}; it was there when the data set was opened") from None
        if hashlib.sha256(data).digest() != record.file_digest:
            raise UserError(f"{printable(record.name)}: changed since the data set was opened")
        return data

    def label(self, index: int) -> np.ndarray:
        """Label of picture `index`, float32 (label_dim,)."""
        return self._vectors[index]

    def raw_label(self, index: int) -> int | list[float] | None:
        """Class number, vector or None."""
        return None if self._labels is None else self._labels.raw[index]

    def name(self, index: int) -> str:
        """Path inside the source, in one printable line."""
        return printable(self.scan.records[index].name)

    def facts(self) -> dict[str, Any]:
        """Counts, sizes, modes, notes, duplicates and what was skipped."""
        records = self.scan.records
        return {
            **super().facts(),
            "source": printable(str(self.source.path)),
            "crop": self.crop,
            "filter": self.filter,
            "upscaled": sum(enlargement(r.size, self.size, self.crop) > 1 for r in records),
            **describe(self.scan, self.source),
        }

    def remarks(self) -> list[str]:
        """Remarks on labels without information and on sizes far from the pictures' own."""
        sizes = [record.size for record in self.scan.records]
        return [*super().remarks(), *size_remarks(sizes, self.size, self.crop)]


def describe(scan: Scan, source: Source) -> dict[str, Any]:
    """Return histograms of a scan's results; JSON types only."""
    records = scan.records

    def histogram(values: list[str]) -> dict[str, int]:
        return dict(Counter(values).most_common())

    return {
        "resolutions": histogram([f"{r.size[1]}x{r.size[0]}" for r in records]),
        "modes": histogram([r.mode for r in records]),
        "formats": histogram([r.format for r in records]),
        "notes": histogram([note for r in records for note in r.notes]),
        "duplicates": len(records) - len({r.pixel_digest for r in records}),
        "other_files": len(source.others),
        "unusable": [
            {"name": printable(p.name), "kind": str(p.kind), "reason": p.reason}
            for p in scan.problems
        ],
    }


def toy_numbers(spec: str) -> tuple[int, int]:
    """Return count and seed of `toycars[:count[:seed]]`; a `UserError` if it is something else."""
    try:
        numbers = [int(text) for text in spec.split(":")[1:]]
        count, seed = [*numbers, *(TOY_COUNT, 0)[len(numbers) :]]
    except ValueError:
        raise UserError(f"{spec}: give toycars, toycars:COUNT or toycars:COUNT:SEED") from None
    if not 1 <= count <= MAX_TOYS or not 0 <= seed < 2**63:
        raise UserError(f"{spec}: from 1 to {MAX_TOYS:,} toy cars, of a seed of 0 to 2^63 - 1")
    return count, seed


class ToyDataset(ImageDataset):
    """The procedural toy cars as a data set; `spec` is `toycars[:count[:seed]]`."""

    def __init__(self, spec: str, size: tuple[int, int], channels: int) -> None:
        count, seed = toy_numbers(spec)
        self._cars = ToyCars(size, count, seed)
        self.size, self.channels = size, channels
        parameters = json.dumps(["toycars", LOOK, count, seed, size, channels])
        digest = hashlib.sha256(parameters.encode())
        for index in range(min(count, 4)):  # also if `LOOK` was not incremented
            digest.update(self.image(index).tobytes())
        self.fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return len(self._cars)

    def image(self, index: int) -> np.ndarray:
        """Car `index`, uint8 (C, H, W)."""
        image = Image.fromarray(self._cars.image(index)).convert(MODES[self.channels])
        return planar(np.asarray(image).reshape(*self.size, self.channels))

    def name(self, index: int) -> str:
        """`toycar00000123`."""
        return f"toycar{index:08d}"

    def captions(self, index: int, count: int) -> list[str]:
        """`count` captions that name some of what is seen, the usual sentence, and all."""
        p = self._cars.parameters(index)
        varied = [caption.text for caption in captions(p, self._cars.seed, index, count)]
        return [*varied, describe_car(p), full_caption(p).text]

    def facts(self) -> dict[str, Any]:
        """Count, size and the source's name."""
        return {**super().facts(), "source": "toycars"}


class NoPictures(ImageDataset):
    """One black picture, in the place of a data set, for what learns from a generator alone."""

    def __init__(self, size: tuple[int, int], channels: int) -> None:
        self.size, self.channels = size, channels
        facts = json.dumps([NO_PICTURES, size, channels])
        self.fingerprint = hashlib.sha256(facts.encode()).hexdigest()

    def __len__(self) -> int:
        return 1

    def image(self, index: int) -> np.ndarray:
        """The black picture, uint8 (C, H, W)."""
        return np.zeros((self.channels, *self.size), np.uint8)

    def name(self, index: int) -> str:
        """`none`."""
        return NO_PICTURES

    def facts(self) -> dict[str, Any]:
        """Size, and that there is nothing."""
        return {**super().facts(), "source": NO_PICTURES}
