"""A picture that is changed until it is what a text says."""

from collections.abc import Callable

from torch import Tensor

from framework.jobs.models import render
from framework.jobs.text import LOOKS, Reader
from framework.studio.dragging import Show
from framework.studio.edit import Edit


class Describing:
    """A text on its way into a picture, a look of the image encoder at a time.

    Args:
        edit: The edit; nothing of it changes.
        reader: The text, read.
        show: Shows a step's picture.
        done: Takes the latents that came nearest, and how far they are from what the text says.
    """

    is_coarse = True  # until the next picture is there

    def __init__(
        self, edit: Edit, reader: Reader, show: Show, done: Callable[[Tensor, float], None]
    ) -> None:
        self._generator, self._show, self._done = edit.drag.generator, show, done
        self._looks = reader.changing(self._generator, edit.drag.ws, 1.0, LOOKS, keep=True)
        self._look = 0
        self._best: tuple[Tensor, float] | None = None

    @property
    def text(self) -> str:
        """See `Activity`."""
        return f"text, look {self._look} of {LOOKS}"

    def step(self) -> bool:
        """See `Activity`."""
        now = next(self._looks, None)
        if now is None:
            self.stop()
            return False
        best = now[1]
        self._best, self._look = (best.ws, best.missed.item()), self._look + 1
        self._show(lambda: render(self._generator, best.ws), 0)
        return True

    def stop(self) -> None:
        """Keep the nearest so far."""
        if self._best is not None:
            self._done(*self._best)
