"""The entries of a torch zip, by stricter rules than the format's.

A zip can be read in many ways: names and sizes occur twice, entries may overlap, anything may lie
before, between and after them. All that torch does not write is refused, so that a file has only
one meaning. Layout: APPNOTE.TXT of PKWARE, version 6.3.9, sections 4.3 and 4.5.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple, NoReturn

from framework.errors import BrokenCheckpoint, UnsafeCheckpoint, UserError
from framework.formats.pickle_machine import Source

ZIP_START = b"PK\x03\x04"
_MOST_ENTRIES, _NAMES_LOOKED_AT = 20_000, 1000
_LONGEST_NOTE = (1 << 16) + 100  # bytes in which a zip's end is searched
_LOCAL = struct.Struct("<4s22xHH")
_CENTRAL = struct.Struct("<4s4xHH4xIIIHHH8xI")
_END = struct.Struct("<4s4xHHIIH")
_LOCATOR = struct.Struct("<4s4xQ4x")
_END_64 = struct.Struct("<4s28xQQQ")
_EXTRA = struct.Struct("<HH")
_ZIP_64, _FULL_16, _FULL_32 = 1, 0xFFFF, 0xFFFFFFFF
_ENCRYPTED = 0x1
_TORCHSCRIPT = re.compile(rb"[^/]*/(?:constants\.pkl$|code/)")


def first_names(source: Source) -> list[str]:
    """List the names of any zip's first thousand entries; none if it has no directory."""
    data, names = source.data, []
    tail = bytes(data[-_LONGEST_NOTE:])
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or end + _END.size > len(tail):
        return names
    at = _END.unpack_from(tail, end)[4]
    while len(names) < _NAMES_LOOKED_AT and at + _CENTRAL.size <= len(data):
        signature, *_, name_size, extra_size, note_size, _ = _CENTRAL.unpack_from(data, at)
        if signature != b"PK\x01\x02":
            break
        name_at = at + _CENTRAL.size
        names.append(bytes(data[name_at : name_at + name_size]).decode("utf-8", "replace"))
        at = name_at + name_size + extra_size + note_size
    return names


class _Entry(NamedTuple):
    """The place of an entry: its header, its content, and the content's checksum."""

    start: int
    first: int
    size: int
    crc: int

    @property
    def end(self) -> int:
        return self.first + self.size


