"""Outcomes of drags and inversions, as fronts show them. Needs no torch."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_ENDS = {
    "held": "not arrived: the mask holds it (give a larger mask, or a smaller `mask_weight`)",
    "max_steps": "not arrived (give more `steps`)",
    "stuck": "not arrived: no step brings it nearer, the model hardly draws that",
    "diverged": "the numbers ran away (give a smaller `lr`); the last good step is kept",
}


def end_in_words(status: str) -> str:
    """Describe how a drag ended; fields of the request stand between backticks.

    Args:
        status: Status of the last step, see `DragStep`.
    """
    return _ENDS.get(status, status)


@dataclass(frozen=True, kw_only=True)
class InvertOutcome:
    """The outcome of a photograph's inversion.

    Args:
        photo: File of the photograph.
        strangeness: Distance from the model's own pictures; None without a discriminator.
        familiar: Whether the photograph looks like what the model draws, or None.
        perceptual: Name of the distance.
        stages: By stage: mse, psnr_db, the distance under its name, deviations, steps, status,
            seconds.
        usual_deviations: Deviations within which 99.9 % of the model's own latents lie; None for a
            diffusion model, whose noise has no such limit.
        seconds: Seconds of all stages.
        files: Files that were written.
        file: The inverted image.
        photo_size: (height, width) of the photograph.
        seen_box: Left, top, right and bottom, in it, of the part that the model sees.
        canvas_size: (height, width) of the model's picture.
        notes: Notes about reading the photograph.
        familiar_within: The strangeness up to which a photograph is familiar.
        stop: The interruption that ended it early.
    """

    photo: str
    strangeness: float | None
    familiar: bool | None
    perceptual: str
    stages: dict[str, dict[str, Any]]
    usual_deviations: float | None
    seconds: float
    files: list[str]
    file: Path
    photo_size: tuple[int, int]
    seen_box: tuple[int, int, int, int]
    canvas_size: tuple[int, int]
    notes: tuple[str, ...]
    familiar_within: float
    stop: KeyboardInterrupt | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome for scripts, ready for JSON: the first eight fields."""
        return dict(list(vars(self).items())[:8])


@dataclass(kw_only=True)
class InvertBatchOutcome:
    """The outcome of many photographs.

    Args:
        count: Number of photographs.
        results: The file with a line for each.
        failed: Files of those that could not be inverted.
        stop: The interruption that ended it early.
    """

    count: int
    results: Path
    failed: list[str] = field(default_factory=list)
    stop: KeyboardInterrupt | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome for scripts, ready for JSON."""
        return {"photos": self.count, "failed": self.failed, "files": [str(self.results)]}


@dataclass(frozen=True, kw_only=True)
class DragOutcome:
    """The outcome of a drag.

    Args:
        arrived: Whether every handle is at its target.
        lost: Whether a handle no longer shows what it showed at the start.
        doubtful: Whether a handle may be lost.
        confidence: Confidence of the least certain handle, 0 to 1.
        status: Reason of the end, as in `DragStep`, or "interrupted".
        steps: Number of steps.
        seconds: Seconds of all steps.
        mean_distance_px: Mean distance of the handles from their targets.
        max_distance_px: Distance of the farthest handle.
        drift: Mean drift, as in `DragStep`.
        files: Files that were written.
        inversion: Outcome of the photograph's inversion before, if any.
        sure_from: Confidence from which a handle is not doubtful.
        stop: The interruption that ended it early.
    """

    arrived: bool
    lost: bool
    doubtful: bool
    confidence: float | None
    status: str
    steps: int
    seconds: float
    mean_distance_px: float
    max_distance_px: float
    drift: float
    files: list[str]
    inversion: InvertOutcome | None
    sure_from: float
    stop: KeyboardInterrupt | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome for scripts, ready for JSON."""
        beside = ("inversion", "sure_from", "stop")
        facts = {name: value for name, value in vars(self).items() if name not in beside}
        return facts | ({"inversion": self.inversion.to_dict()} if self.inversion else {})


@dataclass(kw_only=True)
class DragBatchOutcome:
    """The outcome of many drags.

    Args:
        count: Number of tasks.
        results: The file with a line for each.
        outcomes: Outcomes of the drags that were done.
        failed: Names of the tasks that could not be done.
        stop: The interruption that ended it early.
    """

    count: int
    results: Path
    outcomes: list[DragOutcome] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    stop: KeyboardInterrupt | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome for scripts: counts, sums and means, the farthest handle of all."""
        done = self.outcomes
        count = len(done) or math.nan  # without drags, means are NaN
        return {
            "tasks": self.count,
            "failed": self.failed,
            "arrived": sum(outcome.arrived for outcome in done),
            "sure": sum(outcome.arrived and not outcome.doubtful for outcome in done),
            "lost": sum(outcome.lost for outcome in done),
            "doubtful": sum(outcome.doubtful for outcome in done),
            "steps": sum(outcome.steps for outcome in done),
            "seconds": round(sum(outcome.seconds for outcome in done), 3),
            "mean_distance_px": sum(outcome.mean_distance_px for outcome in done) / count,
            "max_distance_px": max((o.max_distance_px for o in done), default=math.nan),
            "drift": sum(outcome.drift for outcome in done) / count,
            "files": [str(self.results)],
        }
