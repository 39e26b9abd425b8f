"""A model file of somebody else's, read once into memory after a look at what it is."""

import os
import stat
from pathlib import Path

import torch

from framework.errors import BrokenCheckpoint, UserError
from framework.formats.pickle_machine import Source

LARGEST_BYTES = 8 << 30
_NOT_MODELS = {
    b"version https://git-lfs": "a Git LFS pointer: run git lfs pull to fetch the file itself",
    b"<!doctype html": "a web page: the download went to a page and not to the file",
    b"<html": "a web page: the download went to a page and not to the file",
    b"<?xml": "an XML page: the download was answered with a message",
}


def read_file(path: Path) -> Source:
    """Read a whole file, once, so that nothing can change under the reader.

    Raises:
        UserError: If it is no file, or larger than 8 GiB.
        BrokenCheckpoint: If it is empty or evidently no model.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a FIFO must not wait
    with open(descriptor, "rb", buffering=0) as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise UserError(f"{path}: not a regular file; give the model's file")
        if facts.st_size > LARGEST_BYTES:
            raise UserError(f"{path}: {facts.st_size >> 30} GiB; files up to 8 GiB are read")
        # Not filled with zeros first, and writable, so that tensors can be taken out of it.
        buffer = torch.empty(facts.st_size, dtype=torch.uint8)
        data = memoryview(buffer.numpy())  # type: ignore[arg-type]
        filled = 0
        while filled < len(data) and (count := file.readinto(data[filled:])):
            filled += count
    start = bytes(data[:64]).lstrip().lower()
    for beginning, what in _NOT_MODELS.items():
        if start.startswith(beginning):
            raise BrokenCheckpoint(f"{path}: {what}")
    if filled < max(len(data), 1):
        raise BrokenCheckpoint(f"{path}: empty or cut off while reading; fetch it again")
    return Source(data, str(path))
