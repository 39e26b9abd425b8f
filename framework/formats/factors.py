"""Rosinality's `factor.pt`: the closed-form factorisation of a generator, read as data.

Its program saves a dict with `eigvec`, the right singular vectors of the stacked modulation weights
as columns, the strongest first, and `ckpt`, the name of the model's file.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from framework.errors import BrokenCheckpoint, UserError
from framework.formats.pickle_machine import Refused
from framework.formats.source_file import read_file
from framework.formats.storages import StoredTensor
from framework.formats.torch_files import LEGACY_START, read_stream, read_zip
from framework.formats.zip_entries import ZIP_START

_LARGEST_FILE = 64 << 20
_WIDEST = 4096


class Factor(NamedTuple):
    """Directions as rows, (K, w_dim), the strongest first, and the name of the model's file."""

    directions: Tensor
    model_name: str


def read_factor(path: str | Path) -> Factor:
    """Read a factor file; nothing in it is run.

    Raises:
        UserError: If it holds no `eigvec`, or an impossible one.
        BrokenCheckpoint: If it is damaged.
        UnsafeCheckpoint: If it asks for code to be run.
    """
    path = Path(path)
    if path.is_file() and path.stat().st_size > _LARGEST_FILE:
        raise UserError(f"{path}: larger than {_LARGEST_FILE >> 20} MiB; factor files are small")
    source = read_file(path)
    start = bytes(source.data[: len(LEGACY_START)])
    if start.startswith(ZIP_START):
        value: Any = read_zip(source)
    elif start.startswith(LEGACY_START):
        value = read_stream(source)
    else:
        raise UserError(f"{path}: neither a file of directions nor a torch file with eigvec")
    stored = value.get("eigvec") if isinstance(value, dict) else None
    if not isinstance(stored, StoredTensor):
        raise UserError(f"{path}: a torch file without eigvec, which a factor file has")
    if len(stored.shape) != 2 or not 0 < max(stored.shape) <= _WIDEST or not min(stored.shape):
        raise UserError(f"{path}: eigvec of shape {stored.shape} is not (w_dim, K)")
    try:
        columns = stored.read()
    except Refused as error:
        raise BrokenCheckpoint(f"{path}: {error}") from None
    if not columns.is_floating_point() or not columns.isfinite().all():
        raise UserError(f"{path}: eigvec holds what are no finite numbers")
    name = value.get("ckpt")
    return Factor(columns.to(torch.float32).T.contiguous(), name if isinstance(name, str) else "")
