"""Does the car go where its point was pulled? Drags on toy cars, judged from the pictures alone.

A task takes one key point that the judge finds in a generated picture and asks for it 6 px away;
the judge then looks for the same key point in the result. Where the drag itself believes its handle
to be plays no part.

Which tasks: parts and axes take turns (`TURNS`). A pull is made only to where drawings have such a
part (`KeypointJudge.usual`): no generator can put a part where it never saw one. Wheels, for one,
differ by 7 px among all drawings, so that most cannot be pulled by 6. If nothing suits the picture
at this turn, the next turns are tried; if both senses of an axis would do, odd seeds take the
negative one. A picture is passed over if the judge is unsure of any of its key points (`SURE`):
there is then no truth to start from.
In a result, unsure counts as missed.
"""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import torch
from torch import Tensor

from framework.drag import DragSettings, drag
from framework.evaluation.keypoints import KeypointJudge
from framework.media.images import to_uint8
from framework.models.stylegan2 import Generator

Point = tuple[float, float]
PULL_PX = 6.0
NEAR_PX = 2.0
SURE = 0.5
"""Least confidence of the judge at which it counts as having found a point."""

TURNS = (
    ("left_roof_corner", "x"),
    ("right_roof_corner", "y"),
    ("right_roof_corner", "x"),
    ("left_wheel_hub", "x"),
    ("left_roof_corner", "y"),
    ("right_wheel_hub", "x"),
)
"""Part and axis of each task, in turn. Wheels stand on the road: they are pulled along it."""


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
        confidence: The judge's, see `framework.evaluation.keypoints.Findings`.
        status: The drag's own (`DragStep.status`), or "no edit".
        steps: Updates made.
        seconds: The drag's wall time.
        ws: Latents of the result, shape (1, num_ws, w_dim).
    """

    task: Task
    left_px: float
    confidence: float
    status: str
    steps: int
    seconds: float
    ws: Tensor

    @property
    def hit(self) -> bool:
        """Whether the part is within 2 px of its target, the judge being sure of it."""
        return self.left_px <= NEAR_PX and self.confidence >= SURE


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
) -> list[Task]:
    """Pulls on generated pictures, one a picture, in the order given.

    Args:
        generator: A generator of toy cars of the judge's size.
        judge: Finds the handles.
        latents: Seeds and their latents, each (1, num_ws, w_dim).
        count: Tasks wanted; fewer come back where the pictures do not suffice.
    """
    tasks: list[Task] = []
    for seed, ws in latents.items():
        if len(tasks) == count:
            break
        points, confidence = _look(generator, judge, ws)
        if min(confidence) < SURE:
            continue
        for turn in range(len(TURNS)):
            part, axis = TURNS[(len(tasks) + turn) % len(TURNS)]
            handle = points[judge.names.index(part)]
            target = _target(handle, axis, judge.usual(part), -1 if seed % 2 else 1)
            if target is not None:
                tasks.append(Task(seed, ws, part, handle, target))
                break
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
        if settings is not None:
            for step in drag(generator, task.ws, [task.handle], [task.target], settings=settings):
                ws, status, steps = step.ws, step.status, step.step
        seconds = time.perf_counter() - start
        points, confidence = _look(generator, judge, ws)
        index = judge.names.index(task.part)
        left_px = math.dist(points[index], task.target)
        outcomes.append(Outcome(task, left_px, confidence[index], status, steps, seconds, ws))
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


def _target(handle: Point, axis: str, usual: tuple[Point, Point], preferred: int) -> Point | None:
    """6 px along the axis, in the preferred sense if the part may be there, else in the other."""
    for sign in (preferred, -preferred):
        pull = (sign * PULL_PX, 0.0) if axis == "x" else (0.0, sign * PULL_PX)
        target = handle[0] + pull[0], handle[1] + pull[1]
        low, high = usual
        if all(a <= v <= b for a, v, b in zip(low, target, high, strict=True)):
            return target
    return None


def _look(
    generator: Generator, judge: KeypointJudge, ws: Tensor
) -> tuple[list[Point], list[float]]:
    """Key points and confidences of the picture of `ws`, as anyone would see it: in 8 bits."""
    with torch.no_grad():
        found = judge(to_uint8(generator.synthesis(ws, noise_mode="const")))
    return [(x, y) for x, y in found.points[0].tolist()], found.confidence[0].tolist()
