"""The edits that led to one another: each was made of the one before it, by filling."""

from dataclasses import dataclass
from pathlib import Path

from framework.studio.edit import Edit
from framework.studio.storage import Storage

MOST_EARLIER = 4  # each may have weights of its own


@dataclass(frozen=True)
class Kept:
    """An edit, and the folder of what is stored for it."""

    edit: Edit
    folder: Path | None


class Trail:
    """The edits before and after the one that is shown; files of those that are left go.

    Args:
        storage: Where their files are.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._earlier: list[Kept] = []
        self._later: list[Kept] = []  # those that were undone

    @property
    def leads_back(self) -> bool:
        """Whether an edit was before this one."""
        return bool(self._earlier)

    @property
    def leads_on(self) -> bool:
        """Whether an edit after this one was undone."""
        return bool(self._later)

    def follow(self, shown: Kept) -> None:
        """A new edit is made of the shown one; the first of too many is forgotten."""
        self.forget_later()
        self._earlier.append(shown)
        self._remove(self._earlier[:-MOST_EARLIER])
        del self._earlier[:-MOST_EARLIER]

    def back(self, shown: Kept) -> Kept:
        """Leave the shown edit for the one before it."""
        self._later.append(shown)
        return self._earlier.pop()

    def on(self, shown: Kept) -> Kept:
        """Leave the shown edit for the one after it."""
        self._earlier.append(shown)
        return self._later.pop()

    def forget_later(self) -> None:
        """Another change is made: what was undone cannot come back."""
        self._remove(self._later)
        self._later.clear()

    def forget(self) -> None:
        """Nothing leads anywhere any more."""
        self.forget_later()
        self._remove(self._earlier)
        self._earlier.clear()

    def _remove(self, edits: list[Kept]) -> None:
        for kept in edits:
            self._storage.remove(kept.folder)
