"""Does the car go where its point was pulled? Drags on toy cars, judged from the pictures alone.

A task pulls one key point, which the judge finds in a generated picture, to a target 6 px away; the
judge then looks for the same key point in the result. Where the drag itself places its handle
counts only for `Outcome.wrong`: whether the drag deceives itself.

Tasks: a kind of pull (`PULLS`) names the parts that take turns and where each is pulled. Wheels can
be pulled further than in any drawing. Roof corners differ by up to 14 px among drawings; a roof is
an edge without a distinct place along it, and a model of the first look's drawings knows roofs only
in jumps from one body to another: the hard case, which is why kinds are distinguished. A picture is
skipped if the judge is unsure of any of its key points (`SURE`), because then there is no truth to
start from, or if the target would be outside the picture. In a result, unsure counts as missed.
"""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import torch
from torch import Tensor

from framework.drag.algorithm import drag_points
from framework.drag.settings import DragSettings
from framework.evaluation.drag.keypoints import KeypointJudge
from framework.media.images import to_uint8
from framework.models.stylegan2 import Generator

Point = tuple[float, float]
PULL_PX = 6.0
NEAR_PX = 2.0
WRONG_PX = 3.0
SURE = 0.5
"""Confidence from which the judge counts as having found a point."""

PULLS: dict[str, tuple[tuple[str, Point], ...]] = {
    "wheels outward": (
        ("left_wheel_hub", (-PULL_PX, 0.0)),
        ("right_wheel_hub", (PULL_PX, 0.0)),
    ),
    "wheels inward": (
        ("left_wheel_hub", (PULL_PX, 0.0)),
        ("right_wheel_hub", (-PULL_PX, 0.0)),
    ),
    "roof outward": (
        ("left_roof_corner", (-PULL_PX, 0.0)),
        ("right_roof_corner", (PULL_PX, 0.0)),
    ),
    "roof inward": (
        ("left_roof_corner", (PULL_PX, 0.0)),
        ("right_roof_corner", (-PULL_PX, 0.0)),
    ),
    "every part": tuple(
        (f"{side}{part}", (pull_px, 0.0))
        for pull_px in (-PULL_PX, PULL_PX)
        for part in ("bumper", "roof_corner", "wheel_hub", "windowsill", "roof_top")
        for side in (("left_", "right_") if part != "roof_top" else ("",))
    ),
}
"""Parts that take turns, and their pulls in pixels, by kind."""


@dataclass(frozen=True, eq=False)
class Task:
    """One pull.

    Args:
        seed: Seed of the picture; only a name here.
        ws: Latents of the picture, shape (1, num_ws, w_dim).
        part: Name of the key point.
        handle: Where the judge found the key point, (x, y) in pixels.
        target: Where the key point should go, (x, y) in pixels.
    """

    seed: int
    ws: Tensor
    part: str
    handle: Point
    target: Point


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of a task.

    Args:
        task: The task.
        left_px: Distance from the target to where the judge sees the part now.
        off_px: Distance from where the drag says the part is to where the judge sees it.
        confidence: The judge's confidence, see `framework.evaluation.drag.keypoints.Findings`.
        status: Status of the drag (`DragStep.status`), or "no edit".
        doubtful: Whether the drag itself doubts that the point shows the part.
        steps: Number of updates.
        seconds: Wall time of the drag.
        ws: Latents of the result, shape (1, num_ws, w_dim).
    """

    task: Task
    left_px: float
    off_px: float
    confidence: float
    status: str
    doubtful: bool
    steps: int
    seconds: float
    ws: Tensor

    @property
    def hit(self) -> bool:
        """Whether the part is within 2 px of its target and the judge is sure of it."""
        return self.left_px <= NEAR_PX and self.confidence >= SURE

    @property
    def wrong(self) -> bool:
        """Whether the part is more than 3 px from where the drag says and the judge is sure of it.

        3 px and not 2: the judge's key point and the patch that the drag follows from there drift
        apart by 1 to 2 px if the part also changes its size or shape.
        """
        return self.off_px > WRONG_PX and self.confidence >= SURE


@dataclass(frozen=True)
class Summary:
    """Numbers of one variant's outcomes: distances in pixels, `hits` of `count`."""

    count: int
    hits: int
    mean_px: float
    median_px: float
    worst_px: float
    steps: float
    seconds: float


def make_tasks(
    generator: Generator,
    judge: KeypointJudge,
    latents: Mapping[int, Tensor],
    count: int,
    kind: str = "wheels outward",
) -> list[Task]:
    """Choose pulls on generated pictures, one per picture, in the order of `latents`.

    Args:
        generator: A generator of toy cars of the judge's size.
        judge: Finds the handles.
        latents: Latents by seed, each (1, num_ws, w_dim).
        count: Number of tasks; fewer are returned if there are too few pictures.
        kind: One of `PULLS`.
    """
    height, width = generator.img_size
    tasks: list[Task] = []
    for seed, ws in latents.items():
        if len(tasks) == count:
            break
        points, confidence = _look(generator, judge, ws)
        part, (dx, dy) = PULLS[kind][len(tasks) % len(PULLS[kind])]
        x, y = points[judge.names.index(part)]
        target = (x + dx, y + dy)
        inside = 0 <= target[0] <= width - 1 and 0 <= target[1] <= height - 1
        if inside and min(confidence) >= SURE:
            tasks.append(Task(seed, ws, part, (x, y), target))
    return tasks


def run_tasks(
    generator: Generator,
    judge: KeypointJudge,
    tasks: Iterable[Task],
    settings: DragSettings | None,
) -> list[Outcome]:
    """Drag each task's point and judge the result; without settings no picture is dragged."""
    outcomes = []
    for task in tasks:
        ws, status, steps, start = task.ws, "no edit", 0, time.perf_counter()
        point, doubtful = task.handle, False
        if settings is not None:
            for step in drag_points(
                generator, task.ws, [task.handle], [task.target], settings=settings
            ):
                ws, status, steps = step.ws, step.status, step.step
                point, doubtful = step.points[0].tolist(), step.doubtful
        seconds = time.perf_counter() - start
        points, confidence = _look(generator, judge, ws)
        index = judge.names.index(task.part)
        left_px = math.dist(points[index], task.target)
        off_px = math.dist(points[index], point)
        sure = confidence[index]
        outcomes.append(Outcome(task, left_px, off_px, sure, status, doubtful, steps, seconds, ws))
    return outcomes


def summarize(outcomes: Sequence[Outcome]) -> Summary:
    """Summarize one variant's outcomes (at least one)."""
    left_px = [outcome.left_px for outcome in outcomes]
    return Summary(
        count=len(outcomes),
        hits=sum(outcome.hit for outcome in outcomes),
        mean_px=fmean(left_px),
        median_px=median(left_px),
        worst_px=max(left_px),
        steps=fmean(outcome.steps for outcome in outcomes),
        seconds=fmean(outcome.seconds for outcome in outcomes),
    )


def _look(
    generator: Generator, judge: KeypointJudge, ws: Tensor
) -> tuple[list[Point], list[float]]:
    """Key points and confidences of the picture of `ws`, rounded to 8 bits."""
    with torch.no_grad():
        findings = judge(to_uint8(generator.synthesis(ws, noise_mode="const")))
    return [(x, y) for x, y in findings.points[0].tolist()], findings.confidence[0].tolist()
