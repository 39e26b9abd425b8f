"""An edit as it is worked on: points come and go, steps are made, undone and redone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from framework.drag.adapters import draggable_of
from framework.drag.algorithm import drag_points
from framework.drag.edit_file import EditFile, InversionLink
from framework.drag.edit_format import as_float
from framework.drag.inputs import check_mask
from framework.drag.points import MAX_POINTS, Point, check_point, check_points
from framework.drag.settings import DragSettings
from framework.drag.step import DragStep, Picture
from framework.errors import InvalidEdit
from framework.models.editors.latent_transformer import LatentTransformer
from framework.models.stylegan2 import Discriminator, Generator
from framework.settings import whole

HISTORY_STEPS = 400  # more than one drag of the paper's 300 steps


@dataclass(frozen=True, eq=False)
class _State:
    """Everything about an edit at one moment; never changed, only replaced.

    `start_ws` and `handles` are the picture and the points that tracking and mask compare with,
    from when the set of points was last changed. `step` is the last step of the last run. `change`
    counts what the user did: all steps of one run have the same. `notes` say what else than drags
    made the picture.
    """

    ws: Tensor
    start_ws: Tensor
    handles: tuple[Point, ...] = ()
    points: tuple[Point, ...] = ()
    targets: tuple[Point, ...] = ()
    mask: Tensor | None = None
    step: DragStep | None = None
    change: int = 0
    notes: tuple[Any, ...] = ()


class DragSession:
    """One user's edit of one picture. The generator is shared and only read.

    Adding, removing or replacing points makes the current picture the one that tracking compares
    with; moving a target or changing the mask does not. Every step and every change can be undone
    and redone, to the bit. A session does one thing at a time: while `run` is under way in any
    thread, everything except `cancel` and reading is refused.

    Args:
        generator: A frozen generator.
        ws: Latents of the picture, shape (1, num_ws, w_dim) or (num_ws, w_dim).
        settings: Settings of the runs; the attribute may be replaced between runs.
        discriminator: The generator's frozen discriminator, see `drag_points`.
        editor: The generator's frozen latent transformer, see `drag_points`.
        origin: The generator that this one was tuned from, see `drag_points`.
        history: Number of steps and changes that can be undone.

    Raises:
        InvalidEdit: If the latents do not fit the model.
    """

    def __init__(
        self,
        generator: Generator,
        ws: Tensor,
        settings: DragSettings | None = None,
        *,
        discriminator: Discriminator | None = None,
        editor: LatentTransformer | None = None,
        origin: Generator | None = None,
        history: int = HISTORY_STEPS,
    ) -> None:
        self.generator, self._model = generator, draggable_of(generator)
        ws = self._model.own(ws)
        self.discriminator, self.editor, self.origin = discriminator, editor, origin
        self.settings = settings or DragSettings()
        self.inversion: InversionLink | None = None  # the inverted image that the edit began with
        self._initial = _State(ws=ws, start_ws=ws)
        self._states = [self._initial]
        self._cursor = 0
        self._earlier_ws: Tensor | None = None  # of drags before those in the history
        self._history = whole(history, "history", least=1)
        self._busy = threading.Lock()
        self._cancelled = threading.Event()

    @classmethod
    def from_edit_file(
        cls,
        generator: Generator,
        edit: EditFile,
        *,
        discriminator: Discriminator | None = None,
        editor: LatentTransformer | None = None,
        origin: Generator | None = None,
        history: int = HISTORY_STEPS,
    ) -> "DragSession":
        """A session that continues where the file's edit ended; its steps can be undone.

        The next run equals one that was never interrupted; a run after an undo starts Adam anew.
        """
        session = cls(
            generator, edit.start_ws, edit.settings,
            discriminator=discriminator, editor=editor, origin=origin, history=history,
        )  # fmt: skip
        session.inversion, session._earlier_ws = edit.inversion, edit.earlier_ws
        device = session.ws.device
        # One object for all states: its identity tells which of them belong to the current drag.
        start_ws, handles = edit.start_ws.to(device), _pairs(edit.handles)
        mask = None if edit.mask is None else edit.mask.to(device)
        states = []
        for step in edit.steps(generator):
            points, targets = _pairs(step.points), _pairs(step.targets)
            states.append(_State(step.ws, start_ws, handles, points, targets, mask, step))
        session._states = states[-session._history - 1 :]
        session._cursor = len(session._states) - 1
        return session

    @property
    def ws(self) -> Tensor:
        """Latents now, shape (1, num_ws, w_dim); do not write to them."""
        return self._state.ws

    @property
    def initial_ws(self) -> Tensor:
        """Latents at the session's start, likewise."""
        return self._initial.ws

    @property
    def points(self) -> tuple[Point, ...]:
        """Where the handles are now, (x, y) in pixels."""
        return self._state.points

    @property
    def targets(self) -> tuple[Point, ...]:
        """Where the handles should go, (x, y) in pixels."""
        return self._state.targets

    @property
    def mask(self) -> Tensor | None:
        """What may change, shape (H, W), or None for everything."""
        return self._state.mask

    @property
    def notes(self) -> tuple[Any, ...]:
        """What `set_picture` was told, as far as it led to this picture."""
        return self._state.notes

    @property
    def last_step(self) -> DragStep | None:
        """The step at which the edit stands, or None if its points have not been dragged yet."""
        return self._state.step

    def image(self) -> Tensor:
        """The picture now, shape (1, C, H, W), in [-1, 1] but for overshoot."""
        return Picture(self._model).make(self.ws)

    def set_points(self, handles: Any, targets: Any) -> None:
        """Replace all points (see `drag_points`); an empty list is fine here."""
        size = self._model.img_size
        checked = check_points(handles, targets, size, at_least=0)
        with self._exclusive():
            self._anchor(*map(tuple, checked))

    def add_point(self, handle: Any, target: Any) -> int:
        """Add a point and its target, and return its index."""
        handle = check_point("handle", handle, self._model.img_size)
        target = check_point("target", target, self._model.img_size)
        with self._exclusive():
            if len(self.points) >= MAX_POINTS:
                raise InvalidEdit(f"there can be at most {MAX_POINTS} points")
            self._anchor((*self.points, handle), (*self.targets, target))
            return len(self.points) - 1

    def remove_point(self, index: int) -> None:
        """Remove a point by its index; later ones move up."""
        with self._exclusive():
            index = self._checked_index(index)
            keep = [i for i in range(len(self.points)) if i != index]
            self._anchor(tuple(self.points[i] for i in keep), tuple(self.targets[i] for i in keep))

    def move_target(self, index: int, target: Any) -> None:
        """Give a point another target; it is still tracked by its initial features."""
        target = check_point("target", target, self._model.img_size)
        with self._exclusive():
            index = self._checked_index(index)
            targets = (*self.targets[:index], target, *self.targets[index + 1 :])
            step = self._state.step
            if step is not None:  # Adam remembers the way to the old target
                step = replace(step, optimizer=None)
            self._push(replace(self._state, targets=targets, step=step))

    def move_handle(self, index: int, handle: Any) -> None:
        """Take hold elsewhere, with the same target; all points are tracked from here anew."""
        handle = check_point("handle", handle, self._model.img_size)
        with self._exclusive():
            index = self._checked_index(index)
            self._anchor((*self.points[:index], handle, *self.points[index + 1 :]), self.targets)

    def set_mask(self, mask: Any) -> None:
        """Set what may change, shape (H, W), 0 to 1, or None for everything."""
        checked = check_mask(mask, self._model.img_size, list(self.points))
        with self._exclusive():
            if checked is not None:
                checked = checked.to(self.ws.device, copy=True)
            self._push(replace(self._state, mask=checked))

    def set_picture(self, ws: Tensor, notes: tuple[Any, ...]) -> None:
        """Go on from another picture; points and mask stay where they are, tracking begins anew.

        Args:
            ws: Its latents, shape (1, num_ws, w_dim) or (num_ws, w_dim).
            notes: What `notes` is from here on.

        Raises:
            InvalidEdit: If the latents do not fit the model, or the session is busy.
        """
        ws = self._model.own(ws)
        with self._exclusive():
            self._push(_State(ws, ws, self.points, self.points, self.targets, self.mask,
                              notes=notes))  # fmt: skip

    def run(self, max_steps: int | None = None) -> Iterator[DragStep]:
        """Continue the drag; to stop, ask for no more steps or call `cancel`.

        Args:
            max_steps: Most steps; None for the settings' number.

        Yields:
            The steps, beginning with the current one (see `drag_points`).

        Raises:
            InvalidEdit: If there are no points, or the session is busy.
        """
        settings = self.settings
        if max_steps is not None:
            settings = replace(settings, max_steps=max_steps)
        with self._exclusive():
            self._cancelled.clear()
            state, change = self._state, self._state.change + 1
            stream = drag_points(
                self.generator,
                state.start_ws,
                state.handles,
                state.targets,
                state.mask,
                settings,
                resume_from=state.step,
                discriminator=self.discriminator,
                editor=self.editor,
                origin=self.origin,
            )
            for count, step in enumerate(stream):
                if count == 0:
                    self._states[self._cursor] = replace(state, step=step)
                elif step.status != "diverged":
                    points = _pairs(step.points)
                    here = replace(state, ws=step.ws, points=points, step=step)
                    self._push(here, change)
                yield step
                if self._cancelled.is_set():
                    return

    def cancel(self) -> None:
        """Let a run end after its current step; may be called from any thread."""
        self._cancelled.set()

    @property
    def can_undo(self) -> int:
        """How many steps and changes can be undone."""
        return self._cursor

    @property
    def can_redo(self) -> int:
        """How many undone steps and changes can be redone."""
        return len(self._states) - 1 - self._cursor

    @property
    def last_change(self) -> int:
        """How many steps the last change made: all of a run's, else 1; 0 at the oldest there is."""
        return self._length_of(self._cursor, -1)

    @property
    def next_change(self) -> int:
        """How many steps the next undone change made; 0 if there is none."""
        return self._length_of(self._cursor + 1, 1)

    def undo(self, count: int = 1) -> None:
        """Go back by `count` (at least 0) steps and changes, at most to the oldest there is."""
        count = whole(count, "count")
        with self._exclusive():
            self._cursor = max(0, self._cursor - count)

    def redo(self, count: int = 1) -> None:
        """Go forward by `count` (at least 0) undone steps and changes."""
        count = whole(count, "count")
        with self._exclusive():
            self._cursor = min(len(self._states) - 1, self._cursor + count)

    def forget_undone(self) -> None:
        """Forget what was undone, as every change does."""
        with self._exclusive():
            self._states = self._states[: self._cursor + 1]

    def reset(self) -> None:
        """Return to the picture at the session's start, without points or mask; can be undone."""
        with self._exclusive():
            self._push(self._initial)

    def edit_file(self, model_name: str, model_digest: str | None = None) -> EditFile:
        """The edit as a file stores it: the steps since the points were set, up to this one.

        Args:
            model_name: What the user calls the model: a zoo name or a path.
            model_digest: The model's `state_digest`; None to compute it.

        Raises:
            InvalidEdit: If nothing has been dragged since the points were set.
        """
        history = self._states[: self._cursor + 1]
        here = self._state
        # By number: a target moved or a mask set at a step is a state of its own.
        steps = {
            s.step.step: s.step
            for s in history
            if s.step is not None and s.start_ws is here.start_ws
        }
        if here.step is None or not steps:
            raise InvalidEdit("nothing to save: these points have not been dragged yet")
        of_others = [s for s in history if s.start_ws is not here.start_ws]
        earlier = [] if self._earlier_ws is None else [self._earlier_ws]
        earlier += [as_float(s.ws) for s in of_others if s.step is not None]
        return EditFile.from_steps(
            [*steps.values()],
            self.generator,
            model_name=model_name,
            model_digest=model_digest,
            settings=self.settings,
            mask=here.mask,
            start_ws=here.start_ws,
            handles=here.handles,
            earlier_ws=torch.cat(earlier) if earlier else None,
            inversion=self.inversion,
        )

    @property
    def _state(self) -> _State:
        return self._states[self._cursor]

    def _anchor(self, points: tuple[Point, ...], targets: tuple[Point, ...]) -> None:
        """Set new points on the current picture."""
        ws = self.ws.clone()  # an object of its own: its identity marks this drag
        self._push(_State(ws, ws, points, points, targets, self.mask, notes=self.notes))

    def _push(self, state: _State, change: int | None = None) -> None:
        state = replace(state, change=self._state.change + 1 if change is None else change)
        self._states = [*self._states[: self._cursor + 1], state][-self._history - 1 :]
        self._cursor = len(self._states) - 1

    def _length_of(self, place: int, way: int) -> int:
        """Number of neighbouring states, from a place on, that one change made."""
        if not 0 < place < len(self._states):
            return 0
        change, count = self._states[place].change, 0
        while 0 < place < len(self._states) and self._states[place].change == change:
            place, count = place + way, count + 1
        return count

    def _checked_index(self, index: int) -> int:
        index = whole(index, "point")
        if index >= len(self.points):
            raise InvalidEdit(f"{index}: there are {len(self.points)}, counted from 0", "point")
        return index

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        if not self._busy.acquire(blocking=False):
            raise InvalidEdit("this edit is being dragged: cancel that drag first")
        try:
            yield
        finally:
            self._busy.release()


def _pairs(points: Tensor) -> tuple[Point, ...]:
    return tuple((x, y) for x, y in points.tolist())
