"""A model file from elsewhere, read once into memory after a check of its kind."""

import json
import mmap
import os
import stat
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from framework.errors import BrokenCheckpoint, UserError
from framework.formats.file_kinds import LOOKED_AT, other_kind
from framework.formats.pickle_machine import Source

LARGEST_BYTES = 8 << 30
_LARGEST_TABLE, _MOST_VALUES = 8 << 20, 100_000
# A FIFO must not block, and Windows must not treat the bytes as text.
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_END_LOOKED_AT = 64
# A pickle ends in a dot, a zip in its directory; streams and safetensors end in numbers.
ZEROS_OF_NONE, ZEROS_OF_NUMBERS = 64, 1024


def read_file(path: Path) -> Source:
    """Read a whole file, once, so that nothing can change under the reader.

    Raises:
        UserError: If the file cannot be read or is larger than 8 GiB.
        BrokenCheckpoint: If the file is empty, still being written, or clearly not a model.
    """
    try:
        _checked_size(path, os.stat(path))  # before opening it, which may trigger a device
        descriptor = os.open(path, _OPEN_FLAGS)
        with open(descriptor, "rb", buffering=0) as file:
            size = _checked_size(path, os.fstat(descriptor))
            start = _refuse_other_files(path, file, size)
            # Not filled with zeros, and writable, so that tensors can share it.
            data = memoryview(torch.empty(size, dtype=torch.uint8).numpy())  # type: ignore
            data[: len(start)] = start[:size]
            filled = len(start)
            while filled < size and (count := file.readinto(data[filled:])):
                filled += count
            changed = filled != size or file.read(1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); look at the file") from error
    if changed:
        raise BrokenCheckpoint(
            f"{path}, byte {filled}: the file changes while it is read; wait until it is whole"
        )
    return Source(data, str(path))


def read_table(path: Path) -> dict[str, Any]:
    """Read the JSON table in a file, refused before it can grow in memory.

    Raises:
        ValueError: If it is not a table, or longer than any model's description; also OSError
            and RecursionError.
    """
    if path.stat().st_size > _LARGEST_TABLE:
        raise ValueError("too long")
    text = path.read_text("utf-8")
    if sum(map(text.count, "{[,")) > _MOST_VALUES:
        raise ValueError("too many values")
    table = json.loads(text)
    if not isinstance(table, dict):
        raise ValueError("no table")
    return table


def _checked_size(path: Path, facts: os.stat_result) -> int:
    if not stat.S_ISREG(facts.st_mode):
        raise UserError(f"{path}: not a regular file; give the model's file")
    if facts.st_size > LARGEST_BYTES:
        raise UserError(f"{path}: {facts.st_size >> 30} GiB; files up to 8 GiB are read")
    if not facts.st_size:
        raise BrokenCheckpoint(f"{path}: empty; fetch it again")
    return facts.st_size


def check_kind(path: Path) -> bytes:
    """Refuse a file that is clearly not a model by its ends; return its first bytes.

    Raises:
        UserError: As in `read_file`.
    """
    try:
        size = _checked_size(path, os.stat(path))
        with open(os.open(path, _OPEN_FLAGS), "rb", buffering=0) as file:
            return _refuse_other_files(path, file, size)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); look at the file") from error


def _refuse_other_files(path: Path, file: FileIO, size: int) -> bytes:
    """Return the first bytes of a file that may be a model; reading goes on after them."""
    file.seek(max(0, size - _END_LOOKED_AT))
    end = file.read(_END_LOOKED_AT)
    file.seek(0)
    start = file.read(LOOKED_AT)
    if what := other_kind(start, end):
        raise BrokenCheckpoint(f"{path}: {what}")
    return start


def check_unfinished(path: Path) -> None:
    """Apply `refuse_unfinished` to a safetensors file without reading it whole."""
    if not path.stat().st_size:
        return
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    refuse_unfinished(Source(memoryview(mapped), str(path)), ZEROS_OF_NUMBERS)


def refuse_unfinished(source: Source, least: int = ZEROS_OF_NONE) -> None:
    """Refuse a file that was allocated in full but only partly filled: its end is zeros.

    Args:
        source: The file.
        least: Number of zeros at the end that the format never has; for formats that end in
            numbers a thousandth of the file is required as well.
    """
    numbers = np.frombuffer(source.data, np.uint8)
    if least == ZEROS_OF_NUMBERS:
        least = max(least, len(numbers) // 1000)
    if len(numbers) <= least or numbers[-least:].any():
        return
    last = len(numbers)
    while last and not numbers[max(0, last - least) : last].any():
        last = max(0, last - least)
    before = np.flatnonzero(numbers[max(0, last - least) : last])
    first = max(0, last - least) + int(before[-1]) + 1 if len(before) else last
    reason = "only zeros from here on: the download is not finished"
    source.refuse(first, reason, BrokenCheckpoint)
