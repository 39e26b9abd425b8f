"""A model file of somebody else's, read once into memory after a look at what it is."""

import os
import stat
from pathlib import Path

import torch

from framework.errors import BrokenCheckpoint, UserError
from framework.formats.pickle_machine import Source

LARGEST_BYTES = 8 << 30
# A FIFO must not wait, and Windows must not take the bytes for text.
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_NOT_MODELS = {
    b"version https://git-lfs": "a Git LFS pointer: run git lfs pull to fetch the file itself",
    b"<!doctype html": "a web page: the download went to a page and not to the file",
    b"<html": "a web page: the download went to a page and not to the file",
    b"<?xml": "an XML page: the download was answered with a message",
    bytes(8): "zeros where a model begins: the download is not finished; wait, or fetch it again",
}


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
            start = file.read(64)
            _refuse_other_files(path, start)
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


def _checked_size(path: Path, facts: os.stat_result) -> int:
    if not stat.S_ISREG(facts.st_mode):
        raise UserError(f"{path}: not a regular file; give the model's file")
    if facts.st_size > LARGEST_BYTES:
        raise UserError(f"{path}: {facts.st_size >> 30} GiB; files up to 8 GiB are read")
    if not facts.st_size:
        raise BrokenCheckpoint(f"{path}: empty; fetch it again")
    return facts.st_size


def _refuse_other_files(path: Path, start: bytes) -> None:
    for beginning, what in _NOT_MODELS.items():
        if start.lstrip().lower().startswith(beginning):
            raise BrokenCheckpoint(f"{path}: {what}")
