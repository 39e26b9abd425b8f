"""A hole in a photograph, filled."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from framework.compositing.filling import Filling, FillSettings, FillStep
from framework.compositing.photograph import Photograph
from framework.errors import blame
from framework.files import check_new_folder, new_folder
from framework.inversion.photo_fill import Painter, PriorFilling
from framework.jobs.models import Networks
from framework.jobs.photograph import frame
from framework.jobs.requests.compositing import FillRequest
from framework.jobs.watcher import SILENT, Watcher
from framework.media.draw import titled
from framework.media.images import save_png
from framework.media.masks import read_mask
from framework.models.features.distance import choose_distance
from framework.ops.compiled import use_ops

FILLED, SHEET = "filled.png", "side_by_side.png"
_PANEL_PX = 640  # longer side of a panel on the sheet
_PAINT = np.array([255, 0, 160])  # what no photograph has much of


@dataclass(frozen=True, kw_only=True)
class CompositeOutcome:
    """A picture that was made: how, how long it took, and its files; `stop` ended it early."""

    method: str
    size: tuple[int, int]
    status: str
    steps: int
    seconds: float
    files: list[str]
    stop: KeyboardInterrupt | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome for scripts, ready for JSON."""
        return {name: value for name, value in vars(self).items() if name != "stop"}

    def describe(self) -> str:
        """Say in a line how it ended."""
        height, width = self.size
        return (
            f"{self.status} after {self.steps} steps, {self.seconds:.1f} s: {width}x{height} px"
            f" by {self.method}, in {Path(self.files[0]).parent}"
        )


def fill(request: FillRequest, watcher: Watcher = SILENT) -> CompositeOutcome:
    """Fill the hole, write the photograph and a sheet of before and after.

    Raises:
        UserError: Naming the field, if anything does not fit; then nothing is left behind.
    """
    check_new_folder(request.out)
    photo = Photograph.read(request.photo)
    for note in photo.notes:
        watcher.note(note)
    mask = read_mask(request.mask)
    filling, steps = _opened(request, photo, mask, watcher)
    last, seconds, stop = last_of(steps, watcher)
    filled = filling.filled(last)
    folder = new_folder(request.out)
    filled.save(folder / FILLED)
    holed = np.where(filling.hole[..., None], _PAINT, photo.shown()).astype(np.uint8)
    save_png(folder / SHEET, titled(panels(holed, filled.shown()), ["hole", "filled"]))
    return CompositeOutcome(
        method=request.method,
        size=photo.size,
        status="interrupted" if stop else "done",
        steps=last.step,
        seconds=seconds,
        files=[str(folder / name) for name in (FILLED, SHEET)],
        stop=stop,
    )


def _opened(
    request: FillRequest, photo: Photograph, mask: np.ndarray, watcher: Watcher
) -> tuple[Filling | PriorFilling, Iterator[FillStep]]:
    """Return the filling that is asked for, checked, and its steps."""
    if request.model is not None:
        networks = Networks(request.model, request.device)
        height, width = networks.generator.img_size
        with blame("photo", request.photo):
            geometry, notes = frame(request, photo.size, (height, width))
        with blame("mask", request.mask):
            by_model = PriorFilling(photo, mask, _painter(networks), geometry)
        for note in notes:
            watcher.note(note)
        return by_model, by_model.steps()
    with blame("mask", request.mask):
        filling = Filling(photo, mask)
    use_ops("auto")
    return filling, filling.steps(FillSettings(request.method, request.patch, request.seed))


def _painter(networks: Networks) -> Painter:
    distance, _ = choose_distance("auto", networks.discriminator, None)
    return Painter(networks.generator, distance.to(networks.where), networks.encoder)


def last_of(
    steps: Iterable[FillStep], watcher: Watcher
) -> tuple[FillStep, float, KeyboardInterrupt | None]:
    """Carry out steps; Ctrl-C keeps the last one that was done.

    Returns:
        The last step, seconds, and the interruption if there was one.
    """
    last, stop, start_sec = None, None, time.monotonic()
    try:
        for step in steps:
            last = step
            watcher.progress(f"{step.stage}: step {step.step} of {step.steps}")
    except KeyboardInterrupt as interruption:
        if last is None:
            raise
        stop = interruption
    assert last is not None
    return last, round(time.monotonic() - start_sec, 3), stop


def panels(*pictures: np.ndarray) -> list[np.ndarray]:
    """Shrink pictures, uint8 (H, W, 3), to what fits side by side on a sheet."""
    images = [Image.fromarray(picture) for picture in pictures]
    for image in images:
        image.thumbnail((_PANEL_PX, _PANEL_PX))
    return [np.asarray(image) for image in images]
