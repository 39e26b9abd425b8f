"""Folders and zips of picture files: their names, and the bytes behind a name.

Nothing is decoded here. Both kinds of source are read-only, list names in the order of their bytes
(the same on every file system), and never follow a name out of themselves.
"""

import itertools
import json
import os
import stat
import tarfile
import threading
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from framework.errors import UserError
from framework.media.images import MAX_FILE_BYTES, ImageRefused, Refusal, printable, read_bytes

READ = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".apng"}
READ |= {".avif", ".heic", ".heif"}  # the last two need the extra `heif`; a message says so
NOT_READ = {
    ".jxl",
    ".jp2",
    ".svg",
    ".psd",
    ".dng",
    ".cr2",
    ".nef",
    ".arw",
}
LABEL_FILE = "dataset.json"
MAX_RATIO = 100  # ratio of unpacked to packed size; real pictures stay below 10
MAX_UNSUSPECTED_BYTES = 8 * 2**20  # smaller entries may have any ratio


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that cannot be used."""

    name: str
    kind: str  # a `Refusal`
    reason: str

    def __str__(self) -> str:
        return f"{printable(self.name)} ({self.reason})"


@dataclass(frozen=True, slots=True)
class LabelFile:
    """The content of a `dataset.json`."""

    where: str
    folder: str  # folder that its names are relative to: "" or "a/b/"
    content: dict[str, Any]


class Source(ABC):
    """The interface of a place where picture files lie."""

    path: Path
    names: list[str]  # picture files, relative, "/" between folders, sorted by bytes
    problems: list[Problem]  # entries that cannot even be opened
    others: list[str]  # files that are not pictures by their name

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Read the bytes of one file; `ImageRefused` if that fails."""

    @abstractmethod
    def label_bytes(self, folder: str) -> tuple[str, bytes] | None:
        """Return place and bytes of the `dataset.json` in a folder; None if there is none."""

    def label_file(self) -> LabelFile | None:
        """Read the `dataset.json` at the top, or in a folder that wraps all pictures."""
        parts = common_folder(self.names).split("/")[:-1]
        for depth in range(len(parts) + 1):
            folder = "".join(f"{part}/" for part in parts[:depth])
            if labels := self.label_bytes(folder):
                return LabelFile(labels[0], folder, _parsed_labels(labels[1], labels[0]))
        return None


def open_source(path: str | Path, follow_links: bool = False) -> Source:
    """Open a folder or a zip file and list its names.

    Raises:
        UserError: If there is no such folder or zip, or if the zip is broken or hostile.
    """
    path = Path(path)
    if path.is_dir():
        return FolderSource(path, follow_links)
    if not path.exists():
        raise UserError(f"{printable(str(path))}: no such folder or zip file")
    if path.is_file() and zipfile.is_zipfile(path):
        return ZipSource(path)
    what = "neither a folder nor a (complete) zip file"
    if path.is_file() and tarfile.is_tarfile(path):
        way = f"`python -m framework.data index {path}` and --data.source shards:{path}"
        what = f"is a tar file: unpack it and give the folder, or read it as it is with {way}"
    raise UserError(f"{printable(str(path))}: {what}")


def is_picture(name: str) -> bool:
    """Whether a file of this name is meant to be a picture; hidden files are not."""
    suffix = os.path.splitext(name)[1].lower()
    return suffix in READ | NOT_READ and not is_hidden(name)


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder around it, is hidden or added to archives by macOS."""
    parts = name.split("/")
    return any((p.startswith(".") and p not in (".", "..")) or p == "__MACOSX" for p in parts)


def common_folder(names: Sequence[str]) -> str:
    """Return the innermost folder of all files, "a/b/"; empty for the source itself."""
    folders = [name.split("/")[:-1] for name in (min(names), max(names))] if names else [[], []]
    shared = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(*folders, strict=False))
    return "".join(f"{folder}/" for folder, _ in shared)


def leads_out(name: str) -> bool:
    """Whether an archive's name leads out of it: absolute, with a drive, or by `..`."""
    name = name.replace("\\", "/")
    return name.startswith("/") or name[1:2] == ":" or ".." in name.split("/")


def _parsed_labels(data: bytes, where: str) -> dict[str, Any]:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not valid JSON ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f'{where}: expected {{"labels": [[name, label], ...]}}')
    return content


# ----------------------------------------------------------------------------------------- folder


