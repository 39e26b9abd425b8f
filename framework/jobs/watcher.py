"""Who looks on while a job is carried out: a terminal, a page, nobody."""

from typing import Any


class Cancelled(KeyboardInterrupt):
    """Raised by a watcher that is shown a step: ends a job as Ctrl-C does, what is done is kept."""


class Watcher:
    """Looks on and says nothing; fronts override what they show.

    A job calls these from the thread it runs in. Texts name fields between backticks, which a front
    calls by its own names (`framework.errors.spoken`).
    """

    def say(self, text: str) -> None:
        """Something that everybody is told."""

    def note(self, text: str) -> None:
        """Something odd, or not as one would expect; the job goes on."""

    def progress(self, text: str) -> None:
        """What is being done now, in place of what was said of it before."""

    def drag_step(self, step: Any, last_step: int) -> None:
        """A `DragStep`, and the number of the last one at the most.

        Raises:
            Cancelled: To end the job here.
        """

    def inversion_step(self, step: Any, last_step: int) -> None:
        """An `InversionStep`, and the number of its stage's last one at the most.

        Raises:
            Cancelled: To end the job here.
        """

    def done(self, name: str, outcome: Any) -> None:
        """A part of the job is done: the inversion before a drag, one drag or photograph of many.

        Args:
            name: Of the part, where there are many; else "".
            outcome: A `DragOutcome`, an `InvertOutcome`.
        """

    def failed(self, name: str, reason: str) -> None:
        """One of many could not be done; the others go on."""


SILENT = Watcher()


class Prefixed(Watcher):
    """Passes notes on with a name before them, and nothing else."""

    def __init__(self, watcher: Watcher, name: str) -> None:
        self._watcher, self._name = watcher, name

    def note(self, text: str) -> None:
        """See `Watcher`."""
        self._watcher.note(f"{self._name}: {text}")
