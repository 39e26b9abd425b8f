"""A check of every file before anything depends on it."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, TypeVar

from framework.data.duplicates import difference_hash
from framework.data.sources import Problem, Source
from framework.errors import UserError
from framework.media.images import ImageRefused, decode, printable

OnBad = Literal["error", "skip"]
Progress = Callable[[int, int], None]  # (done, total)
MAX_NAMED = 10  # bad files that a message names; the rest is counted
MAX_SKIPPED = 0.5  # a larger part of bad files is a mistake, not noise
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Record:
    """Facts about one usable file."""

    name: str
    file_digest: bytes  # SHA-256 of the file
    pixel_digest: bytes  # SHA-256 of shape and decoded pixels: equal for exact duplicates
    size: tuple[int, int]  # upright (H, W)
    format: str
    mode: str
    notes: tuple[str, ...]
    near_hash: bytes = b""  # see `difference_hash`; empty without a search for near duplicates


@dataclass(frozen=True)
class Scan:
    """The outcome of decoding every file of a source."""

    records: list[Record]  # in the order of the source's names
    problems: list[Problem]

    def distinct(self) -> list[Record]:
        """Return the first of the records with equal pixels."""
        firsts = {record.pixel_digest: record for record in reversed(self.records)}
        return [record for record in self.records if firsts[record.pixel_digest] is record]


def scan(
    source: Source, channels: int = 3, progress: Progress | None = None, near: bool = False
) -> Scan:
    """Decode every file once, to these channels; collect facts about the good, reasons for the bad.

    `near` also computes the hashes that find near duplicates.
    """

    def look(name: str) -> Record | Problem:
        try:
            data = source.read(name)
            picture = decode(data, name, channels)
        except ImageRefused as error:
            return Problem(name, error.kind, error.reason)
        notes = picture.notes
        if wrong_suffix(name, picture.format):
            notes += (f"{picture.format} under another suffix",)
        pixels = hashlib.sha256(str(picture.pixels.shape).encode())
        pixels.update(picture.pixels.tobytes())
        height, width = picture.pixels.shape[:2]
        digests = hashlib.sha256(data).digest(), pixels.digest()
        near_hash = difference_hash(picture.pixels) if near else b""
        return Record(
            name, *digests, (height, width), picture.format, picture.mode, notes, near_hash
        )

    records: list[Record] = []
    problems = list(source.problems)
    for done, outcome in enumerate(in_threads(look, source.names), 1):
        if isinstance(outcome, Record):
            records.append(outcome)
        else:
            problems.append(outcome)
        if progress:
            progress(done, len(source.names))
    return Scan(records, problems)


def wrong_suffix(name: str, file_format: str) -> bool:
    """Whether a file's suffix names another format than its bytes are in."""
    suffix = os.path.splitext(name)[1].lower().lstrip(".")
    family = {"jpg": "jpeg", "jpe": "jpeg", "jfif": "jpeg", "tif": "tiff", "apng": "png"}
    family |= {"heic": "heif"}
    return family.get(suffix, suffix) != file_format.lower()


def in_threads(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Map over threads, in order, few pending (Pillow decodes outside the interpreter lock)."""
    threads = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(items), 64):
            yield from pool.map(function, items[start : start + 64])


def judge(
    where: str, problems: list[Problem], usable: int, on_bad: OnBad, remedy: str = "remove them"
) -> None:
    """Refuse a set of pictures, `usable` of them good, with too many problems.

    Raises:
        UserError: If a file is bad and `on_bad` is "error", if most are bad, or if none is left.
    """
    if on_bad not in ("error", "skip"):
        raise UserError(f"{on_bad}: give error or skip", "on_bad")
    bad, total, where = len(problems), len(problems) + usable, printable(where)
    if total == 0:
        raise UserError(f"{where}: no pictures found (PNG, JPEG, WebP, GIF, BMP or TIFF files)")
    if bad and (on_bad == "error" or not usable):
        hint = f"{remedy}, or leave them out: on_bad=skip" if usable else "none is left"
        raise UserError(f"{where}: {summary(problems, total)}; {hint}")
    if bad > MAX_SKIPPED * total:
        text = summary(problems, total)
        raise UserError(f"{where}: {text}; more than half is too much to skip, {remedy}")


def summary(problems: list[Problem], total: int) -> str:
    """Return '3 of 2100 files cannot be used: a.jpg (truncated ...), ...' on one line."""
    names = ", ".join(str(problem) for problem in problems[:MAX_NAMED])
    rest = len(problems) - MAX_NAMED
    more = f" and {rest} more" if rest > 0 else ""
    return f"{len(problems)} of {total} files cannot be used: {names}{more}"
