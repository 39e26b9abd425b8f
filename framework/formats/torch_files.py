"""PyTorch's two containers, read as data: today's zip and the stream of before 1.6.

Layouts: https://pytorch.org/docs/stable/notes/serialization.html and torch.save with
`_use_new_zipfile_serialization=False`.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from framework.errors import BrokenCheckpoint, UnsafeCheckpoint
from framework.formats.pickle_machine import (
    LONGEST_NAME,
    Budget,
    Constructor,
    Refused,
    Source,
    Symbol,
    read_pickle,
)
from framework.formats.storages import STORAGE_DTYPES, Storage, is_count
from framework.formats.symbols import TORCH_SYMBOLS, with_nested_storages
from framework.formats.zip_entries import ZipEntries

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001
Symbols = Mapping[str, Constructor]
_NO_MORE: Symbols = {}
LEGACY_START = b"\x80\x02\x8a\x0a" + LEGACY_MAGIC.to_bytes(10, "little")


def read_plain_pickle(source: Source, more: Symbols = _NO_MORE) -> Any:
    """Read a bare pickle whose storages, if any, are torch streams of their own (NVIDIA's).

    Args:
        source: The file.
        more: Symbols that replace those of torch's files; also in the other functions.
    """
    budget = Budget(len(source.data))

    def nested(data: memoryview) -> Storage:
        stream = Source(data, f"{source.label}, in a nested storage")
        value = _read_stream(stream, budget)
        if not isinstance(value, Storage):
            raise Refused("a nested file that holds something else than a storage")
        return value

    value, end = read_pickle(source, {**with_nested_storages(nested), **more}, budget)
    if end != len(source.data):
        source.refuse(end, "there is more after the end of the pickle", UnsafeCheckpoint)
    return value


def read_stream(source: Source, more: Symbols = _NO_MORE) -> Any:
    """Read a torch file of before 1.6: five pickles, then each storage's length and bytes."""
    return _read_stream(source, Budget(len(source.data)), more)


def _read_stream(source: Source, budget: Budget, more: Symbols = _NO_MORE) -> Any:
    magic, at = read_pickle(source, {}, budget)
    version, at = read_pickle(source, {}, budget, at)
    system, at = read_pickle(source, {}, budget, at)
    if magic != LEGACY_MAGIC or version != LEGACY_VERSION:
        source.refuse(0, "not a torch file, or of a version that is not known", BrokenCheckpoint)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        source.refuse(at, "not written on a little-endian machine", BrokenCheckpoint)
    storages: dict[str, Storage] = {}
    symbols = {**TORCH_SYMBOLS, **more}
    value, at = read_pickle(source, symbols, budget, at, lambda i: _named(i, storages))
    keys, at = read_pickle(source, {}, budget, at)
    texts = isinstance(keys, list) and all(type(key) is str for key in keys)
    if not texts or len(keys) != len(storages) or set(keys) != storages.keys():
        source.refuse(at, "its list of storages is not the one it uses", BrokenCheckpoint)
    for key in keys:
        storage = storages[key]
        numel = int.from_bytes(source.data[at : at + 8], "little")
        at += 8
        if numel != storage.numel or at + storage.nbytes > len(source.data):
            source.refuse(
                at, f"storage {key[:40]!r} is cut off or of another size", BrokenCheckpoint
            )
        content = source.data[at : at + storage.nbytes]
        storage.find = partial(memoryview, content)
        at += storage.nbytes
    if at != len(source.data):
        source.refuse(at, "there is more after the end of the file", UnsafeCheckpoint)
    return value


def _named(identity: object, storages: dict[str, Storage]) -> Storage:
    """Return the storage of a persistent id ('storage', type, key, device, numel[, view])."""
    match identity:
        case ("storage", Symbol(name), str(key), str(), numel, *view) if view in ([], [None]):
            pass
        case _:
            raise Refused("refers to something that is not a storage")
    dtype = STORAGE_DTYPES.get(name.removeprefix("torch."))
    if dtype is None or not is_count(numel) or len(key) > LONGEST_NAME:
        raise Refused(f"a storage of {name} whose name or size is none")
    storage = storages.setdefault(key, Storage(dtype, numel))
    if (storage.dtype, storage.numel) != (dtype, numel):
        raise Refused(f"storage {key[:40]!r} is described in two ways")
    return storage


def read_zip(source: Source, more: Symbols = _NO_MORE) -> Any:
    """Read today's torch file: `data.pkl` and one stored entry for each storage."""
    entries = ZipEntries(source)
    if "data.pkl" not in entries:
        source.refuse(0, "not a torch file: the zip has no data.pkl in it", BrokenCheckpoint)
    if "byteorder" in entries and bytes(entries.read("byteorder")) != b"little":
        source.refuse(0, "not written on a little-endian machine", BrokenCheckpoint)
    storages: dict[str, Storage] = {}

    def resolve(identity: Any) -> Storage:
        storage = _named(identity, storages)
        name = f"data/{identity[2]}"
        if entries.size(name) != storage.nbytes:
            raise Refused(f"{name[:60]!r} is not of the size that the pickle says")
        storage.find = partial(entries.read, name)
        return storage

    pickled = Source(entries.read("data.pkl"), f"{source.label}, data.pkl")
    budget = Budget(len(source.data))
    symbols = {**TORCH_SYMBOLS, **more}
    value, end = read_pickle(pickled, symbols, budget, persistent=resolve)
    if end != len(pickled.data):
        pickled.refuse(end, "there is more after the end of the pickle")
    return value
