"""One page's session: commands go in, what the page shows comes out.

The worker's thread alone calls `turn`; `put`, `ask`, `join` and `leave` are for the connection's.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from framework.drag.session import DragSession
from framework.drag.step import DragStep
from framework.errors import UserError
from framework.files import new_folder
from framework.jobs.log import StepLog
from framework.jobs.models import render
from framework.jobs.photograph import read_photo
from framework.jobs.requests.framing import Framing
from framework.jobs.text import missed_note
from framework.studio import messages
from framework.studio.control import Control, values_of
from framework.studio.describing import Describing
from framework.studio.dragging import Activity, Dragging, Inverting, Preview
from framework.studio.edit import Edit
from framework.studio.faults import in_a_line
from framework.studio.filling import Filling
from framework.studio.frames import Frame
from framework.studio.inbox import Inbox, Question
from framework.studio.masks import pack, unpack
from framework.studio.messages import Command, Note, State
from framework.studio.models import Models
from framework.studio.outbox import Outbox
from framework.studio.storage import Storage
from framework.studio.trail import Kept, Trail

_REPLACING = (Inverting, Filling)  # what ends with another edit


class Session:
    """One page's session.

    Args:
        models: The models, shared by all sessions.
        storage: Where photographs are kept that pages send.
    """

    def __init__(self, models: Models, storage: Storage) -> None:
        self.id = secrets.token_urlsafe(24)
        self.outbox = Outbox()
        self.connected = False
        self.used_sec = time.monotonic()
        self._models, self._storage = models, storage
        self._inbox = Inbox()
        self._trail = Trail(storage)
        self._edit: Edit | None = None
        self._control = Control()  # of the edit's model
        self._edits = 0  # so far
        self._activity: Activity | None = None
        self._preview: Preview | None = None
        self._slides = False  # whether a held slider's picture is shown
        self._steered = 0
        self._folder: Path | None = None  # of the edit's photograph or file
        self._coming: Path | None = None  # what is stored for the edit that is being made
        self._logs, self._logged = False, 0  # drags to W&B; how many so far
        self._known_mask: Any = None  # what the page shows
        self._due: tuple[Callable[[], np.ndarray], int] | None = None  # a picture not shown yet

    # --------------------------------------------------------------------- from the connection

    def put(self, command: Command) -> None:
        """Take a command; the worker has to be woken.

        Raises:
            BadMessage: If too many are waiting.
        """
        self.used_sec = time.monotonic()
        if isinstance(command, messages.Ack):
            self.outbox.acknowledge(command.frame)
        else:
            self._inbox.put(command)

    def ask(self, function: Callable[[], Any]) -> Future:
        """Let the worker's thread call a function between two steps."""
        self.used_sec = time.monotonic()
        question = Question(function)
        self._inbox.put(question)
        return question.future

    def join(self) -> None:
        """A page shows this session from now on."""
        self.connected, self.used_sec = True, time.monotonic()
        self.ask(self._show_everything)

    def leave(self) -> None:
        """The page is gone: what it had asked for is dropped, a drag stops after its step."""
        self.outbox.disconnect()
        self._inbox.replace(messages.Stop())
        self.connected, self.used_sec = False, time.monotonic()

    @property
    def has_work(self) -> bool:
        """Whether a turn would do something."""
        shows = self._due is not None and self.connected and self.outbox.wants_frame
        return bool(self._inbox) or self._activity is not None or self._is_held or shows

    # -------------------------------------------------------------------------- worker's thread

    def turn(self) -> None:
        """Do what the page has asked for, then at most one step of what is under way."""
        changed = False
        while (item := self._inbox.take()) is not None:
            self._guarded(item)
            changed = True
        if self._activity is not None:
            self._guarded(self._step)
            changed = True
        elif self._is_held:
            self._guarded(self._step_preview)
            changed = True
        if changed:
            self.outbox.show(self.state())
        if self._due is not None and self.outbox.wants_frame:
            self._guarded(self._show_due)

    @property
    def edit(self) -> Edit:
        """The edit.

        Raises:
            UserError: If no model has been opened.
        """
        if self._edit is None:
            raise UserError("open a model first")
        return self._edit

    def state(self, busy: str = "") -> State:
        """Return what the page shows."""
        activity = self._activity
        busy = busy or (activity.text if activity else "")
        if self._edit is None:
            return State(busy=busy)
        dragging = activity if isinstance(activity, Dragging) else None
        state = self._edit.state(dragging is not None)
        held = self._preview.point if self._preview is not None else None
        values = values_of(self._edit.drag.notes)
        return replace(
            state,
            can_undo=state.can_undo or self._trail.leads_back,
            can_redo=state.can_redo or self._trail.leads_on,
            edit=self._edits,
            busy=busy,
            held=held,
            directions={name: values.get(name, 0.0) for name in self._control.names},
            steered=self._steered,
            texts=self._control.texts is not None,
            last_step=dragging.last_step if dragging else 0,
            step_ms=round(dragging.step_ms, 1) if dragging else 0.0,
            logs=self._logs,
        )

    def invert(self, file: Path, framing: Framing, stages: str) -> None:
        """Put a photograph, a file of the storage, into the model.

        Raises:
            UserError: If it cannot be used.
        """
        edit = self.edit
        self._stop()
        self._say("reading the photograph")
        photo = read_photo(file, edit.networks.generator, framing)
        self._activity = Inverting(
            edit.networks, edit.source, photo, stages, self._offer,
            lambda edit: self._begin(edit, file.parent),
        )  # fmt: skip
        self._coming = file.parent

    def go_on(self, file: Path) -> None:
        """Go on with an edit, a file of the storage.

        Raises:
            UserError: If it cannot be used.
        """
        self._stop()
        self._say("opening the edit")
        self._begin(Edit.of_file(file, self._models), file.parent)

    def forget(self) -> None:
        """Remove what was stored for it."""
        self._storage.remove(self._folder)
        self._discard()
        self._trail.forget()

    def _guarded(self, item: Any) -> None:
        """Do one thing; what goes wrong is told in a line, and the session lives on."""
        try:
            if isinstance(item, Question):
                item.answer()
            elif callable(item):
                item()
            else:
                self._do(item)
        except UserError as error:
            self._drop()
            self.outbox.tell(Note(str(error), field=error.field))
        except Exception as error:
            self._drop()
            self.outbox.tell(Note(in_a_line(error)))

    def _do(self, command: Command) -> None:
        """Do what a page says."""
        match command:
            case messages.Hold(handle, target, index):
                self._hold(handle, target, index)
                return
            case messages.Slide(values):
                self._slide(values)
                return
            case messages.Release():
                self._release()
                return
            case messages.Stop():
                self._stop()
                return
        if isinstance(self._activity, _REPLACING) and not isinstance(command, messages.Open):
            return  # the picture that this is about is on its way out
        match command:
            case messages.Open():
                self._stop()
                self._say(f"opening {command.model}")
                self._begin(Edit.of_seed(self._models.open(command.model), command), None)
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
                with self._paused():
                    self.edit.choose(command)
            case messages.Log(wandb):
                self._logs = wandb
            case messages.Fill(method):
                self._fill(method)
            case messages.Steer(values, stamp):
                self._steered = stamp
                self._steer(values)
            case messages.Describe(text):
                self._describe(text)
            case messages.Run():
                self._start()
            case messages.Undo():
                self._undo()
            case messages.Redo():
                self._redo()
            case messages.Go(place):
                self._stop()  # which may make a step of its own
                self._go(place - self.edit.drag.can_undo)
            case messages.Reset():
                self._stop()
                self._trail.forget_later()
                self.edit.drag.reset()
                self._moved()

    def _begin(self, edit: Edit, folder: Path | None) -> None:
        """Show another edit from now on."""
        self._coming = None
        self.forget()
        self._turn_to(Kept(edit, folder))

    @property
    def _kept(self) -> Kept:
        return Kept(self.edit, self._folder)

    def _turn_to(self, kept: Kept) -> None:
        edit = kept.edit
        control = self._models.control(edit.source.model)
        if control is not self._control:
            for complaint in control.complaints:
                self.outbox.tell(Note(complaint))
        self._edit, self._folder, self._control = edit, kept.folder, control
        self._edits += 1
        self._known_mask = None
        self.outbox.clear_rows()
        self._moved()

    def _fill(self, method: str | None) -> None:
        """Begin to fill what is painted."""
        self._stop()
        self._say("filling")
        self._activity = Filling(self.edit, method, self._new_folder, self._offer, self._follow)

    def _new_folder(self) -> Path:
        self._coming = self._storage.new_folder()
        return self._coming

    def _follow(self, edit: Edit, folder: Path) -> None:
        """Go on with an edit that was made of this one; undo leads back."""
        self._coming = None
        self.edit.drag.forget_undone()
        self._trail.follow(self._kept)
        self._turn_to(Kept(edit, folder))

    def _slide(self, values: dict[str, float]) -> None:
        """A slider is held: show the picture that it would give."""
        if self._activity is not None:
            return
        drag = self.edit.drag
        ws = self._control.steered(drag.ws, drag.notes, values).ws
        self._preview, self._slides = None, True
        self._offer(lambda: render(drag.generator, ws), self._step_number)

    def _steer(self, values: dict[str, float]) -> None:
        """Go on from the picture that directions at these values give."""
        drag = self.edit.drag
        steered = self._control.steered(drag.ws, drag.notes, values)
        self._slides = False  # the picture that is shown is the next one
        with self._paused():
            if not torch.equal(steered.ws, drag.ws):
                drag.set_picture(steered.ws, steered.notes)
            self._moved()

    def _describe(self, text: str) -> None:
        """Begin to change the picture until it is what a text says."""
        control, drag = self._control, self.edit.drag
        if control.texts is None:
            raise UserError("this model has no text encoder", "text")
        reader = control.texts.read(text)
        self._stop()
        before = drag.ws

        def done(ws: Tensor, missed: float) -> None:
            self._trail.forget_later()
            drag.set_picture(ws, (*drag.notes, control.text_change(before, ws, text)))
            if note := reader.says_nothing() or missed_note([missed]):
                self.outbox.tell(Note(note, is_error=False))
            self._moved()

        self._activity = Describing(self.edit, reader, self._offer, done)

    def _undo(self) -> None:
        """Undo the last change of the edit; before its first one, what the edit was made by."""
        self._stop()
        steps = self.edit.drag.last_change
        if steps or not self._trail.leads_back:
            self._go(-steps)
        else:
            self._turn_to(self._trail.back(self._kept))

    def _redo(self) -> None:
        """Make the next change again, which may be the one that led to another edit."""
        self._stop()
        steps = self.edit.drag.next_change
        if steps or not self._trail.leads_on:
            self._go(steps)
        else:
            self._turn_to(self._trail.on(self._kept))

    def _set_mask(self, bits: str | None) -> None:
        with self._paused() as drag:
            mask = None if bits is None else unpack(bits, drag.generator.img_size)
            drag.set_mask(None if mask is None or not mask.any() else mask)
            self._known_mask = drag.mask

    def _go(self, steps: int) -> None:
        """Go on in the history, or back."""
        self._stop()
        drag = self.edit.drag
        drag.redo(steps) if steps > 0 else drag.undo(-steps)
        self._moved()

    # ------------------------------------------------------------------------- what is under way

    def _start(self) -> None:
        """Begin or continue the drag."""
        self._release()
        if self._activity is None:
            self._trail.forget_later()
            if self.edit.drag.last_step is None:
                self.outbox.clear_rows()
            log = self._new_log() if self._logs else None
            self._activity = Dragging(self.edit, self._offer, self._add_row, log)

    def _new_log(self) -> StepLog:
        """A log of a drag, in a folder of its own where the studio was started."""
        self._logged += 1
        name = f"studio-{time.strftime('%Y%m%d-%H%M%S')}-{self.id[:6]}-{self._logged}"
        folder = new_folder(Path("out") / name)
        self.outbox.tell(Note(f"this drag is logged in {folder}", is_error=False))
        config = {"model": self.edit.source.model, "settings": self.edit.drag.settings.to_dict()}
        return StepLog(folder, "drag", config, "auto")

    def _step(self) -> None:
        activity = self._activity
        if activity is not None and not activity.step():
            self._activity = None
            self._finish(activity)

    def _stop(self) -> None:
        """End what is under way; what is done stays."""
        self._release()
        activity, self._activity = self._activity, None
        if activity is not None:
            activity.stop()
            self._finish(activity)
        self._discard()

    def _finish(self, activity: Activity) -> None:
        """Show the whole picture, if the last one was unfinished."""
        if activity.is_coarse:
            self._due = self.edit.picture, self._step_number

    def _drop(self) -> None:
        """End what is under way after a mistake, whatever state it is in."""
        activity, self._activity = self._activity, None
        self._release()
        if isinstance(activity, Dragging):
            activity.stop()
        elif activity is not None:
            self._finish(activity)
        self._discard()

    def _discard(self) -> None:
        """Remove what is stored for an edit that did not come."""
        self._storage.remove(self._coming)
        self._coming = None

    @contextmanager
    def _paused(self) -> Iterator[DragSession]:
        """Change the edit between two steps; a drag that was under way goes on."""
        drag, running = self.edit.drag, isinstance(self._activity, Dragging)
        self._stop()
        self._trail.forget_later()
        yield drag
        if running and drag.points:
            self._start()

    @property
    def _is_held(self) -> bool:
        return self._preview is not None and not self._preview.at_rest

    def _hold(self, handle: messages.Point, target: messages.Point, index: int | None) -> None:
        """A point is held and pulled to where the pointer is."""
        if self._activity is not None:
            return
        if self._preview is None or self._preview.index != index:
            if index is not None and not 0 <= index < len(self.edit.drag.points):
                raise UserError(f"{index}: no such point", "points")
            self._preview = Preview(self.edit, handle, index)
        self._preview.towards(target)

    def _release(self) -> None:
        """Forget the preview; the picture is the edit's again."""
        if self._preview is not None or self._slides:
            self._preview, self._slides = None, False
            self._offer(self.edit.picture, self._step_number)

    def _step_preview(self) -> None:
        if self._preview is not None:
            self._preview.step(self._offer)

    # ------------------------------------------------------------------------ what is shown

    @property
    def _step_number(self) -> int:
        step = self.edit.drag.last_step
        return step.step if step else 0

    def _offer(self, make: Callable[[], np.ndarray], step: int) -> None:
        """Show a picture now, or as soon as the page has time for one."""
        self._due = make, step
        if self.outbox.wants_frame:
            self._show_due()

    def _show_due(self) -> None:
        due, self._due = self._due, None
        if due is not None:
            make, step = due
            self.outbox.show_frame(Frame(make(), step))

    def _moved(self) -> None:
        """The edit stands elsewhere in its history."""
        edit = self.edit
        self._due = edit.picture, self._step_number
        if edit.drag.mask is not self._known_mask:
            self._known_mask = edit.drag.mask
            self.outbox.show_mask(messages.Mask(pack(edit.drag.mask)))

    def _show_everything(self) -> None:
        """Show a page that has just come all that there is."""
        self._known_mask = None
        if self._edit is not None:
            self._moved()

    def _say(self, busy: str) -> None:
        """Say what is being done while it lasts."""
        self.outbox.show(self.state(busy))

    def _add_row(self, step: DragStep) -> None:
        self.outbox.add_row([
            step.step, step.motion_loss, step.max_distance_px, step.mean_drift,
            step.min_confidence,
        ])  # fmt: skip
