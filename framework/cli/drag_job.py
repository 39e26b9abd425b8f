"""One drag carried out: from a job to pictures, a clip, an edit file and the numbers."""

import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.cli.clips import MAX_STEP_FRAMES, edit_frames, shown_steps
from framework.cli.common import render
from framework.cli.drag_log import DragLog
from framework.cli.invert_settings import Paste, Seam
from framework.dashboard import WandbMode
from framework.drag.points import Point
from framework.drag.settings import DragSettings

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from framework.cli.inverted import Inverted
    from framework.drag.edit_file import EditFile
    from framework.drag.step import DragStep
    from framework.models.stylegan2 import Generator

GIF_FRAMES = 40  # a GIF is kept in memory and is large


@dataclass(frozen=True, eq=False)
class DragJob:
    """What one drag needs.

    Args:
        generator: Frozen generator on its device.
        model_name: How the edit file shall call it.
        model_digest: Its `state_digest`.
        ws: Latents before the drag, (1, num_ws, w_dim).
        handles: Points (x, y) in image pixels before the drag.
        targets: Where they shall go.
        mask: (H, W), 1 = may change, or None.
        settings: How to drag.
        past: Steps of the drag that is being continued; empty for a new one.
        earlier_ws: Latents of earlier drags of the same edit, with other points.
        facts: What else W&B shall know, such as the seed.
        inverted: The inverted image that the picture is, or began as; `generator` is then its own.
    """

    generator: "Generator"
    model_name: str
    model_digest: str
    ws: "Tensor"
    handles: Sequence[Point]
    targets: Sequence[Point]
    mask: "np.ndarray | None"
    settings: DragSettings
    past: "Sequence[DragStep]" = ()
    earlier_ws: "Tensor | None" = None
    facts: dict[str, Any] = field(default_factory=dict)
    inverted: "Inverted | None" = None

    def stream(self) -> "Iterator[DragStep]":
        """Check the job at once and return its steps; see `framework.drag.drag`."""
        from framework.drag.algorithm import drag_points

        past = self.past[-1] if self.past else None
        return drag_points(
            self.generator, self.ws, self.handles, self.targets, self.mask, self.settings,
            resume_from=past,
        )  # fmt: skip

    def edit_file(self, steps: "Sequence[DragStep]") -> "EditFile":
        """Record the past and the new steps."""
        import torch

        from framework.drag.edit_file import EditFile

        return EditFile.from_steps(
            steps,
            self.generator,
            model_name=self.model_name,
            model_digest=self.model_digest,
            settings=self.settings,
            mask=None if self.mask is None else torch.from_numpy(self.mask),
            start_ws=self.ws,
            handles=self.handles,
            earlier_ws=self.earlier_ws,
            inversion=None if self.inverted is None else self.inverted.link,
        )


@dataclass(frozen=True)
class Outputs:
    """What to make beside the pictures, the edit and the numbers."""

    video: bool = True
    gif: bool = False
    wandb: WandbMode = "auto"
    wandb_group: str | None = None
    paste: Paste = "changed"
    seam: Seam = "feather"


def carry_out(
    job: DragJob, stream: "Iterator[DragStep]", folder: Path, outputs: Outputs
) -> tuple[dict[str, Any], KeyboardInterrupt | None]:
    """Drag, and write everything into `folder`, the edit itself first and the clips last.

    Args:
        job: What to do.
        stream: `job.stream()`, made before the folder so that a bad job leaves none behind.
        folder: New folder, existing and empty.
        outputs: What to make.

    Returns:
        The outcome (arrived, lost, doubtful, confidence, status, steps, seconds, mean_distance_px,
        max_distance_px, drift, files), and the interruption that ended it early, to be raised when
        the outcome is told.
    """
    config = {"model": job.model_name, **job.facts, "settings": job.settings.to_dict()}
    steps, stop = list(job.past), None
    last_step = (steps[-1].step if steps else 0) + job.settings.max_steps
    with DragLog(folder, config, outputs.wandb, last_step, outputs.wandb_group) as log:
        start_sec = time.monotonic()
        try:
            for step in stream:
                if not steps or step.step > steps[-1].step:
                    steps.append(step)
                else:  # the step continued from, with the status it has for this run
                    steps[-1] = step
                log.step(step)
        except KeyboardInterrupt as interruption:
            if not steps:
                raise
            stop = interruption
        seconds = time.monotonic() - start_sec
        files = ["stats.jsonl", *_keep(job, steps, folder, log, outputs, stop is not None)]
        last = steps[-1]
        outcome = {
            "arrived": last.arrived,
            "lost": last.lost,
            "doubtful": last.doubtful,
            "confidence": last.min_confidence,
            "status": "interrupted" if stop else last.status,
            "steps": last.step,
            "seconds": round(seconds, 3),
            "mean_distance_px": last.mean_distance_px,
            "max_distance_px": last.max_distance_px,
            "drift": last.mean_drift,
            "files": [str(folder / name) for name in files],
        }
        log.summary({name: value for name, value in outcome.items() if name != "files"})
    return outcome, stop


