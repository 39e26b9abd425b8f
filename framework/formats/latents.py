"""Latents `ws` to and from the files of other programs. Reads data, never runs code.

| kind | file | contents | program |
|---|---|---|---|
| `draggan` | `.pt` | tensor (1, num_ws, w_dim) | DragGAN's window |
| `nvidia` | `.npz` | array `w`, (1, num_ws, w_dim) | projector.py's `projected_w.npz` |
| `psp` | `.pt` | tensor (N, num_ws, w_dim) | pSp's and e4e's `latents.pt` |
| `npy` | `.npy` | array (N, num_ws, w_dim) | numpy, InterFaceGAN |
| `dragline` | `.safetensors` | tensor `ws`, (N, num_ws, w_dim) | ours, inverted images too |

Two kinds are only read: pickled tables by picture (ReStyle's `latents.npy`, `.pkl`), and folders of
one `.pt` for each picture (PTI's embeddings).
"""

import io
import math
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from framework.errors import BrokenCheckpoint, UserError
from framework.files import whole_file
from framework.formats.file_kinds import LOOKED_AT, looks_like_old_pickle
from framework.formats.latent_tables import LATENT_SYMBOLS, NAMES, Named, latents_among
from framework.formats.pickle_machine import Refused, Source
from framework.formats.safetensors_file import (
    looks_like_safetensors,
    metadata_of,
    read_safetensors,
)
from framework.formats.source_file import read_file
from framework.formats.torch_files import LEGACY_START, read_plain_pickle, read_stream, read_zip
from framework.formats.zip_entries import ZIP_START
from framework.tensor_files import DIGEST, contents_digest

Kind = Literal["draggan", "nvidia", "psp", "npy", "dragline"]
ENDINGS: dict[Kind, str] = {
    "draggan": ".pt", "nvidia": ".npz", "psp": ".pt", "npy": ".npy", "dragline": ".safetensors",
}  # fmt: skip
FORMAT = "dragline-latents"
_IN_FOLDERS, _MOST_FILES = (".pt", ".npy"), 10_000
_LARGEST_FILE = 1 << 30
_MOST_LAYERS, _MOST_COORDINATES = 256, 16384
_NPY_START = b"\x93NUMPY"
_NPY_VERSION = (1, 0)  # newer ones have headers of up to 4 GiB, which numpy reads unchecked
_MOST_COMPRESSION = 100  # ratio for latents; the same row for every layer comes near


def read_latents(path: str | Path, num_ws: int | None = None) -> Tensor:
    """Read latents from a file of any kind, recognised by its content, not by its name.

    Args:
        path: A torch file with a tensor, or a table of tensors (one for each picture, or under a
            name such as `latent`); such a table pickled or saved by numpy; `.npy`; `.npz` with
            `w`; safetensors with `ws`; a folder of such files, one for each picture.
        num_ws: The generator's number of layers. If a file has one row for all of them,
            (w_dim,), (1, w_dim) or (N, 1, w_dim), it is repeated for each.

    Returns:
        Latents ws, float32 (N, num_ws, w_dim), finite.

    Raises:
        UserError: If the file has no latents, or latents of another number of layers.
        BrokenCheckpoint: If the file is damaged.
        UnsafeCheckpoint: If the file asks for code to be run.
    """
    return read_named_latents(path, num_ws).ws


def read_named_latents(path: str | Path, num_ws: int | None = None) -> Named:
    """Read latents and the names of their pictures, or numbers for want of names."""
    path = Path(path)
    latents = _read_folder(path, num_ws) if path.is_dir() else _read_file(path, num_ws)
    return Named(latents.ws, latents.names or [str(number) for number in range(len(latents.ws))])


