"""The safetensors container of other programs, read as data like the other containers.

Layout: https://github.com/huggingface/safetensors#format. Our own files are opened with the
library, which is as fast; here a file of any kind is bytes in memory.
"""

import json
from functools import partial
from typing import Any

import torch

from framework.errors import BrokenCheckpoint
from framework.formats.pickle_machine import Refused, Source
from framework.formats.storages import Storage, StoredTensor, counts, row_major, stored_tensor
from framework.tensor_files import LENGTH_BYTES, LONGEST_HEADER

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def starts_as_safetensors(start: bytes) -> bool:
    """Whether a file's first bytes are a length and the beginning of a JSON table."""
    length = int.from_bytes(start[:LENGTH_BYTES], "little")
    return length <= LONGEST_HEADER and start[LENGTH_BYTES:][:1] == b"{"


def looks_like_safetensors(source: Source) -> bool:
    """`starts_as_safetensors` of a file in memory."""
    return starts_as_safetensors(bytes(source.data[: LENGTH_BYTES + 1]))


def read_safetensors(source: Source) -> dict[str, Any]:
    """Read the descriptions of a file's tensors by name; their numbers stay in the file.

    Raises:
        BrokenCheckpoint: If the header is garbled, or a tensor does not lie within the file.
    """
    try:
        header, start = _header(source)
        rows = {name: row for name, row in header.items() if name != "__metadata__"}
        return {name: _tensor(source.data[start:], row) for name, row in rows.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        source.refuse(0, f"not a whole safetensors file ({str(error)[:80]})", BrokenCheckpoint)


def metadata_of(source: Source) -> dict[str, str]:
    """Return the metadata of a file that `read_safetensors` read."""
    facts = _header(source)[0].get("__metadata__")
    facts = facts if isinstance(facts, dict) else {}
    return {name: fact for name, fact in facts.items() if isinstance(fact, str)}


def _header(source: Source) -> tuple[Any, int]:
    """Return the table of a file's tensors, and the offset of their bytes."""
    start = LENGTH_BYTES + int.from_bytes(source.data[:LENGTH_BYTES], "little")
    return json.loads(bytes(source.data[LENGTH_BYTES:start])), start


def _tensor(data: memoryview, row: dict[str, Any]) -> StoredTensor:
    first, last = row["data_offsets"]
    if not (type(first) is type(last) is int and 0 <= first <= last <= len(data)):
        raise Refused("a tensor that does not lie within the file")
    content, dtype = data[first:last], _DTYPES[row["dtype"]]
    storage = Storage(dtype, len(content) // dtype.itemsize, partial(memoryview, content))
    shape = counts(tuple(row["shape"]))
    tensor = stored_tensor(storage, 0, shape, row_major(shape))
    if tensor.nbytes != len(content):
        raise Refused("a tensor whose bytes do not fit its shape")
    return tensor
