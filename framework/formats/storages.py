"""Tensors in files: bytes and a geometry, checked first and copied on demand."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeGuard

import torch
from torch import Tensor

from framework.formats.pickle_machine import Refused

STORAGE_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_MOST_DIMENSIONS = 8


@dataclass(slots=True)
class Storage:
    """A run of numbers of one type.

    Attributes:
        dtype: Type of the numbers.
        numel: Count of the numbers.
        find: Function that returns their bytes, little endian, checked as far as the container
            can; None until the container knows their place.
    """

    dtype: torch.dtype
    numel: int
    find: Callable[[], memoryview | bytes] | None = None

    @property
    def nbytes(self) -> int:
        """Length in bytes."""
        return self.numel * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor that is still in its file. Making one checks that it lies within its storage.

    Attributes:
        storage: Storage of its numbers.
        offset: Offset of its first element, in elements.
        shape: Shape of the tensor that `read` returns.
        stride: Strides of the stored tensor, in elements.
        stored_shape: Shape of the stored tensor.
        steps: Changes that are applied when it is read.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    stored_shape: tuple[int, ...]
    steps: tuple[Callable[[Tensor], Tensor], ...] = ()

    @property
    def nbytes(self) -> int:
        """Number of bytes that it covers in its storage."""
        return math.prod(self.stored_shape) * self.storage.dtype.itemsize

    def then(self, step: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> "StoredTensor":
        """Return the tensor with `step` to apply when it is read, which gives `shape`."""
        return replace(self, steps=(*self.steps, step), shape=shape)

    def reshape(self, *shape: int) -> "StoredTensor":
        """Return the same numbers in another shape of as many elements."""
        if math.prod(shape) != math.prod(self.shape):
            raise Refused(f"a tensor of shape {self.shape} where {shape} is needed")
        return self.then(lambda tensor: tensor.reshape(shape), shape)

    def read(self) -> Tensor:
        """Copy the tensor out of the file, contiguous, to the CPU."""
        if math.prod(self.stored_shape) == 0:
            tensor = torch.empty(self.stored_shape, dtype=self.storage.dtype)
        else:
            tensor = self._copy()
        for step in self.steps:
            tensor = step(tensor)
        return tensor.contiguous()

    def _copy(self) -> Tensor:
        assert self.storage.find is not None, "the container has not found this storage"
        size = self.storage.dtype.itemsize
        first, last = self.offset * size, (self.offset + math.prod(self.stored_shape)) * size
        raw = memoryview(self.storage.find())[first:last]
        if raw.readonly:
            raw = bytearray(raw)
            flat = torch.frombuffer(raw, dtype=torch.uint8)
        else:
            flat = torch.frombuffer(raw, dtype=torch.uint8).clone()
        return flat.view(self.storage.dtype).as_strided(self.stored_shape, self.stride)


def stored_tensor(storage: object, offset: object, shape: object, stride: object) -> StoredTensor:
    """Describe a tensor by numbers from an untrusted file.

    Raises:
        Refused: If it is not a dense block within its storage: out of bounds, negative,
            overlapping itself.
    """
    if not isinstance(storage, Storage) or not is_count(offset):
        raise Refused("a tensor without storage or place")
    shape, stride = counts(shape), counts(stride)
    if len(shape) != len(stride):
        raise Refused("a tensor whose shape and strides do not match")
    numel = math.prod(shape)
    if offset + numel > storage.numel:
        raise Refused(
            f"a tensor of shape {shape} from {offset} in a storage of {storage.numel} numbers"
        )
    expected = 1  # dense: each stride is the product of the sizes inside it, in some order
    for step, size in sorted((st, sz) for st, sz in zip(stride, shape, strict=True) if sz > 1):
        if numel and step != expected:
            raise Refused(f"a tensor of shape {shape} with strides {stride}, which is not dense")
        expected *= size
    return StoredTensor(storage, offset, shape, stride, shape)


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides of a contiguous tensor."""
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def counts(values: object) -> tuple[int, ...]:
    """Check a shape or strides from a file; `Refused` if they are invalid."""
    if not isinstance(values, tuple) or len(values) > _MOST_DIMENSIONS:
        raise Refused("a shape or stride that is none")
    if not all(is_count(value) for value in values):
        raise Refused("a shape or stride that is not whole numbers from 0")
    return values


def is_count(value: object) -> TypeGuard[int]:
    """Whether a value from a file may be a size or a place: a whole number from 0, not a bool."""
    return type(value) is int and 0 <= value < 2**48
