"""Latents `ws` to and from the files of other programs. Reads data, never runs code.

| kind | file | what is in it | whose |
|---|---|---|---|
| `draggan` | `.pt` | tensor (1, num_ws, w_dim) | DragGAN's window |
| `nvidia` | `.npz` | array `w`, (1, num_ws, w_dim) | projector.py's `projected_w.npz` |
| `psp` | `.pt` | tensor (N, num_ws, w_dim) | pSp's and e4e's `latents.pt` |
| `npy` | `.npy` | array (N, num_ws, w_dim) | numpy |
| `dragline` | `.safetensors` | tensor `ws`, (N, num_ws, w_dim) | ours, inverted images too |
"""

import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from framework.errors import BrokenCheckpoint, UserError
from framework.files import whole_file
from framework.formats.contents import sample_of
from framework.formats.pickle_machine import Refused, Source
from framework.formats.safetensors_file import looks_like_safetensors, read_safetensors
from framework.formats.source_file import read_file
from framework.formats.storages import StoredTensor
from framework.formats.torch_files import LEGACY_START, read_stream, read_zip
from framework.formats.zip_entries import ZIP_START

Kind = Literal["draggan", "nvidia", "psp", "npy", "dragline"]
ENDINGS: dict[Kind, str] = {
    "draggan": ".pt", "nvidia": ".npz", "psp": ".pt", "npy": ".npy", "dragline": ".safetensors",
}  # fmt: skip
_NAMES = ("ws", "w", "latents", "latent", "w_pivot", "projected_w")
_LARGEST_FILE = 1 << 30
_MOST_LAYERS, _MOST_COORDINATES = 256, 16384
_NPY_START = b"\x93NUMPY"
_NPY_VERSION = (1, 0)  # newer ones have headers of up to 4 GiB, which numpy reads before it looks
_MOST_COMPRESSION = 100  # of latents; the same row for every layer comes near
_DEEPEST_TABLE = 3
_FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


def read_latents(path: str | Path, num_ws: int | None = None) -> Tensor:
    """Read latents from a file of any kind; what it is, is seen in it and not in its name.

    Args:
        path: A torch file with a tensor, or a table of tensors (one for each picture, or under a
            name such as `latent`); `.npy`; `.npz` with `w`; safetensors with `ws`.
        num_ws: The generator's number of layers. Where a file has one row for all of them,
            (w_dim,), (1, w_dim) or (N, 1, w_dim), it is repeated so often.

    Returns:
        ws, float32 (N, num_ws, w_dim), finite.

    Raises:
        UserError: If it holds no latents, or of another number of layers.
        BrokenCheckpoint: If it is damaged.
        UnsafeCheckpoint: If it asks for code to be run.
    """
    path = Path(path)
    if path.is_file() and path.stat().st_size > _LARGEST_FILE:
        raise UserError(f"{path}: larger than {_LARGEST_FILE >> 30} GiB; latents are small")
    source = read_file(path)
    start = bytes(source.data[: len(LEGACY_START)])
    try:
        if start.startswith(ZIP_START) and _is_npz(source):
            ws = _read_npz(source)
        elif start.startswith(ZIP_START):
            ws = _from_table(read_zip(source), source)
        elif start.startswith(LEGACY_START):
            ws = _from_table(read_stream(source), source)
        elif start.startswith(_NPY_START):
            ws = _read_npy(io.BytesIO(source.data), len(source.data), source)
        elif looks_like_safetensors(source):
            ws = _from_table(read_safetensors(source), source)
        else:
            kinds = ", ".join(sorted({*ENDINGS.values()}))
            raise UserError(f"{path}: no latents are known to look like this; give {kinds}")
    except Refused as error:
        source.refuse(0, str(error), BrokenCheckpoint)
    return _shaped(ws, num_ws, source.label)


def write_latents(path: str | Path, ws: Tensor, kind: Kind) -> Path:
    """Write latents as another program wants them, whole or not at all.

    Args:
        path: Where to, with the kind's ending.
        ws: Shape (N, num_ws, w_dim); DragGAN's and NVIDIA's take one.
        kind: See the table above.

    Raises:
        UserError: If kind, ending or shape do not fit, or it cannot be written.
    """
    path = Path(path)
    if kind not in ENDINGS:
        raise UserError(f"kind {kind}: give one of {', '.join(get_args(Kind))}")
    if path.suffix != ENDINGS[kind]:
        raise UserError(f"{path}: files of kind {kind} end with {ENDINGS[kind]}")
    ws = _shaped(ws.detach().cpu(), None, str(path))
    if kind in ("draggan", "nvidia") and len(ws) != 1:
        raise UserError(f"{path}: kind {kind} holds one picture's latents, not {len(ws)}; give one")
    try:
        with whole_file(path) as temporary, open(temporary, "wb") as file:
            _write(file, ws.clone(), kind)  # a clone: torch.save writes all of a view's storage
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path}: cannot be written ({error})") from None
    return path


def _write(file: BinaryIO, ws: Tensor, kind: Kind) -> None:
    if kind in ("draggan", "psp"):
        torch.save(ws, file)
    elif kind == "nvidia":
        np.savez(file, w=ws.numpy())
    elif kind == "npy":
        np.save(file, ws.numpy(), allow_pickle=False)
    else:
        file.write(save({"ws": ws}))


# ------------------------------------------------------------------------------------ torch files