def _keep(
    job: DragJob,
    steps: "list[DragStep]",
    folder: Path,
    log: DragLog,
    outputs: Outputs,
    interrupted: bool,
) -> list[str]:
    """Write the edit, the pictures and the clips; return their names."""
    from framework.formats.used_by import mark_used
    from framework.media.draw import rgb, side_by_side
    from framework.media.images import save_png

    log.say("writing the edit and its pictures")
    beside = [] if job.inverted is None else job.inverted.copy_to(folder)
    job.edit_file(steps).save(folder / "edit.safetensors")
    mark_used(job.model_name, folder / "edit.safetensors")
    device = next(job.generator.parameters()).device
    before = render(job.generator, job.ws.to(device))
    after = render(job.generator, steps[-1].ws.to(device))
    track = [job.handles, *[step.points.tolist() for step in steps]]
    pictures = {
        "before": before,
        "after": after,
        "side_by_side": side_by_side(
            rgb(before), rgb(after), job.handles, job.targets, track, job.mask
        ),
    }
    for name, picture in pictures.items():
        save_png(folder / f"{name}.png", picture)
    if job.inverted is not None:
        pasted = job.inverted.pasted(after, outputs.paste, outputs.seam)
        if pasted is not None:
            pasted.save(folder / "pasted.png")
            pictures["pasted"] = pasted.shown()
    files = ["edit.safetensors", *beside, *(f"{name}.png" for name in pictures)]
    clips = [] if interrupted else _write_clips(job, steps, folder, log, outputs)
    log.pictures(pictures, folder / clips[0] if clips else None)
    return [*files, *clips]


def _write_clips(
    job: DragJob, steps: "list[DragStep]", folder: Path, log: DragLog, outputs: Outputs
) -> list[str]:
    from framework.media.video import paced, write_video

    names = ["drag.mp4"] * outputs.video + ["drag.gif"] * outputs.gif
    for name in names:
        log.say(f"writing {name}")
        fps, at_most = (24, MAX_STEP_FRAMES) if name.endswith(".mp4") else (12, GIF_FRAMES)
        frames = edit_frames(
            job.generator,
            [step.ws for step in steps],
            [step.points.tolist() for step in steps],
            job.targets,
            at_most=at_most,
        )
        count = len(shown_steps(len(steps), at_most))
        write_video(folder / name, paced(frames, count, fps), fps)
    return names


def describe(outcome: dict[str, Any]) -> str:
    """Tell the outcome of a drag in a line."""
    how = {
        "arrived": "arrived",
        "lost": "lost",
        "held": "not arrived: the mask holds it (give a larger mask, or a smaller --mask-weight)",
        "max_steps": "not arrived (give more --steps)",
        "diverged": "the numbers ran away (give a smaller --lr); the last good step is kept",
    }.get(outcome["status"], outcome["status"])
    return (
        f"{how} after {outcome['steps']} steps, {outcome['seconds']:.1f} s: distance"
        f" {outcome['mean_distance_px']:.2f} px (max {outcome['max_distance_px']:.2f}),"
        f" drift {outcome['drift']:.3f}"
    )


def tell(outcome: dict[str, Any], where: str = "") -> None:
    """Print the outcome of a drag; a point that may be lost gets a line of its own, on stderr."""
    print(f"{where}{describe(outcome)}", flush=True)
    if outcome["doubtful"]:
        from framework.drag.likeness import SURE_CONFIDENCE

        verb = "no longer shows" if outcome["lost"] else "may no longer show"
        print(
            f"warning: {where}a point {verb} what was taken hold of (confidence"
            f" {outcome['confidence']:.2f}, sure from {SURE_CONFIDENCE:.2f}): look at"
            " side_by_side.png; try a shorter way, a point with more texture, or a mask",
            file=sys.stderr,
        )


def checked_stream(job: "DragJob", where: str = "") -> "Iterator[DragStep]":
    """Check a job and return its steps; what is only odd about it becomes a note."""
    with warnings.catch_warnings(record=True) as oddities:
        warnings.simplefilter("always")
        stream = job.stream()
    for oddity in oddities:
        print(f"note: {where}{oddity.message}", file=sys.stderr)
    return stream
