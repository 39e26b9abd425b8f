"""What a session does step by step: a drag, an inversion, a preview while a handle is held."""

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from typing import Protocol

import numpy as np

from framework.drag.algorithm import PREDICTING, WATCHED, drag_points
from framework.drag.inputs import check_drag
from framework.drag.methods.latent_transformer import preview as predicted
from framework.drag.settings import DIFFUSION_PRESET, REDUCED_PX, DragSettings
from framework.drag.step import DragStep, Picture
from framework.drag.stylegan2 import StyleGAN2
from framework.inversion.step import InversionStep
from framework.jobs.invert import Places, carrying_out
from framework.jobs.log import StepLog
from framework.jobs.models import Networks
from framework.jobs.outcomes import InvertOutcome
from framework.jobs.photograph import Photo
from framework.jobs.requests.invert import InversionChoice
from framework.jobs.stages import inverter_of
from framework.jobs.watcher import SILENT, Cancelled
from framework.media.images import to_uint8
from framework.studio.edit import Edit
from framework.studio.messages import Open, Point

# Shows a picture, made only if there is somebody to see it, and the step that it belongs to.
Show = Callable[[Callable[[], np.ndarray], int], None]
PREVIEW_STEPS = 60
SLOW_MS = 60.0  # of finishing a picture: then a drag shows unfinished ones until it ends


class Activity(Protocol):
    """Something that a session does, a step at a time."""

    @property
    def text(self) -> str:
        """What it is doing, in words; "" if the state says it."""
        ...

    @property
    def is_coarse(self) -> bool:
        """Whether the picture that is shown is an unfinished one."""
        ...

    def step(self) -> bool:
        """Make a step; returns whether there is more to do."""
        ...

    def stop(self) -> None:
        """End it after the last step; what is done stays."""
        ...