def _from_table(value: Any, source: Source, depth: int = 0) -> Tensor:
    """The latents in what a file holds: a tensor, or a table that names it or lists pictures."""
    if isinstance(value, StoredTensor):
        return _copied(value, source)
    if isinstance(value, Mapping) and value and depth < _DEEPEST_TABLE:
        for name in _NAMES:
            if isinstance(value.get(name), StoredTensor):
                return _copied(value[name], source)
        if all(isinstance(item, StoredTensor | Mapping) for item in value.values()):
            rows = [_rows(_from_table(v, source, depth + 1), source) for v in value.values()]
            if len({row.shape[1:] for row in rows}) == 1:
                return torch.cat(rows)
    held = f"a table of {sample_of(value)}" if isinstance(value, Mapping) else "no tensor"
    raise UserError(f"{source.label}: holds {held}, where latents are a tensor; export them alone")


def _rows(ws: Tensor, source: Source) -> Tensor:
    """One picture's latents, (D,) or (L, D), or several's, (N, L, D), as (N, L, D)."""
    if ws.ndim not in (1, 2, 3) or not ws.numel():
        raise UserError(f"{source.label}: a tensor of shape {tuple(ws.shape)} is no latents")
    return ws.reshape(1, -1, ws.shape[-1]) if ws.ndim < 3 else ws


def _copied(stored: StoredTensor, source: Source) -> Tensor:
    if stored.storage.dtype not in _FLOATS or stored.nbytes > len(source.data):
        raise UserError(f"{source.label}: a tensor of {stored.storage.dtype} is no latents")
    return stored.read()


# ------------------------------------------------------------------------------------ numpy files


def _is_npz(source: Source) -> bool:
    """Whether a zip holds arrays of numpy's: its first entry has their ending."""
    name_bytes = int.from_bytes(source.data[26:28], "little")
    return bytes(source.data[30 : 30 + name_bytes]).endswith(b".npy")


def _read_npz(source: Source) -> Tensor:
    try:
        with zipfile.ZipFile(io.BytesIO(source.data)) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
            held = [n.removesuffix(".npy") for n in sizes if n.endswith(".npy")]
            name = next((name for name in _NAMES if name in held), None)
            if name is None:
                raise UserError(
                    f"{source.label}: holds the arrays {', '.join(held)[:80]}, where latents are w"
                )
            with archive.open(f"{name}.npy") as file:
                return _read_npy(file, sizes[f"{name}.npy"], source)
    except UserError:
        raise
    except Exception as error:  # zipfile on a garbled file: BadZipFile, zlib.error, KeyError, ...
        source.refuse(0, f"not a whole npz file ({str(error)[:80]})", BrokenCheckpoint)


def _read_npy(file: Any, size: int, source: Source) -> Tensor:
    """The array of an npy file of `size` bytes; its header is believed only if it fits them."""
    try:
        if np.lib.format.read_magic(file) != _NPY_VERSION:
            raise ValueError("a version that arrays of floats do not need")
        shape, column_major, dtype = np.lib.format.read_array_header_1_0(file)
    except (ValueError, EOFError, RecursionError, MemoryError) as error:
        source.refuse(0, f"not a whole npy file ({str(error)[:80]})", BrokenCheckpoint)
    if dtype.hasobject:
        source.refuse(0, "an array of Python objects, which only an unsafe reader could open")
    if dtype.kind != "f" or dtype.itemsize not in (2, 4, 8):
        raise UserError(f"{source.label}: an array of {dtype} is no latents; give floats")
    wanted = math.prod(shape) * dtype.itemsize
    most = min(size, _LARGEST_FILE, _MOST_COMPRESSION * len(source.data))
    if min(shape, default=1) < 0 or wanted > most:
        source.refuse(0, f"an array of {shape} in {size:,} bytes", BrokenCheckpoint)
    content = file.read(wanted)
    if len(content) != wanted:
        source.refuse(0, "the array is cut off", BrokenCheckpoint)
    flat = np.frombuffer(content, dtype)
    array = flat.reshape(shape, order="F" if column_major else "C")
    return torch.from_numpy(np.array(array, dtype.newbyteorder("="), order="C"))


# --------------------------------------------------------------------------------------- checking


def _shaped(ws: Tensor, num_ws: int | None, label: str) -> Tensor:
    """The same as contiguous float32 (N, num_ws, w_dim), checked."""
    shape = tuple(ws.shape)
    if ws.ndim in (1, 2) and ws.numel():
        ws = ws.reshape(1, -1, shape[-1])
    if ws.ndim != 3 or not ws.numel():
        raise UserError(f"{label}: a tensor of shape {shape} is no latents (N, num_ws, w_dim)")
    if ws.shape[1] > _MOST_LAYERS or ws.shape[2] > _MOST_COORDINATES:
        raise UserError(f"{label}: {shape} is no latents: no generator has so many layers")
    ws = ws.to(torch.float32).contiguous()
    if not ws.isfinite().all():
        raise UserError(f"{label}: the latents hold NaN or infinity; make them again")
    if num_ws is not None and ws.shape[1] == 1:
        ws = ws.repeat(1, num_ws, 1)
    if num_ws is not None and ws.shape[1] != num_ws:
        raise UserError(
            f"{label}: latents of {ws.shape[1]} layers, and this model has {num_ws}; give those of"
            " a model of its size"
        )
    return ws
