"""Settings files: small YAML files of plain values, checked before the values are built.

A few lines of YAML can describe more than fits in memory (aliases of aliases), and a name that
occurs twice is no error in it. Whatever the parser of `train.py` loads, from files and from the
command line, passes through `load`.
"""

import os
import stat
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader

from framework.errors import UserError

MAX_BYTES, MAX_DEPTH, MAX_VALUES, MAX_VALUE_LENGTH = 2**18, 24, 10_000, 2**13
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_parsed = get_loader("yaml")  # with the floats of YAML 1.2, which plain PyYAML does not know


def load(text: str) -> Any:
    """Load the values of a YAML text.

    Raises:
        UserError: If there are too many values, nested too deeply, or two of one name.
        yaml.YAMLError: If it is not YAML.
    """
    check_text(text)
    try:
        return _parsed(text)
    except ValueError as error:  # a number of more digits than Python reads
        raise UserError(f"{text[:40]}...: {error}") from None


def check_file(path: str, flag: str = "--config") -> None:
    """Refuse a file that cannot be settings, before the parser opens it.

    A path that does not exist is left to the parser: the text may be settings itself.

    Raises:
        UserError: Naming the flag and the file.
    """
    try:
        kind = os.stat(path).st_mode
    except (OSError, ValueError):
        return
    if not stat.S_ISREG(kind):
        raise UserError(f"{flag} {path}: is not a file; give a YAML file of settings")
    try:
        check_text(read_text(Path(path)))
    except yaml.YAMLError as error:
        raise UserError(f"{flag} {path}: not YAML ({_where(error)})") from None
    except UserError as error:
        raise UserError(f"{flag} {path}: {error}") from None


def read(path: str | Path) -> Any:
    """Read the values in a file of an algorithm's settings.

    Raises:
        UserError: If it cannot be read, is not YAML, or is too large to be settings.
    """
    try:
        text = read_text(Path(path))
        check_text(text)
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: cannot be read as YAML ({_where(error)})") from None
    except ValueError as error:  # ours, or a number of more digits than Python reads
        raise UserError(f"{path}: {error}") from None


def read_text(path: Path) -> str:
    """Read the text of a settings file, never more than `MAX_BYTES`.

    Raises:
        UserError: If it cannot be read, is too large or not UTF-8.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UserError("cannot be read as YAML (is not a file)")
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"cannot be read as YAML ({error.strerror})") from None
    if len(content) > MAX_BYTES:
        raise UserError(f"more than {MAX_BYTES:,} bytes, too many for settings")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 at byte {error.start}; save it as UTF-8"
        raise UserError(f"cannot be read as YAML ({problem})") from None


def check_text(text: str) -> None:
    """Refuse values that would take forever to build, and names that occur twice; see `load`."""
    if len(text) > MAX_BYTES:
        raise UserError(f"settings of {len(text):,} characters; at most {MAX_BYTES:,} are read")
    _check_shape(text)
    node = yaml.compose(text, Loader=_LOADER)
    if node is not None and _count(node, {}) > MAX_VALUES:
        raise UserError(f"settings of more than {MAX_VALUES:,} values once aliases are expanded")


def _check_shape(text: str) -> None:
    """Check depth and lengths by the stream of events, without recursion."""
    depth = values = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        values += 1
        if depth > MAX_DEPTH:
            raise UserError(f"settings more than {MAX_DEPTH} levels deep")
        if values > MAX_VALUES:
            raise UserError(f"settings of more than {MAX_VALUES:,} values")
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > MAX_VALUE_LENGTH:
            raise UserError(f"a value of more than {MAX_VALUE_LENGTH:,} characters")


def _count(node: yaml.Node, counts: dict[yaml.Node, int]) -> int:
    """Number of values in a node once aliases are expanded; an alias is the same node again."""
    if node not in counts:
        counts[node] = MAX_VALUES + 1  # for a node that contains itself: endless
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            _check_names(node)
            parts = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            parts = node.value
        counts[node] = 1 + sum(_count(part, counts) for part in parts)
    return counts[node]


def _check_names(table: yaml.MappingNode) -> None:
    lines: dict[str, int] = {}
    for key in (key for key, _ in table.value if isinstance(key, yaml.ScalarNode)):
        line = key.start_mark.line + 1
        if key.value in lines:
            raise UserError(f"{key.value} is given twice, in lines {lines[key.value]} and {line}")
        lines[key.value] = line


def _where(error: yaml.YAMLError) -> str:
    """A YAML error in one line, without an extract of the file."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return " ".join(f"{problem}{place}".split())[:200]
