"""The files of a drag beside its numbers: the edit first, its pictures, the clips last."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from framework.drag.step import DragStep
from framework.formats.used_by import mark_used
from framework.jobs.clips import MAX_STEP_FRAMES, edit_frames, shown_steps
from framework.jobs.log import StepLog
from framework.jobs.models import render
from framework.jobs.starts import OpenDrag
from framework.jobs.watcher import Watcher
from framework.media.draw import rgb, side_by_side, titled
from framework.media.images import save_png
from framework.media.video import paced, write_video

EDIT, CLIP, GIF = "edit.safetensors", "drag.mp4", "drag.gif"
STRIP_FRAMES = 8
GIF_FRAMES = 40  # a GIF is kept in memory and is large


def write_outputs(
    opened: OpenDrag,
    steps: Sequence[DragStep],
    folder: Path,
    log: StepLog,
    watcher: Watcher,
    clips: bool,
) -> list[str]:
    """Write the edit, the pictures and, if asked, the clips; return their names."""
    watcher.progress("writing the edit and its pictures")
    beside = [] if opened.inverted is None else opened.inverted.copy_to(folder)
    opened.edit_file(steps).save(folder / EDIT)
    mark_used(opened.model_name, folder / EDIT)
    pictures = _write_pictures(opened, steps, folder)
    files = [EDIT, *beside, *(f"{name}.png" for name in pictures)]
    films = _write_clips(opened, steps, folder, watcher) if clips else []
    if log.shows_pictures:
        pictures["strip"] = _strip(opened, steps)
    log.pictures(pictures, folder / films[0] if films else None)
    return [*files, *films]


def _write_pictures(
    opened: OpenDrag, steps: Sequence[DragStep], folder: Path
) -> dict[str, np.ndarray]:
    """Write the pictures before, after and side by side, and the photograph with the edit."""
    pull = opened.pull
    before = render(opened.generator, opened.ws)
    after = render(opened.generator, steps[-1].ws)
    track = [pull.handles, *[step.points.tolist() for step in steps]]
    pictures = {
        "before": before,
        "after": after,
        "side_by_side": side_by_side(
            rgb(before), rgb(after), pull.handles, pull.targets, track, pull.mask
        ),
    }
    for name, picture in pictures.items():
        save_png(folder / f"{name}.png", picture)
    if opened.inverted is not None:
        pasted = opened.inverted.pasted(after, opened.request.paste, opened.request.seam)
        if pasted is not None:
            pasted.save(folder / "pasted.png")
            pictures["pasted"] = pasted.shown()
    return pictures


def _strip(opened: OpenDrag, steps: Sequence[DragStep]) -> np.ndarray:
    """A few steps side by side, from the first to the last, under their numbers."""
    shown = shown_steps(len(steps), STRIP_FRAMES)
    return titled([*_frames(opened, steps, STRIP_FRAMES)], [str(steps[i].step) for i in shown])


def _write_clips(
    opened: OpenDrag, steps: Sequence[DragStep], folder: Path, watcher: Watcher
) -> list[str]:
    kinds = {CLIP: (24, MAX_STEP_FRAMES)} if opened.request.video else {}
    kinds |= {GIF: (12, GIF_FRAMES)} if opened.request.gif else {}
    for name, (fps, at_most) in kinds.items():
        watcher.progress(f"writing {name}")
        count = len(shown_steps(len(steps), at_most))
        write_video(folder / name, paced(_frames(opened, steps, at_most), count, fps), fps)
    return list(kinds)


def _frames(opened: OpenDrag, steps: Sequence[DragStep], at_most: int) -> Iterator[np.ndarray]:
    return edit_frames(
        opened.generator,
        [step.ws for step in steps],
        [step.points.tolist() for step in steps],
        opened.pull.targets,
        at_most=at_most,
    )