def _read_folder(folder: Path, num_ws: int | None) -> Named:
    """Read one picture's latents from each file in a folder and its sub-folders, by path."""
    files = sorted(_files_below(folder))
    if not files:
        raise UserError(f"{folder}: no latents in it ({', '.join(_IN_FOLDERS)})")
    read = [_read_file(file, num_ws).ws for file in files]
    if len({ws.shape[1:] for ws in read}) > 1:
        raise UserError(f"{folder}: holds latents of several shapes; give those of one model")
    names = [str(file.relative_to(folder).with_suffix("")).removesuffix("/0") for file in files]
    return Named(torch.cat(read), [n for n, ws in zip(names, read, strict=True) for _ in ws])


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield files of latents in a folder and its sub-folders; links are not followed."""
    looked_at = 0
    for here, folders, names in os.walk(folder):
        looked_at += len(folders) + len(names)
        if looked_at > _MOST_FILES:
            raise UserError(f"{folder}: more than {_MOST_FILES:,} files; give a folder of latents")
        yield from (Path(here, name) for name in names if name.endswith(_IN_FOLDERS))


def _read_file(path: Path, num_ws: int | None) -> Named:
    if path.is_file() and path.stat().st_size > _LARGEST_FILE:
        raise UserError(f"{path}: larger than {_LARGEST_FILE >> 30} GiB; latents are small")
    source = read_file(path)
    try:
        latents = _unfolded(source)
    except Refused as error:
        source.refuse(0, str(error), BrokenCheckpoint)
    ws = _shaped(latents.ws, num_ws, source.label)
    return Named(ws, latents.names if len(latents.names) == len(ws) else [])


def _unfolded(source: Source) -> Named:
    """Read a file's latents by its first bytes."""
    start = bytes(source.data[: max(LOOKED_AT, len(LEGACY_START))])
    if start.startswith(ZIP_START) and _is_npz(source):
        return _read_npz(source)
    if start.startswith(ZIP_START):
        return latents_among(read_zip(source, LATENT_SYMBOLS), source)
    if start.startswith(LEGACY_START):
        return latents_among(read_stream(source, LATENT_SYMBOLS), source)
    if start.startswith(_NPY_START):
        return _read_npy(io.BytesIO(source.data), len(source.data), source)
    if looks_like_safetensors(source):
        return _read_safetensors(source)
    if start[:1] == b"\x80" or looks_like_old_pickle(start):
        return latents_among(read_plain_pickle(source, LATENT_SYMBOLS), source)
    kinds = ", ".join(sorted({*ENDINGS.values(), ".pkl"}))
    raise UserError(f"{source.label}: no latents are known to look like this; give {kinds}")


def _read_safetensors(source: Source) -> Named:
    """Read latents from safetensors; our own carry a digest, which must match."""
    tables, facts = read_safetensors(source), metadata_of(source)
    if facts.get("format") == FORMAT:
        tensors = {name: stored.read() for name, stored in tables.items()}
        if facts.get(DIGEST) != contents_digest(facts, tensors):
            reason = "its digest does not match its contents; damaged"
            raise BrokenCheckpoint(f"{source.label}: {reason}")
    return latents_among(tables, source)


def write_latents(path: str | Path, ws: Tensor, kind: Kind) -> Path:
    """Write latents (N, num_ws, w_dim) in another program's form, whole or not at all.

    The path has the kind's ending (see the table above); DragGAN's and NVIDIA's files take those of
    one picture.

    Raises:
        UserError: If kind, ending or shape do not fit, or the file cannot be written.
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
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None
    return path


def _write(file: BinaryIO, ws: Tensor, kind: Kind) -> None:
    if kind in ("draggan", "psp"):
        torch.save(ws, file)
    elif kind == "nvidia":
        np.savez(file, w=ws.numpy())
    elif kind == "npy":
        np.save(file, ws.numpy(), allow_pickle=False)
    else:
        facts = {"format": FORMAT}
        facts[DIGEST] = contents_digest(facts, {"ws": ws})
        file.write(save({"ws": ws}, facts))


# ------------------------------------------------------------------------------------ numpy files


def _is_npz(source: Source) -> bool:
    """Whether a zip holds numpy's arrays, by the ending of its first entry."""
    name_bytes = int.from_bytes(source.data[26:28], "little")
    return bytes(source.data[30 : 30 + name_bytes]).endswith(b".npy")


