"""Latents in other programs' pickles: tables by name, lists of steps, arrays of objects.

ReStyle and programs built on it save `{name: [latents of each step]}`, InterFaceGAN arrays, others
tables of tensors. The pickle machine reads all of it; nothing in a file is called.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from framework.errors import UserError
from framework.formats.contents import sample_of
from framework.formats.pickle_machine import Constructor, Source
from framework.formats.storages import StoredTensor
from framework.formats.symbols import NumpyArray, NumpyDtype

NAMES = ("ws", "w", "latents", "latent", "w_pivot", "projected_w")
_DEEPEST_TABLE, _FREE_BYTES = 3, 64 << 20
_FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


class Named(NamedTuple):
    """Latents (N, L, D), or with fewer axes for one picture, and the pictures' names."""

    ws: Tensor
    names: list[str]


class ObjectDtype(NumpyDtype):
    """A numpy dtype that may be `object`, as np.save gives a table."""

    def __init__(self, code: object, align: object = False, copy: object = True) -> None:
        if code in ("O", "O4", "O8"):
            self.code = "O"
        else:
            super().__init__(code, align, copy)

    def build(self, state: Any) -> None:
        """Ignore the state; objects need none of it."""
        if self.code != "O":
            super().build(state)


class ObjectArray(NumpyArray):
    """A numpy array whose members may be values of a pickle: then `members` is their list."""

    members: list[Any] | None = None

    def build(self, state: Any) -> None:
        """Set the state (version, shape, dtype, column-major, bytes or members)."""
        match state:
            case (_, tuple(), NumpyDtype(code="O"), bool(), list(members)) if self.tensor is None:
                self.members = members
            case _:
                super().build(state)


LATENT_SYMBOLS: dict[str, Constructor] = {
    "numpy.dtype": ObjectDtype,
    **{f"{package}.multiarray._reconstruct": ObjectArray for package in
       ("numpy.core", "numpy._core")},
}  # fmt: skip


def latents_among(value: Any, source: Source) -> Named:
    """Return the latents in a file's value.

    Args:
        value: A tensor or array; a table that names it, or has one entry for each picture; a list
            of pictures. A picture's own entry may be a list: of its layers, or of the steps that
            led to it, of which the last counts.
        source: The file, for messages.

    Raises:
        UserError: If there are no latents, or far more than the file can hold.
    """
    return _Finder(source).among(value, 0)


class _Finder:
    """A search that copies latents out of a file's values, each of which may occur repeatedly."""

    def __init__(self, source: Source) -> None:
        self.source, self.bytes_left = source, max(_FREE_BYTES, 2 * len(source.data))

    def among(self, value: Any, depth: int) -> Named:
        value = _plain(value)
        if isinstance(value, StoredTensor):
            return Named(self._copied(value), [])
        if isinstance(value, Mapping):
            for name in NAMES:
                if isinstance(tensor := _plain(value.get(name)), StoredTensor):
                    return Named(self._copied(tensor), [])
            items = [(str(name), _last(item)) for name, item in value.items()]
        else:
            values = list(value) if isinstance(value, list | tuple) else []
            items = [(str(number), item) for number, item in enumerate(values)]
            if depth and values and all(map(_is_row, values)):
                return Named(torch.stack([self._copied(_plain(row)) for row in values]), [])
        nested = all(isinstance(_plain(item), StoredTensor | Mapping | list) for _, item in items)
        if nested and items and depth < _DEEPEST_TABLE:
            rows = [(name, self._rows(self.among(item, depth + 1).ws)) for name, item in items]
            if len({row.shape[1:] for _, row in rows}) == 1:
                names = [name for name, row in rows for _ in range(len(row))]
                return Named(torch.cat([row for _, row in rows]), names)
        words = f"a table of {sample_of(value)}" if isinstance(value, Mapping) else "no tensor"
        raise UserError(
            f"{self.source.label}: holds {words}, where latents are a tensor; export them alone"
        )

    def _rows(self, ws: Tensor) -> Tensor:
        """Reshape one picture's latents, (D,) or (L, D), or several's, (N, L, D), to (N, L, D)."""
        if ws.ndim not in (1, 2, 3) or not ws.numel():
            shape = tuple(ws.shape)
            raise UserError(f"{self.source.label}: a tensor of shape {shape} holds no latents")
        return ws.reshape(1, -1, ws.shape[-1]) if ws.ndim < 3 else ws

    def _copied(self, tensor: StoredTensor) -> Tensor:
        if tensor.storage.dtype not in _FLOATS or tensor.nbytes > len(self.source.data):
            kind = tensor.storage.dtype
            raise UserError(f"{self.source.label}: a tensor of {kind} holds no latents")
        self.bytes_left -= tensor.nbytes
        if self.bytes_left < 0:
            raise UserError(
                f"{self.source.label}: means the same tensor as far more latents than it can hold"
            )
        return tensor.read()


def _plain(value: Any) -> Any:
    """Unwrap a numpy array to the tensor, the list or the one value in it."""
    for _ in range(_DEEPEST_TABLE):  # it may contain itself
        if not isinstance(value, ObjectArray) or value.members is None:
            break
        value = value.members[0] if len(value.members) == 1 else value.members
    return value.tensor if isinstance(value, NumpyArray) else value


def _last(value: Any) -> Any:
    """Return the last of one picture's steps; a list of its layers is returned whole."""
    value = _plain(value)
    if isinstance(value, list | tuple) and value:
        last = _plain(value[-1])
        if isinstance(last, StoredTensor) and len(last.shape) > 1:
            return last
    return value


def _is_row(value: Any) -> bool:
    """Whether a value is one layer's latents."""
    value = _plain(value)
    return isinstance(value, StoredTensor) and len(value.shape) == 1 and value.shape[0] > 0
