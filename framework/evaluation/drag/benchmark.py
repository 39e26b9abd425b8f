"""Does the car go where its point was pulled? Drags on toy cars, judged from the pictures alone.

A task takes one key point that the judge finds in a generated picture and asks for it 6 px away;
the judge then looks for the same key point in the result. Where the drag itself believes its handle
to be counts only for `Outcome.wrong`, whether the drag deceives itself.

Which tasks: a kind of pull (`PULLS`) names the parts that take turns and where each is pulled.
Wheels can be pulled further than drawings ever have them. Roof corners differ by up to 14 px among
drawings; a roof is an edge without a place along it, and a model of the first look's drawings knows
roofs only in jumps from one body to another: the hard case, which is why kinds are told apart.
A picture is passed over if the judge is unsure of any of its key points (`SURE`), there is then no
truth to start from, or if the target would lie outside the picture. In a result, unsure counts as
missed.
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
"""Least confidence of the judge at which it counts as having found a point."""

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
"""Parts and their pulls in pixels, which take turns, by kind."""


@dataclass(frozen=True, eq=False)
class Task:
    """One pull.

    Args:
        seed: What the picture was made from; only a name here.
        ws: Its latents, shape (1, num_ws, w_dim).
        part: Name of the key point.
        handle: Where the judge saw it, (x, y) in pixels.
        target: Where it should go, (x, y) in pixels.
    """

    seed: int
    ws: Tensor
    part: str
    handle: Point
    target: Point


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a task.

    Args:
        task: The task.
        left_px: Distance from the target to where the judge sees the part now.
        off_px: Distance from where the drag says the part is to where the judge sees it.
        confidence: The judge's, see `framework.evaluation.drag.keypoints.Findings`.
        status: The drag's own (`DragStep.status`), or "no edit".
        doubtful: Whether the drag itself doubts that the point shows the part.
        steps: Updates made.
        seconds: The drag's wall time.
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
        """Whether the part is within 2 px of its target, the judge being sure of it."""
        return self.left_px <= NEAR_PX and self.confidence >= SURE

    @property
    def wrong(self) -> bool:
        """Whether the part is more than 3 px from where the drag says it is, the judge being sure.

        3 px and not 2: the judge's key point and what the drag follows, a patch that began at it,
        part by 1 to 2 px where a part also changes its size or shape.
        """
        return self.off_px > WRONG_PX and self.confidence >= SURE


@dataclass(frozen=True)
class Summary:
    """Outcomes of one variant, in numbers: distances in pixels, `hits` of `count`."""

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
    """Pulls on generated pictures, one a picture, in the order given.

    Args:
        generator: A generator of toy cars of the judge's size.
        judge: Finds the handles.
        latents: Seeds and their latents, each (1, num_ws, w_dim).
        count: Tasks wanted; fewer come back where the pictures do not suffice.
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
    """Drag each task's point and judge the result; None for settings leaves the pictures alone."""
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
    """One variant's outcomes (at least one) in numbers."""
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
    """Key points and confidences of the picture of `ws`, as anyone would see it: in 8 bits."""
    with torch.no_grad():
        found = judge(to_uint8(generator.synthesis(ws, noise_mode="const")))
    return [(x, y) for x, y in found.points[0].tolist()], found.confidence[0].tolist()
