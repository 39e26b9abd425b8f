"""All sessions: found by their unguessable names, few, and gone when nobody comes back."""

import threading
import time
from collections.abc import Callable

from framework.studio.models import Models
from framework.studio.session import Session
from framework.studio.storage import Storage

KEEP_SEC = 30 * 60  # a session whose page is gone
LEAST_SEC = 60  # before it may make room for another


class Full(Exception):
    """As many pages as may work here are working."""


class Sessions:
    """The sessions of a server.

    Args:
        models: The models that they share.
        storage: Where files of theirs are kept.
        most: Most sessions at the same time.
        now_sec: A clock.
    """

    def __init__(
        self,
        models: Models,
        storage: Storage,
        most: int,
        now_sec: Callable[[], float] = time.monotonic,
    ) -> None:
        self.models, self.storage, self._most, self._now_sec = models, storage, most, now_sec
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    def join(self, name: str | None) -> Session:
        """Return the session of a page: the one that it left, if nobody else has it, or a new one.

        Raises:
            Full: If there are too many.
        """
        with self._lock:
            self._expire(KEEP_SEC)
            session = self._sessions.get(name or "")
            if session is None or session.connected:
                if len(self._sessions) >= self._most:
                    self._expire(LEAST_SEC)
                if len(self._sessions) >= self._most:
                    raise Full
                session = Session(self.models, self.storage)
                self._sessions[session.id] = session
            session.join()
            return session

    def get(self, name: str) -> Session | None:
        """Return the session of that name."""
        with self._lock:
            return self._sessions.get(name)

    def all(self) -> list[Session]:
        """Return all sessions, as they came."""
        with self._lock:
            return [*self._sessions.values()]

    def _expire(self, idle_sec: float) -> None:
        """Forget sessions without a page that have been idle for so long."""
        now_sec = self._now_sec()
        for name, session in [*self._sessions.items()]:
            if not session.connected and now_sec - session.used_sec > idle_sec:
                del self._sessions[name]
                session.forget()
