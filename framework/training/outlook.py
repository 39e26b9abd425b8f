"""Checking that a machine has what a run will need: a writable folder, disk space, memory."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from framework.errors import UserError

_ADAM = 2  # moments that Adam keeps of every weight


def check_place(folder: Path) -> None:
    """Check that a run folder can be made and written to; nothing is created.

    Raises:
        UserError: Naming the flag.
    """
    if "\0" in str(folder):
        raise UserError(": the name of a folder cannot contain NUL", "run.dir")
    try:
        place = _nearest(folder)
    except OSError as error:  # such as a name that is too long
        raise UserError(f"{folder}: {error.strerror}; give another folder", "run.dir") from None
    if not place.is_dir():
        raise UserError(f"{folder}: {place} is a file; give another folder", "run.dir")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"{folder}: {place} cannot be written to; give another folder", "run.dir")


def check_room(
    folder: Path, networks: Iterable[nn.Module], device: torch.device, flags: str
) -> None:
    """Check that the device can hold the networks in training, and the disk a checkpoint of them.

    Both hold each weight, its average and Adam's two moments of it.

    Args:
        folder: The run folder.
        networks: The networks, on any device, such as `meta`.
        device: The device they will be trained on.
        flags: The flags of the networks' widths, for the message.

    Raises:
        UserError: Naming what is needed and what there is.
    """
    weights = sum(t.numel() for network in networks for t in network.state_dict().values())
    needed_bytes = 4 * weights * (2 + _ADAM)
    if needed_bytes > (memory := _memory(device)):
        raise UserError(
            f"{flags}: {weights / 1e6:,.0f} million weights take "
            f"{needed_bytes / 1e9:,.1f} GB in training, {device} has {memory / 1e9:,.1f} GB; "
            "give smaller ones, or a smaller --data.size"
        )
    if needed_bytes > (free := shutil.disk_usage(_nearest(folder)).free):
        raise UserError(
            f"{folder}: a checkpoint takes about {needed_bytes / 1e6:,.1f} MB, "
            f"{free / 1e6:,.1f} MB are free; make room or give a folder on another disk",
            "run.dir",
        )


def _nearest(folder: Path) -> Path:
    """Return the folder itself, or the nearest existing one above it."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())


def _memory(device: torch.device) -> int:
    """Return all the memory of a device, in bytes."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not every system tells
        return 2**63
