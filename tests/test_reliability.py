"""docs/reliability.md keeps its word: every row is there, every test that it names exists."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
TEXT = (TESTS.parent / "docs/reliability.md").read_text("utf-8")
ROWS = [f"A{n}" for n in range(1, 21)] + [f"B{n}" for n in range(1, 22)]
ROWS += [f"D{n}" for n in range(1, 10)]


def test_every_row_is_there_once_with_a_test():
    rows = re.findall(r"^\| ([ABD]\d+) \| [^|]+ \| ([^|]+) \|$", TEXT, re.M)
    assert [row for row, _ in rows] == ROWS
    assert all("`test_" in tests for _, tests in rows)


def test_every_test_that_is_named_exists():
    written = "".join(path.read_text("utf-8") for path in TESTS.rglob("test_*.py"))
    existing = set(re.findall(r"^def (test_\w+)\(", written, re.M))
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert named and named <= existing


def test_slow_and_gpu_tests_are_marked_as_such():
    """And no others: what is named without a mark runs every time."""
    written = "\n".join(path.read_text("utf-8") for path in TESTS.rglob("test_*.py"))
    for name, mark in re.findall(r"`(test_\w+)`(?: \((slow|gpu)\))?", TEXT):
        (above,) = re.findall(rf"((?:^@.*\n|^[ )\]].*\n)*)^def {name}\(", written, re.M)
        marks = re.findall(r"^@pytest\.mark\.(slow|gpu)", above, re.M)
        assert marks == ([mark] if mark else []), name
