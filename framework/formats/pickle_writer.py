"""A writer of pickles of protocol 4: plain values, and calls by name.

It is the counterpart of `pickle_machine`. It knows no Python object but the markers below, and
writes straight to the file, so that a model is never in memory a second time.
"""

import struct
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

_PROTO_4, _STOP = b"\x80\x04", b"."
Buffer = bytes | memoryview


@dataclass(frozen=True)
class Name:
    """The object that the reader's `from module import name` gives."""

    module: str
    name: str


@dataclass(frozen=True, eq=False)
class Call:
    """The object that the reader makes by `function(*arguments)` and then setting `items`."""

    function: Name
    arguments: tuple = ()
    items: Mapping[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Pieces:
    """A bytes object of several buffers, written once however often it occurs."""

    parts: Sequence[Buffer]


@dataclass(frozen=True)
class PersistentId:
    """An object outside the pickle; the reader resolves `identity`."""

    identity: Any


def write_pickle(file: BinaryIO, value: Any) -> None:
    """Write one pickle of plain values and the markers of this module, nested as a tree.

    Raises:
        TypeError: If the value contains anything else.
    """
    file.write(_PROTO_4)
    _Writer(file).put(value)
    file.write(_STOP)


class _Writer:
    """A writer of opcodes; texts, names and `Pieces` that recur are fetched from the memo."""

    def __init__(self, file: BinaryIO) -> None:
        self._write = file.write
        self._memo: dict[Any, int] = {}

    def put(self, value: Any) -> None:
        """Write opcodes that leave `value` on the reader's stack."""
        match value:
            case None:
                self._write(b"N")
            case bool():
                self._write(b"\x88" if value else b"\x89")
            case int():
                self._write(_whole_number(value))
            case float():
                self._write(b"G" + struct.pack(">d", value))
            case str():
                self._remembered(value, self._text)
            case bytes():
                self._bytes((value,))
            case Pieces():
                self._remembered(value, lambda pieces: self._bytes(pieces.parts))
            case list() | set():
                self._collection(value)
            case tuple():
                self._tuple(value)
            case OrderedDict():
                self.put(Call(Name("collections", "OrderedDict"), (), dict(value)))
            case dict():
                self._write(b"}")
                self._items(value)
            case Name():
                self._remembered(value, self._name)
            case Call():
                self.put(value.function)
                self.put(value.arguments)
                self._write(b"R")
                self._items(value.items)
            case PersistentId():
                self.put(value.identity)
                self._write(b"Q")
            case _:
                raise TypeError(f"a {type(value).__name__} is not written into a pickle")

    def _remembered(self, value: Any, write: Any) -> None:
        index = self._memo.get(value)
        if index is None:
            write(value)
            self._memo[value] = len(self._memo)
            self._write(b"\x94")
        else:
            self._write(_sized(b"h", b"j", index))

    def _text(self, text: str) -> None:
        raw = text.encode("utf-8", "surrogatepass")
        self._write(_sized(b"\x8c", b"X", len(raw), b"\x8d") + raw)

    def _bytes(self, parts: Iterable[Buffer]) -> None:
        parts = list(parts)
        length = sum(len(part) for part in parts)
        self._write(_sized(b"C", b"B", length, b"\x8e"))
        for part in parts:
            self._write(part)

    def _collection(self, values: list | set) -> None:
        empty, fill = (b"]", b"e") if isinstance(values, list) else (b"\x8f", b"\x90")
        self._write(empty)
        if values:
            self._marked(values, fill)

    def _tuple(self, values: tuple) -> None:
        if len(values) > 3:
            return self._marked(values, b"t")
        for value in values:
            self.put(value)
        self._write((b")", b"\x85", b"\x86", b"\x87")[len(values)])

    def _items(self, items: Mapping[Any, Any]) -> None:
        if items:
            self._marked((part for pair in items.items() for part in pair), b"u")

    def _marked(self, values: Iterable[Any], close: bytes) -> None:
        self._write(b"(")
        for value in values:
            self.put(value)
        self._write(close)

    def _name(self, name: Name) -> None:
        self.put(name.module)
        self.put(name.name)
        self._write(b"\x93")


def _whole_number(value: int) -> bytes:
    if 0 <= value < 1 << 8:
        return b"K" + struct.pack("<B", value)
    if 0 <= value < 1 << 16:
        return b"M" + struct.pack("<H", value)
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + struct.pack("<B", len(raw)) + raw


def _sized(short: bytes, long: bytes, number: int, longest: bytes = b"") -> bytes:
    """Return the opcode that takes `number` in one byte, four or, where there is one, eight."""
    if number < 1 << 8:
        return short + struct.pack("<B", number)
    if number < 1 << 32:
        return long + struct.pack("<I", number)
    return longest + struct.pack("<Q", number)
