"""What waits for the device's thread: commands of a page, and calls that somebody waits for."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from framework.studio import messages
from framework.studio.messages import BadMessage, Command

MAX_WAITING = 256
# Of several in a row only the last counts.
_OF_ONE_KIND = (messages.Go, messages.Hold, messages.Slide)


class Question:
    """A call whose result somebody waits for, in `future`."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.future: Future = Future()
        self._function = function

    def answer(self) -> None:
        """Call the function; its result or its error is the future's."""
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(self._function())
        except Exception as error:
            self.future.set_exception(error)


class Inbox:
    """Filled by connections, emptied by the device's thread."""

    def __init__(self) -> None:
        self._items: deque[Command | Question] = deque()
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._items)

    def put(self, item: Command | Question) -> None:
        """Append a command or a question.

        Raises:
            BadMessage: If too many are waiting.
        """
        with self._lock:
            if len(self._items) >= MAX_WAITING:
                raise BadMessage("too many commands at once")
            self._items.append(item)

    def take(self) -> Command | Question | None:
        """Take the next item; of several places in a row only the last is gone to."""
        with self._lock:
            while self._items:
                item = self._items.popleft()
                follower = self._items[0] if self._items else None
                if not (isinstance(item, _OF_ONE_KIND) and type(item) is type(follower)):
                    return item
        return None

    def replace(self, command: Command) -> None:
        """Drop everything that waits, so that only this command does."""
        with self._lock:
            for item in self._items:
                if isinstance(item, Question):
                    item.future.cancel()
            self._items.clear()
            self._items.append(command)
