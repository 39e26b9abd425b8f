"""PyTorch's two containers, read as data: the zip of today and the stream of before 1.6.

Layouts: https://pytorch.org/docs/stable/notes/serialization.html and torch.save with
`_use_new_zipfile_serialization=False`.
"""

import io
import struct
import zipfile
import zlib
from functools import partial
from itertools import pairwise
from typing import Any, NoReturn

from framework.errors import BrokenCheckpoint, UnsafeCheckpoint, UserError
from framework.formats.pickle_machine import Budget, Refused, Source, Symbol, read_pickle
from framework.formats.storages import STORAGE_DTYPES, Storage
from framework.formats.symbols import TORCH_SYMBOLS, with_nested_storages

ZIP_START = b"PK\x03\x04"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001
LEGACY_START = b"\x80\x02\x8a\x0a" + _LEGACY_MAGIC.to_bytes(10, "little")
_MOST_ENTRIES = 100_000
_LOCAL_HEADER = struct.Struct("<4s22xHH")


def read_plain_pickle(source: Source) -> Any:
    """Read a bare pickle whose storages, if any, are torch streams of their own (NVIDIA's)."""
    budget = Budget(len(source.data))

    def nested(data: memoryview) -> Storage:
        stream = Source(data, f"{source.label}, in a nested storage")
        value = _read_stream(stream, budget)
        if not isinstance(value, Storage):
            raise Refused("a nested file that holds something else than a storage")
        return value

    value, end = read_pickle(source, with_nested_storages(nested), budget)
    if end != len(source.data):
        source.refuse(end, "there is more behind the end of the pickle", UnsafeCheckpoint)
    return value


def read_stream(source: Source) -> Any:
    """Read a torch file of before 1.6: five pickles, then each storage's length and bytes."""
    return _read_stream(source, Budget(len(source.data)))


def _read_stream(source: Source, budget: Budget) -> Any:
    magic, at = read_pickle(source, {}, budget)
    version, at = read_pickle(source, {}, budget, at)
    system, at = read_pickle(source, {}, budget, at)
    if magic != _LEGACY_MAGIC or version != _LEGACY_VERSION:
        source.refuse(0, "not a torch file, or of a version that is not known", BrokenCheckpoint)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        source.refuse(at, "not written on a little-endian machine", BrokenCheckpoint)
    storages: dict[str, Storage] = {}
    value, at = read_pickle(source, TORCH_SYMBOLS, budget, at, lambda i: _named(i, storages))
    keys, at = read_pickle(source, {}, budget, at)
    if (
        not isinstance(keys, list)
        or set(map(str, keys)) != set(storages)
        or len(set(keys)) < len(keys)
    ):
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
        source.refuse(at, "there is more behind the end of the file", UnsafeCheckpoint)
    return value


def _named(identity: object, storages: dict[str, Storage]) -> Storage:
    """The storage of a persistent id ('storage', type, key, device, numel[, view])."""
    match identity:
        case ("storage", Symbol(name), str(key), str(), int(numel), *view) if view in ([], [None]):
            pass
        case _:
            raise Refused("refers to something that is no storage")
    dtype = STORAGE_DTYPES.get(name.removeprefix("torch."))
    if dtype is None or not 0 <= numel < 2**48:
        raise Refused(f"a storage of {name[:40]} with {numel} numbers")
    known = storages.setdefault(key, Storage(dtype, numel))
    if (known.dtype, known.numel) != (dtype, numel):
        raise Refused(f"storage {key[:40]!r} is described in two ways")
    return known


def read_zip(source: Source) -> Any:
    """Read a torch file of today: `data.pkl` and one stored entry for each storage."""
    entries = _Entries(source)
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
    value, end = read_pickle(pickled, TORCH_SYMBOLS, budget, persistent=resolve)
    if end != len(pickled.data):
        pickled.refuse(end, "there is more behind the end of the pickle")
    return value


class _Entries:
    """Entries of a torch zip by their names below its one folder, as views into the file."""

    def __init__(self, source: Source) -> None:
        self._source = source
        try:
            listed = zipfile.ZipFile(io.BufferedReader(_Window(source.data))).infolist()
        except (zipfile.BadZipFile, ValueError, OSError, EOFError, OverflowError, IndexError,
                struct.error, NotImplementedError, UnicodeError) as error:  # fmt: skip
            source.refuse(0, f"not a whole zip file ({error})", BrokenCheckpoint)
        if len(listed) > _MOST_ENTRIES:
            self._refuse("has more entries than any model")
        roots = {info.filename.partition("/")[0] for info in listed}
        names = [info.filename.partition("/")[2] for info in listed]
        self._byname = dict(zip(names, listed, strict=True))
        if len(roots) != 1 or len(self._byname) != len(listed):
            self._refuse("does not hold one folder with one file of each name")
        if "constants.pkl" in names or any(name.startswith("code/") for name in names):
            self._refuse("holds a TorchScript program, which is code")
        if "data.pkl" not in names:
            self._refuse("is not a torch file (no data.pkl in it)", BrokenCheckpoint)
        if any(".." in name.split("/") or "\\" in name for name in names):
            self._refuse("has entries with paths out of its folder")
        spans = sorted((info.header_offset, info.file_size) for info in listed)
        if any(start + size > after for (start, size), (after, _) in pairwise(spans)):
            self._refuse("has entries that overlap")
        if "byteorder" in names and bytes(self.read("byteorder")) != b"little":
            self._refuse("was not written on a little-endian machine", BrokenCheckpoint)

    def size(self, name: str) -> int:
        """Length of an entry in bytes."""
        return self._find(name).file_size

    def _find(self, name: str) -> zipfile.ZipInfo:
        if name not in self._byname:
            self._refuse(f"has no entry {name[:60]!r}", BrokenCheckpoint)
        return self._byname[name]

    def read(self, name: str) -> memoryview:
        """Bytes of an entry, its checksum compared."""
        info = self._find(name)
        data = self._source.data
        header = data[info.header_offset : info.header_offset + _LOCAL_HEADER.size]
        if len(header) < _LOCAL_HEADER.size or info.flag_bits & 0x1:
            self._refuse(f"is cut off at entry {name[:60]!r}", BrokenCheckpoint)
        signature, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        first = info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
        stored = info.compress_type == zipfile.ZIP_STORED and info.file_size == info.compress_size
        if signature != ZIP_START or not stored:
            self._refuse(f"has a compressed entry {name[:60]!r}, which torch never writes")
        content = data[first : first + info.file_size]
        if len(content) != info.file_size or zlib.crc32(content) != info.CRC:
            self._refuse(f"is damaged in entry {name[:60]!r} (checksum)", BrokenCheckpoint)
        return content

    def _refuse(self, reason: str, kind: type[UserError] = UnsafeCheckpoint) -> NoReturn:
        self._source.refuse(0, f"the file {reason}", kind)


class _Window(io.RawIOBase):
    """A file's bytes in memory as a file, without a copy of them."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._at = data, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._data)}[whence]
        if start + offset < 0:
            raise OSError("before the file's start")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        piece = self._data[self._at : self._at + len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)
