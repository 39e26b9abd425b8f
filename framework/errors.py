"""What went wrong, said once: every mistake a user can make is a `UserError` of one line."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_FLAG = re.compile(r"(--[\w.-]+):? ")
_GLOBAL = re.compile(r"Unsupported global: GLOBAL ([\w.]+)")
_UNSAFE = re.compile(
    r"weights.only|safe_globals|allow_pickle|torch\.load|you trust|can still be loaded|\(1\)|\(2\)",
    re.IGNORECASE,
)
_LONGEST_WORD = 300  # characters; the middle of a longer one tells nobody anything


class UserError(ValueError):
    """A mistake of the caller's: what, where, what to do, in one line.

    Command lines print the message and exit with code 2; a traceback would help nobody. Line
    breaks become spaces, and what would move a cursor or turn the writing around is shown as an
    escape: messages quote files that strangers made.

    An error knows which input is wrong, and a front says what that is called there: the message is
    `max_steps 0: …` in Python and `--steps 0: …` on a command line (see `named`).

    Args:
        problem: What is wrong, and what to do; with a `field` it begins with the value, as in
            "0: give 1 or more". Settings that would help are written as in Python: `on_bad=skip`,
            and other fields between backticks.
        field: Name of the wrong input: a function's argument, a setting. A `problem` that begins
            with a flag, "--psi inf: …", is about that.
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
        """Take `field`, given as `value`, for what is wrong, unless another one is known to be."""
        if not self.field:
            known = value and self.problem.startswith(value)
            self.problem = self.problem if known else f"{value}: {self.problem}"
            self.field = field

    def rename(self, names: Mapping[str, str]) -> None:
        """Speak of `names[field]` in the place of every field; see `spoken`."""
        self.field = names.get(self.field, self.field)
        self.problem = spoken(self.problem, names)


def spoken(text: str, names: Mapping[str, str]) -> str:
    """A text about fields in a front's words: "`box`" as "--box", "on_bad=skip" as "--on-bad skip".

    A field whose value is True becomes the bare flag, as switches are given.
    """
    if not names:
        return text
    any_name = "|".join(map(re.escape, names))

    def as_flag(given: re.Match[str]) -> str:
        flag = names[given[1]]
        return flag if given[2] == "True" else f"{flag} {given[2]}"

    text = re.sub(rf"(?<![^\s(])({any_name})=([\w.,\[\]-]*\w\]?)", as_flag, text)
    return re.sub(rf"`({any_name})`", lambda name: names[name[1]], text)


class BrokenCheckpoint(UserError):
    """A model or run file that is damaged, incomplete or does not fit its own description."""


class UnsafeCheckpoint(UserError):
    """A model file that asks for code to be run, or that only an unsafe reader could open."""


class InvalidEdit(UserError):
    """A drag that cannot be done as asked: points, mask or latents that do not fit the model."""


@contextmanager
def blame(field: str, value: str = "") -> Iterator[None]:
    """Name the input in the complaints of those who look at its value; see `UserError.blame`."""
    try:
        yield
    except UserError as error:
        error.blame(field, value)
        raise


@contextmanager
def named(names: Mapping[str, str]) -> Iterator[None]:
    """Speak a front's language: complaints name its flags in the place of arguments.

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
    """What a library found wrong with a file, in one sentence and without its advice.

    What readers of pickles advise is to read unsafely, which nobody should be told.
    """
    text = " ".join(str(error).split())
    if asked := _GLOBAL.search(text):
        return f"it asks for {asked[1][:80]}, which no weights need"
    sentences = re.split(r"(?<=[.!?]) ", text.rpartition("WeightsUnpickler error: ")[2])
    kept = [sentence for sentence in sentences if sentence and not _UNSAFE.search(sentence)]
    if not kept:
        return "it holds more than numbers" if text else type(error).__name__
    return kept[0].rstrip(".")[:200]
