"""The device's one thread: sessions take turns on it, a step of a drag each."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from framework.errors import UserError
from framework.studio.inbox import MAX_WAITING, Question
from framework.studio.sessions import Sessions


class Worker:
    """Gives every session that has work a turn, again and again.

    Args:
        sessions: The sessions.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._questions: deque[Question] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="studio worker", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Look for work: a session got a command, or may send a frame."""
        self._wake.set()

    def ask(self, function: Callable[[], Any]) -> Future:
        """Let the thread call a function that is about no session.

        Raises:
            UserError: If too many are waiting.
        """
        if len(self._questions) >= MAX_WAITING:
            raise UserError("too many questions at once")
        question = Question(function)
        self._questions.append(question)
        self._wake.set()
        return question.future

    def close(self, timeout_sec: float = 3.0) -> None:
        """End after the step that is being made."""
        self._closing = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_sec)

    def _run(self) -> None:
        while not self._closing:
            self._wake.clear()
            busy = [session for session in self._sessions.all() if session.has_work]
            for session in busy:
                if not self._closing:
                    session.turn()
            if self._questions:
                self._questions.popleft().answer()
            elif not busy:
                self._wake.wait()
