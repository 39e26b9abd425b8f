"""Errors: every mistake a user can make is a `UserError` of one line."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_FLAG = re.compile(r"(--[\w.-]+):? ")
_GLOBAL = re.compile(r"Unsupported global: GLOBAL ([\w.]+)")
_UNSAFE = re.compile(
    r"weights.only|safe_globals|allow_pickle|torch\.load|you trust|can still be loaded|\(1\)|\(2\)",
    re.IGNORECASE,
)
_LONGEST_WORD = 300  # characters; of a longer one the middle is left out


class UserError(ValueError):
    """A mistake of the caller's: what, where, what to do, in one line.

    Command lines print the message and exit with code 2, without a traceback. Line breaks become
    spaces, and characters that would move the cursor or change the writing direction are escaped:
    messages quote files from strangers.

    An error knows which input is wrong, and each front end has its name for it: the message is
    `max_steps 0: …` in Python and `--steps 0: …` on a command line (see `named`).

    Args:
        problem: What is wrong, and what to do; with a `field` it begins with the value, as in
            "0: give 1 or more". Settings that would help are written as in Python: `on_bad=skip`,
            and other fields in backticks.
        field: Name of the wrong input: a function's argument, a setting. If `problem` begins with
            a flag, "--psi inf: …", that flag is the field.
    """

    def __init__(self, problem: object = "", field: str = "") -> None:
        text = str(problem)
        if not field and (flag := _FLAG.match(text)):
            field, text = flag[1], text[len(flag[1]) :].lstrip(" ")
        super().__init__(text)
        self.problem, self.field = text, field

    def __str__(self) -> str:
        space = " " if self.field and not self.problem.startswith(":") else ""
        line = " ".join(f"{self.field}{space}{self.problem}".splitlines())
        line = re.sub(rf"\S{{{_LONGEST_WORD},}}", lambda word: _shortened(word[0]), line)
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)

    def blame(self, field: str, value: str = "") -> None:
        """Name `field`, with its `value`, as the wrong input, unless one is named already."""
        if not self.field:
            has_value = value and self.problem.startswith(value)
            self.problem = self.problem if has_value else f"{value}: {self.problem}"
            self.field = field

    def rename(self, names: Mapping[str, str]) -> None:
        """Write `names[field]` in place of every field; see `spoken`."""
        self.field = names.get(self.field, self.field)
        self.problem = spoken(self.problem, names)


def spoken(text: str, names: Mapping[str, str]) -> str:
    """Rewrite fields as a front end's flags: "`box`" as "--box", "on_bad=skip" as "--on-bad skip".

    A field whose value is True becomes the bare flag of a switch.
    """
    if not names:
        return text
    any_name = "|".join(map(re.escape, names))

    def as_flag(setting: re.Match[str]) -> str:
        flag = names[setting[1]]
        return flag if setting[2] == "True" else f"{flag} {setting[2]}"

    text = re.sub(rf"(?<![^\s(])({any_name})=([\w.,\[\]-]*\w\]?)", as_flag, text)
    return re.sub(rf"`({any_name})`", lambda name: names[name[1]], text)


class BrokenCheckpoint(UserError):
    """A model or run file that is damaged, incomplete or does not fit its own description."""


class UnsafeCheckpoint(UserError):
    """A model file that wants code to be run, or that only an unsafe reader could open."""


class InvalidEdit(UserError):
    """A drag that cannot be done: points, mask or latents do not fit the model."""


@contextmanager
def blame(field: str, value: str = "") -> Iterator[None]:
    """Name the input in errors that are raised while its value is used; see `UserError.blame`."""
    try:
        yield
    except UserError as error:
        error.blame(field, value)
        raise


@contextmanager
def named(names: Mapping[str, str]) -> Iterator[None]:
    """Name a front end's flags, in place of arguments, in errors that are raised within.

    Args:
        names: Flags by the arguments behind them, such as {"on_bad": "--on-bad"}.
    """
    try:
        yield
    except UserError as error:
        error.rename(names)
        raise


def _shortened(word: str) -> str:
    return f"{word[: _LONGEST_WORD // 2]}…{word[-_LONGEST_WORD // 4 :]}"


def reason_of(error: BaseException) -> str:
    """A library's reason for refusing a file, in one sentence and without its advice.

    Readers of pickles advise to read unsafely, which no message of ours repeats.
    """
    text = " ".join(str(error).split())
    if name := _GLOBAL.search(text):
        return f"it asks for {name[1][:80]}, which no weights need"
    sentences = re.split(r"(?<=[.!?]) ", text.rpartition("WeightsUnpickler error: ")[2])
    reasons = [sentence for sentence in sentences if sentence and not _UNSAFE.search(sentence)]
    if not reasons:
        return "it holds more than numbers" if text else type(error).__name__
    return reasons[0].rstrip(".")[:200]
