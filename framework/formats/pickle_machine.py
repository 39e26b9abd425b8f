"""Pickles read as data: a stack machine of our own that builds plain values and calls nothing.

Python's unpickler runs what a file tells it to run, and an allow-list does not tame it: BUILD sets
attributes on whatever was allowed. Here a file's names are inert `Symbol`s, their meanings are
looked up in a table of our own constructors at the moment of REDUCE or NEWOBJ, and everything that
the formats of this field do not use is refused. The work is bounded by the size of the file.
"""

import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from framework.errors import BrokenCheckpoint, UnsafeCheckpoint, UserError
from framework.formats.file_kinds import asks_for
from framework.formats.text_opcodes import escaped, floating, is_wide, quoted, whole_number

Constructor = Callable[..., Any]
NEWEST_PROTOCOL = 5
LONGEST_NAME = 256
_LONGEST_INT_BYTES = 16
_DEEPEST_STACK = 20_000
# A 1024 px pickle of NVIDIA's takes 65,000 steps and has 350 MB.
_FREE_STEPS, _BYTES_A_STEP = 100_000, 1024
_FREE_TEXT_BYTES = 1 << 20
# A download's gaps are whole sectors of zeros, which no pickler writes between opcodes.
_HOLE_BYTES, _HOLE_LOOKED_AT = 512, 1 << 16
_WIDE_LETTER = 0xC4  # first UTF-8 byte of a letter that takes more than a byte in memory


@dataclass(frozen=True, slots=True)
class Symbol:
    """A dotted name that a pickle refers to. It stands for nothing by itself."""

    name: str


class Buildable:
    """A value of ours that expects a state, to which BUILD may be applied."""

    def build(self, state: Any) -> None:
        """Set the state; `Refused` if the value expects another."""
        raise NotImplementedError


class Refused(ValueError):
    """A constructor's reason not to take its arguments."""


class Budget:
    """The work that a file of some size may cause: steps of the machine and bytes of text.

    A step may take about 200 bytes of memory, hence there are far fewer steps than bytes. Text may
    be half as long again as the file: protocol 2 writes bytes as text, which is in memory twice
    for a moment.
    """

    def __init__(self, file_bytes: int) -> None:
        self.steps = _FREE_STEPS + file_bytes // _BYTES_A_STEP
        self.text_bytes = _FREE_TEXT_BYTES + file_bytes + file_bytes // 2

    def spend_steps(self, count: int) -> None:
        """Spend `count` steps; `Refused` if there are none left."""
        self.steps -= count
        if self.steps < 0:
            raise Refused("the pickle takes far more steps than a file of this size needs")

    def spend_text(self, text: str) -> None:
        """Spend memory for a text; `Refused` if there is none left."""
        self.text_bytes -= sys.getsizeof(text)
        if self.text_bytes < 0:
            raise Refused("the pickle unfolds to more text than a file of this size needs")


@dataclass(slots=True)
class Source:
    """Bytes to read a pickle from, with a label for messages."""

    data: memoryview
    label: str

    def refuse(self, at: int, reason: str, kind: type[UserError] = UnsafeCheckpoint) -> NoReturn:
        """Raise an error of one line: what is wrong, where in the file, what to do."""
        advice = "do not open it with other tools" if kind is UnsafeCheckpoint else "fetch it again"
        raise kind(f"{self.label}, byte {at}: {reason}; {advice}")


def read_pickle(
    source: Source,
    symbols: Mapping[str, Constructor],
    budget: Budget,
    start: int = 0,
    persistent: Callable[[Any], Any] | None = None,
) -> tuple[Any, int]:
    """Interpret one pickle, protocols 0 to 5.

    Args:
        source: Bytes of the file.
        symbols: Meanings of "module.name": functions of ours that take the arguments of a
            REDUCE or NEWOBJ and return an inert value. Other names are refused.
        budget: Budget shared by all pickles of a file.
        start: Offset of the first byte.
        persistent: Function that resolves persistent ids; they are refused if None.

    Returns:
        The value and the offset after its STOP. Bytes are memoryviews into `source`.

    Raises:
        UnsafeCheckpoint: If the pickle asks for anything but data.
        BrokenCheckpoint: If the pickle is cut off or garbled.
    """
    machine = _Machine(source, symbols, budget, start, persistent)
    kind: type[UserError] = BrokenCheckpoint
    try:
        return machine.run(), machine.at
    except (IndexError, struct.error):
        reason = "the pickle ends in the middle or is garbled"
    except UnicodeError:
        reason = "text that is not UTF-8"
    except Refused as error:
        kind, reason = UnsafeCheckpoint, str(error)
    reached = source.data[machine.op_at : max(machine.at, machine.op_at) + _HOLE_BYTES]
    reached = bytes(reached[:_HOLE_LOOKED_AT])
    if bytes(_HOLE_BYTES) in reached or (reached and not any(reached)):
        kind, reason = BrokenCheckpoint, "a hole of zeros: the download is not finished"
    source.refuse(machine.op_at, reason, kind)


