"""What waits to be sent to one page: little of it, and of everything that ages only the newest."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable

from framework.studio.frames import Frame
from framework.studio.messages import Event, Mask, Note, Rows, State
from framework.studio.wire import to_text

MAX_IN_FLIGHT = 2  # frames sent and not yet shown
MAX_NOTES = 20
MAX_ROWS = 500
ROW_NAMES = ["step", "motion_loss", "distance_px", "drift", "confidence"]


class Outbox:
    """Filled by the worker's thread, emptied by the page's connection; never waits for either."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._notes: deque[Event] = deque(maxlen=MAX_NOTES)
        self._state: State | None = None
        self._mask: Mask | None = None
        self._rows: deque[list[float | None]] = deque(maxlen=MAX_ROWS)
        self._fresh = False
        self._frame: Frame | None = None
        self._sent = self._shown = 0
        self._wake: Callable[[], object] | None = None

    def connect(self, loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
        """Let `event` be set whenever there is something to send."""
        with self._lock:
            self._wake = lambda: loop.call_soon_threadsafe(event.set)
            self._sent = self._shown = 0
            self._notes.clear()

    def disconnect(self) -> None:
        """Nobody reads any more."""
        with self._lock:
            self._wake = None

    def tell(self, note: Note) -> None:
        """Show a note; if nobody reads, the oldest are lost."""
        with self._lock:
            self._notes.append(note)
        self._notify()

    def show(self, state: State) -> None:
        """Replace the state."""
        with self._lock:
            self._state = state
        self._notify()

    def show_mask(self, mask: Mask) -> None:
        """Replace the mask."""
        with self._lock:
            self._mask = mask
        self._notify()

    def show_frame(self, frame: Frame) -> None:
        """Replace the frame that waits."""
        with self._lock:
            self._frame = frame
        self._notify()

    def add_row(self, row: list[float | None], fresh: bool = False) -> None:
        """Add a row to the plots; `fresh` begins them anew."""
        with self._lock:
            if fresh:
                self._rows.clear()
                self._fresh = True
            self._rows.append(row)

    def clear_rows(self) -> None:
        """Begin the plots anew."""
        with self._lock:
            self._rows.clear()
            self._fresh = True

    def acknowledge(self, number: int) -> None:
        """The page has shown the frame of that number."""
        with self._lock:
            self._shown = max(self._shown, min(number, self._sent))
        self._notify()

    @property
    def wants_frame(self) -> bool:
        """Whether a frame made now would be sent at once."""
        with self._lock:
            return self._frame is None and self._sent - self._shown < MAX_IN_FLIGHT

    def take(self) -> list[str | bytes]:
        """Take everything that may be sent now, as messages."""
        with self._lock:
            events: list[Event] = [*self._notes]
            self._notes.clear()
            if self._rows or self._fresh:
                events.append(Rows(ROW_NAMES, [*self._rows], self._fresh))
                self._rows.clear()
            if self._state is not None:
                events.append(self._state)
            if self._mask is not None:  # after the state, with which the mask's size comes
                events.append(self._mask)
            self._mask, self._state, self._fresh = None, None, False
            frame, number = None, 0
            if self._frame is not None and self._sent - self._shown < MAX_IN_FLIGHT:
                frame, self._frame = self._frame, None
                self._sent += 1
                number = self._sent
        messages: list[str | bytes] = [to_text(event) for event in events]
        return messages if frame is None else [*messages, frame.to_bytes(number)]

    def _notify(self) -> None:
        wake = self._wake
        if wake is not None:
            try:
                wake()
            except RuntimeError:  # the loop has ended
                self.disconnect()