@dataclass
class FolderSource(Source):
    """Picture files below a folder, at any depth.

    Symbolic links are used where they stay inside the folder; links that leave it are reported,
    unless `follow_links`. A folder is entered once, so loops end.
    """

    path: Path
    follow_links: bool = False
    names: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._root = os.path.realpath(self.path)
        entered: set[tuple[int, int]] = set()
        pending = [""]
        while pending:
            pending += self._list(pending.pop(), entered)
        self.names.sort(key=os.fsencode)
        self.others.sort(key=os.fsencode)
        self.problems.sort(key=lambda problem: os.fsencode(problem.name))

    def _list(self, folder: str, entered: set[tuple[int, int]]) -> list[str]:
        """List one folder's files; return its sub-folders."""
        try:
            facts = os.stat(self.path / folder)
            if (facts.st_dev, facts.st_ino) in entered:
                self._refuse(folder, "a link to a folder that is already read")
                return []
            entered.add((facts.st_dev, facts.st_ino))
            with os.scandir(self.path / folder) as entries:
                listing = sorted(entries, key=lambda e: (e.is_symlink(), os.fsencode(e.name)))
        except OSError as error:
            self._refuse(folder, f"folder cannot be read ({error.strerror})")
            return []
        return [name for entry in listing if (name := self._take(folder, entry)) is not None]

    def _take(self, folder: str, entry: os.DirEntry) -> str | None:
        """Add one entry to its list; return its name if it is a folder to enter."""
        name = f"{folder}/{entry.name}" if folder else entry.name
        if is_hidden(entry.name):
            return None
        try:
            mode = entry.stat().st_mode
        except OSError as error:  # a link to nothing or to itself
            if is_picture(name):
                self._refuse(name, f"cannot be read ({error.strerror})")
            return None
        if entry.is_symlink() and not self.follow_links and not self._inside(entry.path):
            if is_picture(name) or stat.S_ISDIR(mode):
                self._refuse(name, "a link out of the folder; allow with follow_links")
            return None
        if stat.S_ISDIR(mode):
            return name
        if not is_picture(name):
            self.others.append(name)
        elif stat.S_ISREG(mode):
            self.names.append(name)
        else:
            self._refuse(name, "not a regular file")
        return None

    def _inside(self, path: str) -> bool:
        target = os.path.realpath(path)
        return os.path.commonpath([self._root, target]) == self._root

    def _refuse(self, name: str, reason: str) -> None:
        self.problems.append(Problem(name or ".", Refusal.UNREADABLE, reason))

    def read(self, name: str) -> bytes:
        """Read the bytes of one file below the folder."""
        try:
            return read_bytes(self.path / name)
        except ImageRefused as error:
            raise ImageRefused(name, error.kind, error.reason) from None

    def label_bytes(self, folder: str) -> tuple[str, bytes] | None:
        """Return path and bytes of the `dataset.json` in a folder below this one."""
        path = self.path / folder / LABEL_FILE
        return (str(path), path.read_bytes()) if path.is_file() else None


# -------------------------------------------------------------------------------------------- zip


class ZipSource(Source):
    """Picture files in a zip, read in place; opened once in each process that reads.

    Raises:
        UserError: For entries that no honest zip of pictures has: names that leave the zip or occur
            twice, encryption, exotic compression, and bombs.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self._open: tuple[int, zipfile.ZipFile] | None = None
        self._lock = threading.Lock()
        try:
            entries = [entry for entry in self._zip().infolist() if not entry.is_dir()]
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise UserError(f"{path}: broken zip file ({error})") from None
        names: set[str] = set()
        for entry in entries:
            if reason := _suspicious(entry, names):
                where = f"{path}: entry {printable(entry.filename)}"
                raise UserError(f"{where} {reason}; make the zip again")
            names.add(entry.filename)
        self.names = sorted(filter(is_picture, names), key=os.fsencode)
        self._labels = {name for name in names if name.split("/")[-1] == LABEL_FILE}
        others = {name for name in names - self._labels if not is_hidden(name)}
        self.others = sorted(others - set(self.names), key=os.fsencode)

    def _zip(self) -> zipfile.ZipFile:
        # A file handle shared with a forked process would share its position, too.
        with self._lock:
            if self._open is None or self._open[0] != os.getpid():
                self._open = (os.getpid(), zipfile.ZipFile(self.path))
            return self._open[1]

    def read(self, name: str) -> bytes:
        """Read the bytes of one entry, checked against the zip's checksum."""
        try:
            return self._zip().read(name)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise ImageRefused(name, Refusal.DAMAGED, f"damaged in the zip ({error})") from None
        except (OSError, KeyError) as error:
            raise ImageRefused(name, Refusal.UNREADABLE, f"cannot be read ({error})") from None

    def label_bytes(self, folder: str) -> tuple[str, bytes] | None:
        """Return place and bytes of the `dataset.json` in a folder of the zip."""
        name = folder + LABEL_FILE
        return (f"{self.path}/{name}", self.read(name)) if name in self._labels else None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_open": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())


def _suspicious(entry: zipfile.ZipInfo, names: set[str]) -> str | None:
    # `orig_filename` is the name as stored: ZipInfo cuts at NUL and turns separators.
    if leads_out(entry.orig_filename) or "\0" in entry.orig_filename:
        return "has a name that leads out of the zip"
    if entry.filename in names:
        return "occurs twice"
    if entry.flag_bits & 0x1:
        return "is encrypted"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is neither stored nor deflated"
    if entry.file_size > MAX_FILE_BYTES:
        return f"unpacks to {entry.file_size:,} bytes (at most {MAX_FILE_BYTES:,})"
    ratio = entry.file_size / max(entry.compress_size, 1)
    if ratio > MAX_RATIO and entry.file_size > MAX_UNSUSPECTED_BYTES:
        return f"unpacks to {ratio:.0f} times its size (a zip bomb?)"
    return None
