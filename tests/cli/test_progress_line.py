import io
import json

from framework.cli.terminal import ProgressLine
from framework.files import json_line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_one_line_written_over_and_cleared(monkeypatch):
    monkeypatch.setattr("sys.stderr", screen := Terminal())
    line = ProgressLine()
    line.show("step 1", force=True)
    line.show("step 2", force=True)
    line.close()
    assert screen.getvalue() == "\r\x1b[Kstep 1\r\x1b[Kstep 2\r\x1b[K"


def test_a_line_never_wraps(monkeypatch):
    monkeypatch.setattr("sys.stderr", screen := Terminal())
    monkeypatch.setenv("COLUMNS", "20")
    ProgressLine().show("x" * 100, force=True)
    assert screen.getvalue().count("x") == 19


def test_fast_steps_are_shown_ten_times_a_second_at_most(monkeypatch):
    monkeypatch.setattr("sys.stderr", screen := Terminal())
    monkeypatch.setattr("time.monotonic", iter([100.0, 100.05, 100.2]).__next__)
    line = ProgressLine()
    for text in ("one", "two", "three"):
        line.show(text)
    assert "one" in screen.getvalue() and "three" in screen.getvalue()
    assert "two" not in screen.getvalue()


def test_a_file_sees_nothing(monkeypatch):
    monkeypatch.setattr("sys.stderr", log := io.StringIO())
    line = ProgressLine()
    line.show("step 1", force=True)
    line.close()
    assert log.getvalue() == ""


def test_what_is_not_finite_becomes_null():
    line = json_line({"a": float("nan"), "b": [1.5, float("inf")], "c": {"d": (True, "x")}})
    assert json.loads(line) == {"a": None, "b": [1.5, None], "c": {"d": [True, "x"]}}
