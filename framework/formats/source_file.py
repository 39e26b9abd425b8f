"""A model file of somebody else's, read once into memory after a look at what it is."""

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
# A FIFO must not wait, and Windows must not take the bytes for text.
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_END_LOOKED_AT = 64
# A pickle ends with a dot and a zip with its directory; streams and safetensors end with numbers.
ZEROS_OF_NONE, ZEROS_OF_NUMBERS = 64, 1024


def read_file(path: Path) -> Source:
    """Read a whole file, once, so that nothing can change under the reader.

    Raises:
        UserError: If it is no file that can be read, or larger than 8 GiB.
        BrokenCheckpoint: If it is empty, still being written, or evidently no model.
    """
    try:
        _checked_size(path, os.stat(path))  # before it is opened, which may set off a device
        descriptor = os.open(path, _OPEN_FLAGS)
        with open(descriptor, "rb", buffering=0) as file:
            size = _checked_size(path, os.fstat(descriptor))
            start = _refuse_other_files(path, file, size)
            # Not filled with zeros first, and writable, so that tensors can be taken out of it.
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
    """The JSON table in a file, refused before it can grow in memory.

    Raises:
        ValueError: If it is none, or longer than any model's description; also OSError and
            RecursionError.
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
    """Refuse what is evidently no model by a look at its ends; returns its first bytes.

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
    """The first bytes of a file that may be a model; the file is left behind them."""
    file.seek(max(0, size - _END_LOOKED_AT))
    end = file.read(_END_LOOKED_AT)
    file.seek(0)
    start = file.read(LOOKED_AT)
    if what := other_kind(start, end):
        raise BrokenCheckpoint(f"{path}: {what}")
    return start


def check_unfinished(path: Path) -> None:
    """`refuse_unfinished` of a safetensors file, which is not read for it."""
    if not path.stat().st_size:
        return
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    refuse_unfinished(Source(memoryview(mapped), str(path)), ZEROS_OF_NUMBERS)


def refuse_unfinished(source: Source, least: int = ZEROS_OF_NONE) -> None:
    """Refuse a file that was allocated in full and filled in part: its end is zeros.

    Args:
        source: The file.
        least: Its format ends with fewer zeros than that; those of numbers, which may be zeros,
            also with less than a thousandth of the file.
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
