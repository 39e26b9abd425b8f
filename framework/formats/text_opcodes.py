"""The lines of a pickle of protocol 0 or 1: numbers and texts, written as text.

Python 2 wrote both bytes and texts as strings; they are text here, a letter for each byte.
"""

import codecs

_LONGEST_NUMBER, _LONGEST_STRING = 64, 1 << 24


def whole_number(line: bytes) -> int | bool:
    """Parse INT and LONG: digits, a long one's `L`, or 00 and 01 for False and True.

    Raises:
        ValueError: If the line is invalid; the other functions raise it, too.
    """
    if line in (b"00", b"01"):
        return line == b"01"
    return int(_short(line).removesuffix(b"L"))


def floating(line: bytes) -> float:
    """Parse FLOAT: a number as Python prints it."""
    return float(_short(line))


def quoted(line: bytes) -> str:
    """Parse STRING: a string of Python 2 as its source has it, in quotes and with escapes."""
    if len(line) > _LONGEST_STRING:
        raise ValueError("a string that would be in memory four times")
    if len(line) < 2 or line[:1] not in b"'\"" or line[:1] != line[-1:]:
        raise ValueError("no quotes")
    return str(codecs.escape_decode(line[1:-1])[0], "latin-1")  # type: ignore[attr-defined]


def escaped(line: bytes) -> str:
    """Parse UNICODE: Latin-1 with escapes for all other letters, for line ends and for zeros."""
    return codecs.raw_unicode_escape_decode(line)[0]


def is_wide(line: bytes) -> bool:
    """Whether a long line may have a letter that makes each letter take two or four bytes."""
    return b"\\U" in line or line.count(b"\\u") != line.count(b"\\u00")


def _short(line: bytes) -> bytes:
    if len(line) > _LONGEST_NUMBER:
        raise ValueError("a number of many digits")
    return line