def _read_npz(source: Source) -> Named:
    try:
        with zipfile.ZipFile(io.BytesIO(source.data)) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
            names = [n.removesuffix(".npy") for n in sizes if n.endswith(".npy")]
            name = next((name for name in NAMES if name in names), None)
            if name is None:
                raise UserError(
                    f"{source.label}: holds the arrays {', '.join(names)[:80]}, where latents are w"
                )
            with archive.open(f"{name}.npy") as file:
                return _read_npy(file, sizes[f"{name}.npy"], source)
    except UserError:
        raise
    except Exception as error:  # zipfile on a garbled file: BadZipFile, zlib.error, KeyError, ...
        source.refuse(0, f"not a whole npz file ({str(error)[:80]})", BrokenCheckpoint)


def _read_npy(file: Any, size: int, source: Source) -> Named:
    """Read the array of an npy file of `size` bytes; its header must fit them."""
    try:
        if np.lib.format.read_magic(file) != _NPY_VERSION:
            raise ValueError("a version that arrays of floats do not need")
        shape, column_major, dtype = np.lib.format.read_array_header_1_0(file)
    except (ValueError, EOFError, RecursionError, MemoryError) as error:
        source.refuse(0, f"not a whole npy file ({str(error)[:80]})", BrokenCheckpoint)
    if dtype.hasobject:
        return _read_objects(file, size, source)
    if dtype.kind != "f" or dtype.itemsize not in (2, 4, 8):
        raise UserError(f"{source.label}: an array of {dtype} holds no latents; give floats")
    content_bytes = math.prod(shape) * dtype.itemsize
    most = min(size, _LARGEST_FILE, _MOST_COMPRESSION * len(source.data))
    if min(shape, default=1) < 0 or content_bytes > most:
        source.refuse(0, f"an array of {shape} in {size:,} bytes", BrokenCheckpoint)
    content = file.read(content_bytes)
    if len(content) != content_bytes:
        source.refuse(0, "the array is cut off", BrokenCheckpoint)
    flat = np.frombuffer(content, dtype)
    array = flat.reshape(shape, order="F" if column_major else "C")
    return Named(torch.from_numpy(np.array(array, dtype.newbyteorder("="), order="C")), [])


def _read_objects(file: Any, size: int, source: Source) -> Named:
    """Read a table as np.save writes it: an array's header, then a pickle of the array."""
    most = min(size, _LARGEST_FILE, _MOST_COMPRESSION * len(source.data))
    content = file.read(most + 1)
    if len(content) > most:
        source.refuse(0, f"objects of more than {most:,} bytes", BrokenCheckpoint)
    inner = Source(memoryview(content), source.label)
    return latents_among(read_plain_pickle(inner, LATENT_SYMBOLS), inner)


# --------------------------------------------------------------------------------------- checking


def _shaped(ws: Tensor, num_ws: int | None, label: str) -> Tensor:
    """Convert latents to contiguous float32 (N, num_ws, w_dim), checked."""
    shape = tuple(ws.shape)
    if ws.ndim in (1, 2) and ws.numel():
        ws = ws.reshape(1, -1, shape[-1])
    if ws.ndim != 3 or not ws.numel():
        raise UserError(f"{label}: a tensor of shape {shape} holds no latents (N, num_ws, w_dim)")
    if ws.shape[1] > _MOST_LAYERS or ws.shape[2] > _MOST_COORDINATES:
        raise UserError(f"{label}: {shape} cannot be latents: no generator has so many layers")
    ws = ws.to(torch.float32).contiguous()
    if not ws.isfinite().all():
        raise UserError(f"{label}: the latents hold NaN or infinity; make them again")
    if num_ws is None:
        return ws
    if len(shape) == 2 and shape[0] != num_ws and not _may_be_layers(shape[0]):
        ws = ws.reshape(-1, 1, shape[1])  # rows of w, one for each picture
    if ws.shape[1] == 1:
        ws = ws.repeat(1, num_ws, 1)
    if ws.shape[1] != num_ws:
        rows = f" (or, if the rows are pictures, as {(shape[0], 1, shape[1])})" if len(shape) == 2 \
            else ""  # fmt: skip
        raise UserError(
            f"{label}: latents of {ws.shape[1]} layers, and this model has {num_ws}; give those of"
            f" a model of its size{rows}"
        )
    return ws


def _may_be_layers(rows: int) -> bool:
    """Whether a number of rows may be a generator's layers: two a block, 8 px to 4096 px."""
    return rows % 2 == 0 and 4 <= rows <= 22
