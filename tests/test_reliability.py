"""docs/reliability.md keeps its word: every row is there, every test that it names exists."""

import ast
import functools
import re
from pathlib import Path

TESTS = Path(__file__).parent
TEXT = (TESTS.parent / "docs/reliability.md").read_text("utf-8")
ROWS = dict(re.findall(r"^\| ([A-H]\d+f?) \| [^|]+ \| ([^|]+) \|$", TEXT, re.M))
SPAN = re.compile(r"\b[A-H]\d+f?\b(?:-[A-H]\d+\b)?")  # an f: found in the field
EXPECTED = {"A": 20, "B": 21, "D": 10, "E": 27, "F": 28, "H": 20}


@functools.cache
def written() -> dict[str, list[str]]:
    """Every test with its decorators and the comments over it, by name."""
    found: dict[str, list[str]] = {}
    for path in TESTS.rglob("test_*.py"):
        text = path.read_text("utf-8")
        lines = text.splitlines()
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef):
                first = min(part.lineno for part in (node, *node.decorator_list)) - 1
                while lines[first - 1].startswith("#"):
                    first -= 1
                found.setdefault(node.name, []).append("\n".join(lines[first : node.end_lineno]))
    return found


def around(name: str) -> str:
    """The test of that name that says of which rows it is; others may be called the same."""
    found = [text for text in written()[name] if SPAN.search(text)]
    assert len(found) == 1, f"{name}: {len(found)} tests say of which rows they are"
    return found[0]


def test_every_row_is_there_once():
    wanted = [f"{kind}{n}" for kind, count in EXPECTED.items() for n in range(1, count + 1)]
    written_rows = re.findall(r"^\| ([A-H]\d+f?) \|", TEXT, re.M)
    assert written_rows == list(ROWS)
    assert [row for row in ROWS if not row.endswith("f")] == wanted


def test_tests_that_a_row_names_exist_and_say_so():
    named = {row: re.findall(r"`(test_\w+)`", text) for row, text in ROWS.items()}
    assert not [row for row, names in named.items() if not names]
    pairs = [(row, name) for row, names in named.items() for name in names]
    assert not [(row, name) for row, name in pairs if row not in rows_named_at(name)]


@functools.cache
def rows_named_at(name: str) -> set[str]:
    """The rows that the test of that name says it is of."""
    return {row for span in SPAN.findall(around(name)) for row in rows_of(span)}


def rows_of(span: str) -> list[str]:
    """A1-A3 in full."""
    if span.endswith("f"):
        return [span]
    first, _, last = span.partition("-")
    numbers = range(int(first[1:]), int((last or first)[1:]) + 1)
    return [f"{first[0]}{number}" for number in numbers]


def test_slow_and_gpu_tests_are_marked_as_such():
    """And no others: what is named without a mark runs every time."""
    for name, mark in re.findall(r"`(test_\w+)`(?: \((slow|gpu)\))?", TEXT):
        marks = re.findall(r"^@pytest\.mark\.(slow|gpu)", around(name), re.M)
        assert marks == ([mark] if mark else []), name
