"""One page's edit: commands go in, what the page shows comes out.

The worker's thread alone calls `turn`; everything else here may be called from the connection's.
"""

import base64
import binascii
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from framework.drag.algorithm import WATCHED
from framework.drag.session import DragSession
from framework.drag.settings import DragSettings, preset_for
from framework.drag.step import DragStep
from framework.errors import UserError, spoken
from framework.jobs.models import Networks, portable_name, render, seed_latents
from framework.jobs.outcomes import end_in_words
from framework.media.images import to_uint8
from framework.studio import messages
from framework.studio.faults import in_a_line
from framework.studio.frames import Frame
from framework.studio.messages import BadMessage, Command, Note, State
from framework.studio.models import Models
from framework.studio.outbox import Outbox

MAX_WAITING = 256  # commands
_SPOKEN = {"mask_weight": "mask weight", "steps": "max steps", "lr": "learning rate"}


class Session:
    """One page's edit.

    Args:
        models: The models, shared by all sessions.
    """

    def __init__(self, models: Models) -> None:
        self.id = secrets.token_urlsafe(24)
        self.outbox = Outbox()
        self.connected = False
        self.used_sec = time.monotonic()
        self._models = models
        self._inbox: deque[Command | tuple[Callable[[], Any], Future]] = deque()
        self._lock = threading.Lock()
        self._networks: Networks | None = None
        self._drag: DragSession | None = None
        self._stream: Iterator[DragStep] | None = None
        self._settings, self._preset = DragSettings(), "auto"
        self._chosen: dict[str, Any] = {}
        self._opened = messages.Open("")
        self._known_mask: Any = None  # what the page shows
        self._frame_due = False
        self._last_step, self._step_ms = 0, 0.0

    # --------------------------------------------------------------------- from the connection

    def put(self, command: Command) -> None:
        """Take a command; the worker has to be woken.

        Raises:
            BadMessage: If too many are waiting.
        """
        self.used_sec = time.monotonic()
        if isinstance(command, messages.Ack):
            self.outbox.acknowledge(command.frame)
            return
        with self._lock:
            if len(self._inbox) >= MAX_WAITING:
                raise BadMessage("too many commands at once")
            self._inbox.append(command)

    def ask(self, function: Callable[[], Any]) -> Future:
        """Let the worker's thread call a function between two steps."""
        self.used_sec = time.monotonic()
        future: Future = Future()
        with self._lock:
            if len(self._inbox) >= MAX_WAITING:
                raise BadMessage("too many commands at once")
            self._inbox.append((function, future))
        return future

    def join(self) -> None:
        """A page shows this session from now on."""
        self.connected, self.used_sec = True, time.monotonic()
        self.ask(self._show_everything)

    def leave(self) -> None:
        """The page is gone: what it had asked for is dropped, a drag stops after its step."""
        self.outbox.disconnect()
        with self._lock:
            self._inbox.clear()
            self._inbox.append(messages.Stop())
        self.connected, self.used_sec = False, time.monotonic()

    @property
    def has_work(self) -> bool:
        """Whether a turn would do something."""
        frame = self._frame_due and self.connected and self.outbox.wants_frame
        return bool(self._inbox) or self._stream is not None or frame

    # -------------------------------------------------------------------------- worker's thread

    def turn(self) -> None:
        """Do what the page has asked for, then at most one step of the drag."""
        changed = False
        while (item := self._next()) is not None:
            self._guarded(item)
            changed = True
        if self._stream is not None:
            self._guarded(self._step)
            changed = True
        if changed:
            self._show_state()
        if self._frame_due and self.outbox.wants_frame:
            self._guarded(self._show_picture)

    def picture(self) -> np.ndarray:
        """Return the picture now, uint8 (H, W, C)."""
        drag = self._opened_drag()
        return render(drag.generator, drag.ws)

    def before(self) -> np.ndarray:
        """Return the picture before the edit, uint8 (H, W, C)."""
        drag = self._opened_drag()
        return render(drag.generator, drag.initial_ws)

    def edit(self) -> Any:
        """Return the `EditFile` of the drag."""
        drag, networks = self._opened_drag(), self._networks
        assert networks is not None
        return drag.edit_file(portable_name(networks.model), networks.digest)

    def _next(self) -> Any:
        """Take the next command; of several places in a row only the last is gone to."""
        with self._lock:
            while self._inbox:
                item = self._inbox.popleft()
                if not (
                    isinstance(item, messages.Go)
                    and self._inbox
                    and isinstance(self._inbox[0], messages.Go)
                ):
                    return item
        return None

    def _guarded(self, item: Any) -> None:
        """Do one thing; what goes wrong is told in a line, and the session lives on."""
        try:
            if isinstance(item, tuple):
                _answer(*item)
            elif callable(item):
                item()
            else:
                self._do(item)
        except UserError as error:
            self._stop()
            self.outbox.tell(Note(str(error), field=error.field))
        except Exception as error:
            self._stop()
            self.outbox.tell(Note(in_a_line(error)))

    def _do(self, command: Command) -> None:
        """Do what a page says."""
        match command:
            case messages.Open():
                self._open(command)
            case messages.AddPoint(handle, target):
                with self._paused() as drag:
                    drag.add_point(handle, target)
            case messages.MovePoint(index, "target", to):
                with self._paused() as drag:
                    drag.move_target(index, to)
            case messages.MovePoint(index, _, to):
                with self._paused() as drag:
                    drag.move_handle(index, to)
            case messages.RemovePoint(None):
                with self._paused() as drag:
                    drag.set_points([], [])
            case messages.RemovePoint(int(index)):
                with self._paused() as drag:
                    drag.remove_point(index)
            case messages.SetMask(bits):
                self._set_mask(bits)
            case messages.Choose():
                self._choose(command)
            case messages.Run():
                self._start(self._opened_drag())
            case messages.Stop():
                self._stop()
            case messages.Undo():
                self._go(-self._opened_drag().last_change)
            case messages.Redo():
                self._go(self._opened_drag().next_change)
            case messages.Go(place):
                self._go(place - self._opened_drag().can_undo)
            case messages.Reset():
                self._stop()
                self._opened_drag().reset()
                self._moved()

    def _open(self, command: messages.Open) -> None:
        """Open a model, and begin an edit of a seed's picture."""
        self._stop()
        self._show_state(f"opening {command.model}")
        networks = self._models.open(command.model)
        generator = networks.generator
        label = (command.class_index or 0) if generator.c_dim else None
        ws = seed_latents(generator, command.seed, command.psi, label)
        self._opened = replace(command, class_index=label)
        self._networks, self._drag = networks, DragSession(generator, ws)
        self._preset, self._chosen = "auto", {}
        self._resolve_settings()
        self._known_mask, self._frame_due, self._last_step = None, True, 0
        self.outbox.clear_rows()

    def _set_mask(self, bits: str | None) -> None:
        with self._paused() as drag:
            mask = None if bits is None else unpack(bits, drag.generator.img_size)
            drag.set_mask(None if mask is None or not mask.any() else mask)
            self._known_mask = drag.mask

    def _choose(self, command: messages.Choose) -> None:
        before = self._preset, self._chosen
        self._preset, self._chosen = command.preset, dict(command.settings)
        try:
            with self._paused():
                self._resolve_settings()
        except UserError:
            self._preset, self._chosen = before
            raise

    def _go(self, steps: int) -> None:
        """Go on in the history, or back."""
        self._stop()
        drag = self._opened_drag()
        drag.redo(steps) if steps > 0 else drag.undo(-steps)
        self._moved()

    # ------------------------------------------------------------------------------- the drag

    def _start(self, drag: DragSession) -> None:
        """Begin or continue the drag."""
        if self._stream is None and self._networks is not None:
            watched = drag.settings.method in WATCHED
            drag.discriminator = self._networks.discriminator if watched else None
            step = drag.last_step
            self._last_step = (step.step if step else 0) + drag.settings.max_steps
            if step is None:
                self.outbox.clear_rows()
            self._stream = drag.run()

    def _step(self) -> None:
        """Make one step."""
        assert self._stream is not None
        before_sec = time.monotonic()
        step = next(self._stream, None)
        if step is None:
            self._stop()
            return
        self.outbox.add_row([
            step.step, step.motion_loss, step.max_distance_px, step.mean_drift,
            step.min_confidence,
        ])  # fmt: skip
        if self.outbox.wants_frame:
            self.outbox.show_frame(Frame(to_uint8(step.image())[0], step.step))
            self._frame_due = False
        else:
            self._frame_due = True
        took_ms = 1000 * (time.monotonic() - before_sec)
        self._step_ms = took_ms if not self._step_ms else 0.8 * self._step_ms + 0.2 * took_ms
        if step.status != "moving":
            self._stop()

    def _stop(self) -> None:
        """End the drag; what is done stays."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()  # type: ignore[attr-defined]

    @contextmanager
    def _paused(self) -> Iterator[DragSession]:
        """Change the edit between two steps; a drag that was under way goes on."""
        drag, running = self._opened_drag(), self._stream is not None
        self._stop()
        yield drag
        if running and drag.points:
            self._start(drag)

    def _opened_drag(self) -> DragSession:
        if self._drag is None:
            raise UserError("open a model first")
        return self._drag

    def _resolve_settings(self) -> None:
        drag = self._opened_drag()
        name = preset_for(drag.generator.img_size) if self._preset == "auto" else self._preset
        preset = DragSettings.preset(name)
        unknown = [name for name in self._chosen if name not in preset.to_dict()]
        if unknown:
            raise UserError("no such setting", unknown[0])
        drag.settings = replace(preset, **self._chosen)

    # ------------------------------------------------------------------------ what is shown

    def _moved(self) -> None:
        """The edit stands elsewhere in its history."""
        drag = self._opened_drag()
        self._frame_due = True
        if drag.mask is not self._known_mask:
            self._known_mask = drag.mask
            self.outbox.show_mask(messages.Mask(pack(drag.mask)))

    def _show_everything(self) -> None:
        """Show a page that has just come all that there is."""
        if self._drag is not None:
            self._known_mask = None
            self._moved()

    def _show_picture(self) -> None:
        self._frame_due = False
        if self._drag is not None:
            step = self._drag.last_step
            self.outbox.show_frame(Frame(self.picture(), step.step if step else 0))

    def _show_state(self, busy: str = "") -> None:
        self.outbox.show(self._state(busy))

    def _state(self, busy: str = "") -> State:
        drag = self._drag
        if drag is None:
            return State(busy=busy)
        step, running = drag.last_step, self._stream is not None
        height, width = drag.generator.img_size
        status = step.status if step else ""
        return State(
            model=self._opened.model,
            size=(height, width),
            classes=drag.generator.c_dim,
            seed=self._opened.seed,
            psi=self._opened.psi,
            class_index=self._opened.class_index,
            points=[*drag.points],
            targets=[*drag.targets],
            has_mask=drag.mask is not None,
            running=running,
            busy=busy,
            status=status,
            text=_in_words(step, running),
            doubtful=step is not None and step.doubtful,
            step=step.step if step else 0,
            last_step=self._last_step,
            step_ms=round(self._step_ms, 1),
            place=drag.can_undo,
            places=drag.can_undo + drag.can_redo,
            can_undo=drag.last_change > 0,
            can_redo=drag.next_change > 0,
            can_save=step is not None,
            preset=self._preset,
            settings=drag.settings.to_dict(),
        )


def pack(mask: torch.Tensor | None) -> str | None:
    """Return a mask (H, W) as `messages.SetMask` has it."""
    if mask is None:
        return None
    return base64.b64encode(np.packbits(mask.cpu().numpy() >= 0.5).tobytes()).decode()


def unpack(bits: str, size: tuple[int, int]) -> np.ndarray:
    """Read a mask (H, W), float32, from `messages.SetMask`.

    Raises:
        BadMessage: If it is not as many bits as the picture has pixels.
    """
    try:
        data = base64.b64decode(bits, validate=True)
    except (binascii.Error, ValueError):
        raise BadMessage("SetMask.bits: not what is expected there") from None
    height, width = size
    if len(data) != (height * width + 7) // 8:
        raise BadMessage(f"SetMask.bits: not a mask of {width}x{height} pixels")
    flat = np.unpackbits(np.frombuffer(data, np.uint8))[: height * width]
    return flat.reshape(height, width).astype(np.float32)


def _answer(function: Callable[[], Any], future: Future) -> None:
    """Call a function for somebody who waits for the result."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function())
    except Exception as error:
        future.set_exception(error)


def _in_words(step: DragStep | None, running: bool) -> str:
    """Return how the drag stands, in words."""
    if step is None or (step.status == "moving" and not running):
        return ""
    if running:
        return f"{step.max_distance_px:.1f} px to go"
    return spoken(end_in_words(step.status), _SPOKEN)
