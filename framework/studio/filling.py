"""A painted part of a picture, filled from the rest of it, on its way into the model again."""

from collections.abc import Callable
from pathlib import Path

from framework.jobs.painted import PaintedFilling
from framework.studio.dragging import Inverting, Show
from framework.studio.edit import Edit

STAGES = "embed,refine,tune"


class Filling:
    """What an edit's mask covers is filled; then the photograph is inverted as one that was sent.

    Args:
        edit: The edit whose mask is the hole; nothing of it changes.
        method: Name of a way to fill; None for the usual one.
        new_folder: Makes a folder for the filled photograph and its inversion.
        show: Shows a step's picture.
        done: Takes the edit that begins with the result, and that folder.

    Raises:
        UserError: As `PaintedFilling`.
    """

    is_coarse = True  # until the next edit is there

    def __init__(
        self,
        edit: Edit,
        method: str | None,
        new_folder: Callable[[], Path],
        show: Show,
        done: Callable[[Edit, Path], None],
    ) -> None:
        self._edit, self._new_folder, self._show, self._done = edit, new_folder, show, done
        mask = edit.drag.mask
        self._filling = PaintedFilling(
            edit.networks.generator, edit.picture(), edit.inverted,
            None if mask is None else mask.cpu().numpy(), method,
        )  # fmt: skip
        self._at = None
        self._inverting: Inverting | None = None

    @property
    def text(self) -> str:
        """See `Activity`."""
        if self._inverting is not None:
            return self._inverting.text
        if self._at is None:
            return "filling"
        return f"filling, {self._at.stage}: step {self._at.step} of {self._at.steps}"

    def step(self) -> bool:
        """See `Activity`."""
        if self._inverting is not None:
            return self._inverting.step()
        at = next(self._filling.steps, None)
        if at is None:
            self._inverting = self._invert()
            return True
        self._at = at
        self._show(lambda: self._filling.seen(at), 0)
        return True

    def stop(self) -> None:
        """Keep the inversion so far; a filling that has not ended is dropped."""
        if self._inverting is not None:
            self._inverting.stop()

    def _invert(self) -> Inverting:
        """Begin to put the filled photograph into the model, by the stages of the first one."""
        assert self._at is not None
        edit, folder = self._edit, self._new_folder()
        photo = self._filling.saved(self._at, folder)
        stages = ",".join(facts.stage for facts in edit.photo.stages) if edit.photo else STAGES
        return Inverting(
            edit.networks, edit.source, photo, stages, self._show,
            lambda next_edit: self._done(next_edit, folder),
        )  # fmt: skip
