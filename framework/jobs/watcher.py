"""Watchers of a job: a terminal, a page, or none."""

from typing import Any


class Cancelled(KeyboardInterrupt):
    """Raised by a watcher at a step to end the job as Ctrl-C does: what is done stays."""


class Watcher:
    """A watcher that shows nothing; fronts override what they show.

    A job calls these from the thread it runs in. Texts name fields between backticks, which a front
    calls by its own names (`framework.errors.spoken`).
    """

    def say(self, text: str) -> None:
        """Show a result."""

    def note(self, text: str) -> None:
        """Show something unusual; the job goes on."""

    def progress(self, text: str) -> None:
        """Show what is being done now, in place of the last such text."""

    def drag_step(self, step: Any, last_step: int) -> None:
        """Show a `DragStep`, and the largest possible number of the last one.

        Raises:
            Cancelled: To end the job here.
        """

    def inversion_step(self, step: Any, last_step: int) -> None:
        """Show an `InversionStep`, and the largest possible number of its stage's last one.

        Raises:
            Cancelled: To end the job here.
        """

    def done(self, name: str, outcome: Any) -> None:
        """Show the end of a part: the inversion before a drag, one drag or photograph of many.

        Args:
            name: Name of the part if there are many; else "".
            outcome: A `DragOutcome` or an `InvertOutcome`.
        """

    def failed(self, name: str, reason: str) -> None:
        """Show that one of many failed; the others go on."""


SILENT = Watcher()


class Prefixed(Watcher):
    """Passes notes on with a name before them, and nothing else."""

    def __init__(self, watcher: Watcher, name: str) -> None:
        self._watcher, self._name = watcher, name

    def note(self, text: str) -> None:
        """See `Watcher`."""
        self._watcher.note(f"{self._name}: {text}")