class _Mark:
    """The mark on the stack where a collection begins."""


_MARK = _Mark()


class _Machine:
    """The interpreter: `run` is its loop, the methods are its opcodes."""

    def __init__(self, source, symbols, budget, start, persistent) -> None:
        self.source: Source = source
        self.data: memoryview = source.data
        self.symbols: Mapping[str, Constructor] = symbols
        self.budget: Budget = budget
        self.at = self.op_at = start
        self.persistent: Callable[[Any], Any] | None = persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Execute opcodes up to STOP and return what is left on the stack."""
        data, stack, budget, opcodes = self.data, self.stack, self.budget, _OPCODES
        while True:
            self.op_at = self.at
            code = data[self.at]
            self.at += 1
            budget.spend_steps(1)
            if code == _STOP:
                return self._pop()
            opcode = opcodes.get(code)
            if opcode is None:
                raise Refused(f"pickle opcode 0x{code:02x}, which no model file needs")
            opcode(self)
            if len(stack) > _DEEPEST_STACK:
                raise Refused("the pickle is nested too deeply")

    # Reading

    def _take(self, count: int) -> memoryview:
        end = self.at + count
        if end > len(self.data):
            raise IndexError
        chunk = self.data[self.at : end]
        self.at = end
        return chunk

    def _byte(self) -> int:
        value = self.data[self.at]
        self.at += 1
        return value

    def _number(self, count: int) -> int:
        return int.from_bytes(self._take(count), "little")

    def _text(self, count: int) -> str:
        raw = self._take(count)
        if count > _FREE_TEXT_BYTES and np.frombuffer(raw, np.uint8).max() >= _WIDE_LETTER:
            # One such letter makes all letters of the text four times as large.
            raise Refused(f"a text of {count} bytes that are not latin letters")
        text = str(raw, "utf-8", "surrogatepass")
        self.budget.spend_text(text)
        return text

    def _name(self) -> str:
        raw = bytes(self.data[self.at : self.at + LONGEST_NAME])
        length = raw.index(b"\n") if b"\n" in raw else None
        if length is None:
            raise Refused("a name of more than 256 characters")
        self.at += length + 1
        return raw[:length].decode("utf-8")

    def _line(self) -> bytes:
        """Read bytes up to the end of a line, in time proportional to its length."""
        looked_at = LONGEST_NAME
        while (raw := bytes(self.data[self.at : self.at + looked_at])).find(b"\n") < 0:
            if self.at + looked_at >= len(self.data):
                raise IndexError
            looked_at *= 4
        line = raw[: raw.index(b"\n")]
        self.at += len(line) + 1
        return line

    def _parsed(self, parse: Callable[[bytes], Any]) -> Any:
        try:
            return parse(self._line())
        except ValueError:
            raise IndexError from None

    def _text_line(self, parse: Callable[[bytes], str]) -> str:
        line = self._line()
        if len(line) > _FREE_TEXT_BYTES and is_wide(line):
            raise Refused(f"a text of {len(line)} bytes that are not latin letters")
        try:
            text = parse(line)
        except ValueError:
            raise IndexError from None
        self.budget.spend_text(text)
        return text

    def _bytes_as_text(self, count: int) -> str:
        """Read a string of Python 2, whose bytes may be a text or numbers."""
        text = str(self._take(count), "latin-1")
        self.budget.spend_text(text)
        return text

    # Stack

    def _pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise IndexError
        return value

    def _top(self) -> Any:
        if self.stack[-1] is _MARK:
            raise IndexError
        return self.stack[-1]

    def _pop_to_mark(self) -> list[Any]:
        stack, first = self.stack, len(self.stack)
        while stack[first - 1] is not _MARK:
            first -= 1
            if first == 0:
                raise IndexError
        values = stack[first:]
        del stack[first - 1 :]
        return values

    # Opcodes: numbers, text, bytes

    def proto(self) -> None:
        version = self._number(1)
        if not 2 <= version <= NEWEST_PROTOCOL:
            raise Refused(f"pickle protocol {version}; 2 to {NEWEST_PROTOCOL} are read")

    def frame(self) -> None:
        if self._number(8) > len(self.data) - self.at:
            raise IndexError

    def binint(self) -> None:
        self.stack.append(int.from_bytes(self._take(4), "little", signed=True))

    def long1(self) -> None:
        count = self._number(1)
        if count > _LONGEST_INT_BYTES:
            raise Refused(f"a whole number of {count} bytes")
        self.stack.append(int.from_bytes(self._take(count), "little", signed=True))

    def binfloat(self) -> None:
        self.stack.append(struct.unpack(">d", self._take(8))[0])

    # Opcodes: collections

    def append(self) -> None:
        value = self._pop()
        self._extend([value])

    def appends(self) -> None:
        self._extend(self._pop_to_mark())

    def _extend(self, values: list[Any]) -> None:
        target = self._top()
        if type(target) is not list:
            raise Refused(f"adds items to {_kind(target)}")
        target.extend(values)

    def additems(self) -> None:
        values, target = self._pop_to_mark(), self._top()
        if type(target) is not set:
            raise Refused(f"adds items to {_kind(target)}")
        target.update(key_of(value) for value in values)

    def setitem(self) -> None:
        value = self._pop()
        key = self._pop()
        self._set_items([key, value])

    def setitems(self) -> None:
        self._set_items(self._pop_to_mark())

    def _set_items(self, pairs: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, dict):
            raise Refused(f"sets items of {_kind(target)}")
        if len(pairs) % 2:
            raise IndexError
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            target[key_of(key)] = value

    def table(self) -> None:
        pairs = self._pop_to_mark()
        self.stack.append({})
        self._set_items(pairs)

    def fixed_tuple(self, count: int) -> None:
        values = [self._pop() for _ in range(count)]
        self.stack.append(tuple(reversed(values)))

    # Opcodes: memo

    def put(self, index: int) -> None:
        if index < 0 or index > len(self.memo) + 1:  # picklers count from 0 or, long ago, from 1
            raise Refused(f"puts aside value {index} before there are as many")
        self.memo[index] = self._top()

    def memoize(self) -> None:
        self.memo[len(self.memo)] = self._top()

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise IndexError
        self.stack.append(self.memo[index])

    # Opcodes: names and calls

    def global_(self) -> None:
        module, name = self._name(), self._name()
        self._push_symbol(module, name)

    def stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        if type(name) is not str or type(module) is not str:
            raise Refused("a name that is not text")
        self._push_symbol(module, name)

    def _push_symbol(self, module: str, name: str) -> None:
        dotted = f"{module}.{name}"
        if dotted not in self.symbols:
            what = f" ({whose})" if (whose := asks_for(dotted)) else ""
            raise Refused(f"refers to {dotted[:LONGEST_NAME]!r}{what}, which is code and not data")
        self.stack.append(Symbol(dotted))

    def reduce(self) -> None:
        arguments, symbol = self._pop(), self._pop()
        if type(symbol) is not Symbol or type(arguments) is not tuple:
            raise Refused(f"calls {_kind(symbol)} with {_kind(arguments)}")
        self._charge((arguments, *arguments))
        try:
            value = self.symbols[symbol.name](*arguments)
        except UserError:
            raise
        except (TypeError, ValueError, OverflowError, AttributeError) as error:
            reason = f": {error}" if isinstance(error, Refused) else ""
            raise Refused(f"wrong arguments for {symbol.name}{reason}") from None
        self.stack.append(value)

    def build(self) -> None:
        state, target = self._pop(), self._top()
        if not isinstance(target, Buildable):
            raise Refused(f"sets attributes of {_kind(target)}")
        self._charge((state, *state) if isinstance(state, tuple) else (state,))
        target.build(state)

    def _charge(self, values: Iterable[Any]) -> None:
        """Charge steps for what a constructor may copy or scan, at no cost to the file."""
        for value in values:
            if isinstance(value, str):
                self.budget.spend_text(value)
            elif isinstance(value, dict | list | tuple | set):
                self.budget.spend_steps(len(value))

    def binpersid(self) -> None:
        if self.persistent is None:
            raise Refused("refers to something outside of the pickle")
        self.stack.append(self.persistent(self._pop()))


def key_of(value: Any) -> str:
    """Return a dictionary's key or a set's member as text, whose hash a file cannot predict."""
    if type(value) is str and len(value) <= LONGEST_NAME:
        return value
    if type(value) is int:
        return str(value)
    raise Refused(f"uses {_kind(value)} as a key")


def _kind(value: Any) -> str:
    """Describe a value for a message."""
    if type(value) is str and len(value) > LONGEST_NAME:
        return f"a text of {len(value)} letters"
    return f"the name {value.name}" if type(value) is Symbol else f"a {type(value).__name__}"


def _push(make: Callable[["_Machine"], Any]) -> Callable[["_Machine"], None]:
    return lambda machine: machine.stack.append(make(machine))


_PROTO, _STOP = 0x80, ord(".")
_OPCODES: dict[int, Callable[[_Machine], None]] = {
    _PROTO: _Machine.proto,
    0x95: _Machine.frame,
    ord("N"): _push(lambda m: None),
    0x88: _push(lambda m: True),
    0x89: _push(lambda m: False),
    ord("J"): _Machine.binint,
    ord("K"): _push(_Machine._byte),
    ord("M"): _push(lambda m: m._number(2)),
    0x8A: _Machine.long1,
    ord("G"): _Machine.binfloat,
    0x8C: _push(lambda m: m._text(m._byte())),
    ord("X"): _push(lambda m: m._text(m._number(4))),
    0x8D: _push(lambda m: m._text(m._number(8))),
    ord("C"): _push(lambda m: m._take(m._byte())),
    ord("B"): _push(lambda m: m._take(m._number(4))),
    0x8E: _push(lambda m: m._take(m._number(8))),
    0x96: _push(lambda m: m._take(m._number(8))),
    ord("("): _push(lambda m: _MARK),
    ord(")"): _push(lambda m: ()),
    ord("]"): _push(lambda m: []),
    ord("}"): _push(lambda m: {}),
    0x8F: _push(lambda m: set()),
    ord("t"): _push(lambda m: tuple(m._pop_to_mark())),
    0x85: lambda m: m.fixed_tuple(1),
    0x86: lambda m: m.fixed_tuple(2),
    0x87: lambda m: m.fixed_tuple(3),
    ord("a"): _Machine.append,
    ord("e"): _Machine.appends,
    0x90: _Machine.additems,
    ord("s"): _Machine.setitem,
    ord("u"): _Machine.setitems,
    ord("q"): lambda m: m.put(m._byte()),
    ord("r"): lambda m: m.put(m._number(4)),
    0x94: _Machine.memoize,
    ord("h"): lambda m: m.get(m._byte()),
    ord("j"): lambda m: m.get(m._number(4)),
    ord("c"): _Machine.global_,
    0x93: _Machine.stack_global,
    ord("R"): _Machine.reduce,
    0x81: _Machine.reduce,  # NEWOBJ: a class of ours and its arguments, treated alike
    ord("b"): _Machine.build,
    ord("Q"): _Machine.binpersid,
    # Protocols 0 and 1
    ord("I"): _push(lambda m: m._parsed(whole_number)),
    ord("L"): _push(lambda m: m._parsed(whole_number)),
    ord("F"): _push(lambda m: m._parsed(floating)),
    ord("S"): _push(lambda m: m._text_line(quoted)),
    ord("V"): _push(lambda m: m._text_line(escaped)),
    ord("T"): _push(lambda m: m._bytes_as_text(m._number(4))),
    ord("U"): _push(lambda m: m._bytes_as_text(m._byte())),
    ord("d"): _Machine.table,
    ord("l"): _push(lambda m: m._pop_to_mark()),
    ord("p"): lambda m: m.put(m._parsed(whole_number)),
    ord("g"): lambda m: m.get(m._parsed(whole_number)),
}
