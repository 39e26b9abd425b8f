"""What comes of drags and inversions, as fronts show it. Needs no torch."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class InvertOutcome:
    """What came of a photograph.

    Args:
        photo: Its file.
        strangeness: How far it is from the model's own pictures; None without a discriminator.
        familiar: Whether it looks like what the model knows, or None.
        perceptual: Name of the distance.
        stages: Of each its mse, psnr_db, the distance under its name, deviations, steps, status,
            seconds.
        usual_deviations: Within which 99.9 % of the model's own latents lie.
        seconds: What all took.
        files: What was written.
        file: The inverted image.
        photo_size: (height, width) of the photograph.
        seen_box: Left, top, right and bottom in it of what the model sees.
        canvas_size: (height, width) of the model's picture.
        notes: What reading the photograph had to do.
        familiar_within: The strangeness up to which a photograph is familiar.
        stop: The interruption that ended it early.
    """

    photo: str
    strangeness: float | None
    familiar: bool | None
    perceptual: str
    stages: dict[str, dict[str, Any]]
    usual_deviations: float
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
        """What a script is told, ready for JSON: the first eight."""
        return dict(list(vars(self).items())[:8])


@dataclass(kw_only=True)
class InvertBatchOutcome:
    """What came of many photographs.

    Args:
        count: How many there were.
        results: The file with a line for each.
        failed: Files of those that could not be inverted.
        stop: The interruption that ended it early.
    """

    count: int
    results: Path
    failed: list[str] = field(default_factory=list)
    stop: KeyboardInterrupt | None = None

    def to_dict(self) -> dict[str, Any]:
        """What a script is told, ready for JSON."""
        return {"photos": self.count, "failed": self.failed, "files": [str(self.results)]}


@dataclass(frozen=True, kw_only=True)
class DragOutcome:
    """What came of a drag.

    Args:
        arrived: Whether every handle is at its target.
        lost: Whether a point no longer shows what was taken hold of.
        doubtful: Whether that may be so.
        confidence: Of the least sure point, 0 to 1.
        status: Why it ended, as in `DragStep`, or "interrupted".
        steps: How many were made.
        seconds: What they took.
        mean_distance_px: Of the handles from their targets.
        max_distance_px: Of the farthest.
        drift: Mean drift, as in `DragStep`.
        files: What was written.
        inversion: What came of the photograph before, if it was one.
        sure_from: The confidence from which a point is not doubtful.
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
        """What a script is told, ready for JSON."""
        beside = ("inversion", "sure_from", "stop")
        facts = {name: value for name, value in vars(self).items() if name not in beside}
        return facts | ({"inversion": self.inversion.to_dict()} if self.inversion else {})


@dataclass(kw_only=True)
class DragBatchOutcome:
    """What came of many drags.

    Args:
        count: How many there were.
        results: The file with a line for each.
        outcomes: Of those that were done.
        failed: Names of the others.
        stop: The interruption that ended it early.
    """

    count: int
    results: Path
    outcomes: list[DragOutcome] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    stop: KeyboardInterrupt | None = None

    def to_dict(self) -> dict[str, Any]:
        """What a script is told: counts, sums and means, the farthest point of all."""
        done = self.outcomes
        count = len(done) or math.nan  # a mean of nothing is nothing
        return {
            "tasks": self.count,
            "failed": self.failed,
            "arrived": sum(outcome.arrived for outcome in done),
            "lost": sum(outcome.lost for outcome in done),
            "doubtful": sum(outcome.doubtful for outcome in done),
            "steps": sum(outcome.steps for outcome in done),
            "seconds": round(sum(outcome.seconds for outcome in done), 3),
            "mean_distance_px": sum(outcome.mean_distance_px for outcome in done) / count,
            "max_distance_px": max((o.max_distance_px for o in done), default=math.nan),
            "drift": sum(outcome.drift for outcome in done) / count,
            "files": [str(self.results)],
        }