class Dragging:
    """A drag.

    Args:
        edit: The edit that is dragged.
        show: Shows a step's picture.
        row: Takes a step's numbers for the plots.
        log: Where steps are logged; closed at the end.
    """

    text = ""
    is_coarse = False

    def __init__(
        self,
        edit: Edit,
        show: Show,
        row: Callable[[DragStep], None],
        log: StepLog | None = None,
    ) -> None:
        drag, step = edit.drag, edit.drag.last_step
        watched = drag.settings.method in WATCHED
        drag.discriminator = edit.networks.discriminator if watched else None
        predicts = drag.settings.method in PREDICTING
        drag.editor = edit.networks.editor if predicts else None
        drag.origin = edit.networks.generator
        self.last_step = (step.step if step else 0) + drag.settings.max_steps
        self.step_ms = 0.0
        self._stream: Iterator[DragStep] = drag.run()
        self._show, self._row, self._log = show, row, log
        self._finish_ms = 0.0

    def step(self) -> bool:
        """See `Activity`."""
        before_sec = time.monotonic()
        step = next(self._stream, None)
        if step is None:
            return False
        self._row(step)
        if self._log is not None:
            self._log.step(step)
        self._show(lambda: self._picture(step), step.step)
        took_ms = 1000 * (time.monotonic() - before_sec)
        self.step_ms = took_ms if not self.step_ms else 0.8 * self.step_ms + 0.2 * took_ms
        if step.status != "moving":
            self.stop()  # a picture that waits to be shown may not keep the edit busy
        return step.status == "moving"

    def _end_log(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None

    def _picture(self, step: DragStep) -> np.ndarray:
        """Return a step's picture: the unfinished one where finishing it is slow."""
        coarse = step.coarse_image() if self._finish_ms > SLOW_MS else None
        self.is_coarse = coarse is not None
        if coarse is not None:
            return to_uint8(coarse)[0]
        before_sec = time.monotonic()
        picture = to_uint8(step.image())[0]
        self._finish_ms = 1000 * (time.monotonic() - before_sec)
        return picture

    def stop(self) -> None:
        """See `Activity`."""
        self._stream.close()  # type: ignore[attr-defined]
        self._end_log()


class Inverting:
    """A photograph on its way into the model.

    Args:
        networks: The model's networks.
        source: What the page had chosen.
        photo: The photograph, in a folder of its own, where results are written, too.
        stages: Stages of the inversion, with commas between.
        show: Shows a step's picture.
        done: Takes the edit that begins with the result.

    Raises:
        UserError: If the stages do not fit.
    """

    is_coarse = True  # until the next edit is there

    def __init__(
        self,
        networks: Networks,
        source: Open,
        photo: Photo,
        stages: str,
        show: Show,
        done: Callable[[Edit], None],
    ) -> None:
        self._networks, self._source, self._show, self._done = networks, source, show, done
        inverter = inverter_of(networks, InversionChoice(stages=stages))
        inverter.prepare()
        self._settings = inverter.settings
        folder = photo.path.parent
        self._stream: Generator[InversionStep, None, InvertOutcome] = carrying_out(
            inverter, photo, inverter.stream(photo), Places(folder, folder, "photo"),
            SILENT, "disabled",
        )  # fmt: skip
        self._at: InversionStep | None = None
        self._show(lambda: photo.canvas, 0)

    @property
    def text(self) -> str:
        """See `Activity`."""
        if self._at is None:
            return "reading the photograph"
        last = getattr(getattr(self._settings, self._at.stage), "steps", self._at.step)
        loss = self._at.best_loss[0].item()
        return f"{self._at.stage} {self._at.step} of {last}, loss {loss:.3f}"

    def step(self) -> bool:
        """See `Activity`."""
        try:
            self._at = step = next(self._stream)
        except StopIteration as end:
            self._end(end.value)
            return False
        if step.images is not None:
            images = step.images
            self._show(lambda: to_uint8(images)[0], 0)
        return True

    def stop(self) -> None:
        """Keep the best so far."""
        try:
            if self._at is not None:
                self._stream.throw(Cancelled())
        except StopIteration as end:
            self._end(end.value)
        except Cancelled:
            pass  # nothing was found yet
        finally:
            self._stream.close()

    def _end(self, outcome: InvertOutcome | None) -> None:
        if outcome is not None:
            self._done(Edit.of_photograph(self._networks, self._source, outcome))


class Preview:
    """What the picture would become while a point is held: drawn, never kept.

    Where the model has a latent transformer, one pass of it predicts the picture for every place of
    the pointer. Else the drag of the paper runs towards the pointer, and starts again from where it
    is whenever the pointer has moved. Nothing of it reaches the edit.

    Args:
        edit: The edit.
        handle: Where the picture is held.
        index: The point that is held, or None for a new one.
    """

    def __init__(self, edit: Edit, handle: Point, index: int | None) -> None:
        self.index = index
        self._drag, self._ws = edit.drag, edit.drag.ws
        drag, editor = edit.drag, edit.networks.editor
        self._handles, self._targets = [*drag.points], [*drag.targets]
        if index is None:
            self._handles.append(handle)
            self._targets.append(handle)
        self._held = len(self._handles) - 1 if index is None else index
        small = max(drag.generator.img_size) <= REDUCED_PX
        name = "small" if small else "draggan"  # their steps are short
        preset = DragSettings.preset(DIFFUSION_PRESET if edit.networks.diffuses else name)
        self._settings = replace(preset, max_steps=PREVIEW_STEPS)
        self._predictor = None
        if editor is not None:
            of_editor = DragSettings.preset("latent-transformer")
            self._predictor = StyleGAN2(drag.generator, of_editor, editor=editor)
        self._stream: Iterator[DragStep] | None = None
        self._last: DragStep | None = None
        self.at_rest = True

    @property
    def point(self) -> Point:
        """Where the held point of the picture is now."""
        if self._last is None:
            return self._handles[self._held]
        x, y = self._last.points[self._held].tolist()
        return x, y

    def towards(self, target: Point) -> None:
        """Pull to another place from now on."""
        if target != self._targets[self._held] or self._last is None:
            self._targets[self._held] = target
            self._stream, self.at_rest = None, False

    def step(self, show: Show) -> None:
        """Make a step, and show it."""
        if self._predictor is not None:
            self.at_rest = True
            show(self._predicted, 0)
            return
        if self._stream is None:
            last = self._last and replace(self._last, optimizer=None)
            self._stream = drag_points(
                self._drag.generator, self._ws, self._handles, self._targets, self._drag.mask,
                self._settings, resume_from=last,
            )  # fmt: skip
            next(self._stream)  # the place where it begins
        step = next(self._stream, None)
        if step is None:
            self.at_rest = True
            return
        self._last = step
        show(lambda: to_uint8(step.image())[0], step.step)
        self.at_rest = step.status != "moving"

    def _predicted(self) -> np.ndarray:
        """Return the picture that one pass predicts."""
        model = self._predictor
        assert model is not None
        drag = check_drag(model, self._ws, self._handles, self._targets, self._drag.mask)
        return to_uint8(Picture(model).make(predicted(model, drag)))[0]