class ZipEntries:
    """Stored entries by their names below the archive's one folder, as views into the file."""

    def __init__(self, source: Source) -> None:
        """Read and check the directory.

        Raises:
            BrokenCheckpoint: If the file is cut off or garbled.
            UnsafeCheckpoint: If torch does not write such zips.
        """
        self._source = source
        self._whole: set[str] = set()
        self._entries: dict[str, _Entry] = {}
        try:
            roots = {self._add(*place) for place in self._listed()}
        except struct.error:
            self._refuse(0, "the zip's directory is cut off", BrokenCheckpoint)
        if len(roots) != 1:
            self._refuse(0, f"the zip has {len(roots)} folders and not one")
        spans = sorted(self._entries.values())
        for entry, after in pairwise(spans):
            if entry.end > after.start:
                self._refuse(after.start, "entries of the zip overlap")

    def _listed(self) -> Iterator[tuple[bytes, _Entry]]:
        """Yield name and place of each entry in the directory at the end."""
        data = self._source.data
        first, count, end = self._directory()
        at = first
        for _ in range(count):
            signature, flags, method, crc, packed, size, name_size, extra_size, note_size, start = (
                _CENTRAL.unpack_from(data, at)
            )
            name_at = at + _CENTRAL.size
            extra_at = name_at + name_size
            if signature != b"PK\x01\x02" or extra_at + extra_size + note_size > end:
                self._refuse(at, "the zip's directory is garbled", BrokenCheckpoint)
            name = bytes(data[name_at:extra_at])
            extra = data[extra_at : extra_at + extra_size]
            size, packed, start = self._wide(extra, [size, packed, start], at)
            if _TORCHSCRIPT.match(name):  # its entries are compressed: this is the better reason
                self._refuse(at, "the zip holds a TorchScript program, which is code")
            if flags & _ENCRYPTED or method or packed != size:
                self._refuse(at, f"entry {_quoted(name)} is compressed or encrypted")
            entry = self._place(name, start, size, crc)
            if entry.end > first:
                self._refuse(start, f"entry {_quoted(name)} is cut off", BrokenCheckpoint)
            yield name, entry
            at = extra_at + extra_size + note_size
        if at != end:
            self._refuse(at, "the zip's directory is longer than it says")

    def _directory(self) -> tuple[int, int, int]:
        """Return the directory's start, its number of entries, and its end."""
        data = self._source.data
        end = len(data) - _END.size
        if end < 0 or data[end : end + 4] != b"PK\x05\x06":
            self._refuse(
                len(data), "no zip directory at the end, cut off or added to", BrokenCheckpoint
            )
        _, here, count, size, start, note_size = _END.unpack_from(data, end)
        narrow = (here, count, size, start)
        locator = end - _LOCATOR.size
        if locator >= 0 and data[locator : locator + 4] == b"PK\x06\x07":
            end = _LOCATOR.unpack_from(data, locator)[1]
            if end + _END_64.size != locator or data[end : end + 4] != b"PK\x06\x06":
                self._refuse(locator, "the zip's directory is garbled", BrokenCheckpoint)
            _, count, size, start = _END_64.unpack_from(data, end)
        wide = (count, count, size, start)
        limits = (_FULL_16, _FULL_16, _FULL_32, _FULL_32)
        agree = all(n in (w, limit) for n, w, limit in zip(narrow, wide, limits, strict=True))
        if not agree or note_size or start + size != end:
            self._refuse(end, "the zip's directory is not where it says", BrokenCheckpoint)
        if count > _MOST_ENTRIES:
            self._refuse(end, f"a zip of {count} entries; no model has more than {_MOST_ENTRIES}")
        return start, count, end

    def _wide(self, extra: memoryview, values: list[int], at: int) -> list[int]:
        """Return size, packed size and place, with those beyond 32 bits from the extra field."""
        place = 0
        while place + _EXTRA.size <= len(extra):
            kind, length = _EXTRA.unpack_from(extra, place)
            place += _EXTRA.size + length
            if kind == _ZIP_64:
                field = extra[place - length : place]
                wide = [number for (number,) in struct.iter_unpack("<Q", field)]
                missing = [i for i, value in enumerate(values) if value == _FULL_32]
                if len(missing) > len(wide):
                    self._refuse(at, "the zip's directory is garbled", BrokenCheckpoint)
                for i, number in zip(missing, wide, strict=False):
                    values[i] = number
        return values

    def _place(self, name: bytes, start: int, size: int, crc: int) -> _Entry:
        """Find the content behind the entry's own header, which must have the same name."""
        header = self._source.data[start : start + _LOCAL.size]
        signature, name_size, extra_size = _LOCAL.unpack(header)
        if signature != ZIP_START:
            self._refuse(start, f"entry {_quoted(name)} does not begin here", BrokenCheckpoint)
        name_at = start + _LOCAL.size
        if self._source.data[name_at : name_at + name_size] != name:
            self._refuse(start, f"entry {_quoted(name)} has two names")
        return _Entry(start, name_at + name_size + extra_size, size, crc)

    def _add(self, raw: bytes, entry: _Entry) -> str:
        """Add an entry under its name; return its folder."""
        root, _, name = raw.decode("utf-8", "replace").partition("/")
        if name in self._entries:
            self._refuse(entry.start, f"two entries {name[:60]!r}")
        if ".." in name.split("/") or "\\" in name:
            self._refuse(entry.start, f"entry {name[:60]!r} has a path out of its folder")
        self._entries[name] = entry
        return root

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def size(self, name: str) -> int:
        """Return the length of an entry in bytes."""
        return self._find(name).size

    def read(self, name: str) -> memoryview:
        """Return the bytes of an entry, its checksum compared the first time.

        Raises:
            BrokenCheckpoint: If there is no such entry or its checksum differs.
        """
        entry = self._find(name)
        content = self._source.data[entry.first : entry.end]
        if name not in self._whole and zlib.crc32(content) != entry.crc:
            self._refuse(entry.first, f"entry {name[:60]!r} is damaged (checksum)",
                         BrokenCheckpoint)  # fmt: skip
        self._whole.add(name)
        return content

    def _find(self, name: str) -> _Entry:
        if name not in self._entries:
            self._refuse(0, f"the zip has no entry {name[:60]!r}", BrokenCheckpoint)
        return self._entries[name]

    def _refuse(self, at: int, reason: str, kind: type[UserError] = UnsafeCheckpoint) -> NoReturn:
        self._source.refuse(at, reason, kind)


def _quoted(name: bytes) -> str:
    return repr(name[:60].decode("utf-8", "replace"))
