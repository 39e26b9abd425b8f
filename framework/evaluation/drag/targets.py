"""Where key points should go: to where a picture of the model has them, or 6 px on.

A target from a *mix*: the first latents of another sample replace the picture's own, and the target
is where the judge sees the part in that picture, so that a solution exists. A *free* pull moves a
part by 6 px, which the model may not draw at all.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from framework.errors import UserError
from framework.evaluation.drag.lab import Lab
from framework.evaluation.drag.measures import SURE
from framework.evaluation.drag.trial import Point

FREE_PX = 6.0
MATES = 50_000  # seeds of the other pictures begin here
MIX_PX, HARD_PX = (2.0, 10.0), (4.0, 10.0)
Pull = tuple[str, float]
WHEELS: Sequence[Pull] = (("left_wheel_hub", -FREE_PX), ("right_wheel_hub", FREE_PX))
ROOFS: Sequence[Pull] = (("left_roof_corner", -FREE_PX), ("right_roof_corner", FREE_PX))
ANY_PART: Sequence[Pull] = tuple(
    (f"{side}{part}", along_px)
    for along_px in (-FREE_PX, FREE_PX)
    for part in ("bumper", "roof_corner", "wheel_hub", "windowsill", "roof_top")
    for side in (("left_", "right_") if part != "roof_top" else ("",))
)
"""Parts and how far they are pulled to the right, in pixels, by kind of task."""
_AT_ONCE = 16
_KNOWN_SHARE = 0.25
_LEAST_SEEN = 64  # pictures after which at least one must show a car
_MOST_SEEN = 8192
Task = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Pair:
    """A picture and its mix: key points (x, y), shape (K, 2), and the least confidence in each."""

    seed: int
    layers: int
    points: np.ndarray
    sure: float
    mixed_points: np.ndarray
    mixed_sure: float


def judge_knows(lab: Lab) -> bool:
    """Whether the model draws toy cars: the judge is sure of at least a quarter of its pictures.

    Of photographs, he thinks he is sure of one in some hundred.
    """
    if lab.generator.img_size != lab.judge.img_size or lab.generator.img_channels != 3:
        return False
    first = islice(pairs(lab), _AT_ONCE)
    return sum(pair.sure >= SURE for pair in first) >= _KNOWN_SHARE * _AT_ONCE


def mixed(lab: Lab, seed: int, layers: int) -> Tensor:
    """The latents of a seed's picture with the first layers of its mate's."""
    mate = lab.latents(MATES + seed)
    return torch.cat([mate[:, :layers], lab.latents(seed)[:, layers:]], dim=1)


def pairs(lab: Lab) -> Iterator[Pair]:
    """All pairs in the order of their seeds; looked at once, for all groups.

    Raises:
        UserError: If the judge does not know what the model draws.
    """
    found = lab.pairs
    for number in range(_MOST_SEEN):
        if number == len(found):
            first = lab.first_seed + number
            found += _look_at(lab, range(first, first + _AT_ONCE))
            if len(found) >= _LEAST_SEEN and all(pair.sure < SURE for pair in found):
                raise UserError("the judge sees no toy car in this model's pictures", "model")
        yield found[number]


def _look_at(lab: Lab, seeds: range) -> list[Pair]:
    layers = [4 + 2 * (seed % 2) for seed in seeds]
    ws = torch.cat([lab.latents(seed) for seed in seeds])
    mixes = torch.cat([mixed(lab, *both) for both in zip(seeds, layers, strict=True)])
    own, other = lab.look(lab.picture(ws)), lab.look(lab.picture(mixes))
    return [
        Pair(
            seed, layers[i], own.points[i], float(own.confidence[i].min()),
            other.points[i], float(other.confidence[i].min()),
        )
        for i, seed in enumerate(seeds)
    ]  # fmt: skip


def mix_tasks(lab: Lab, part: str, between_px: tuple[float, float]) -> Iterator[Task]:
    """Tasks of one point: left and right parts in turn, targets this far away."""
    indices, count = _sides(lab, part), 0
    for pair in pairs(lab):
        index = indices[count % len(indices)]
        if _is_fair(lab, pair, [index], between_px):
            yield _mix_task(lab, pair, [index])
            count += 1


def several_tasks(lab: Lab, number: int) -> Iterator[Task]:
    """Tasks of this many points, drawn by the seed, as far away on average as one point would be.

    Points that hardly move in the mix are part of such a task: they are held.
    """
    for pair in pairs(lab):
        drawn = np.random.default_rng(pair.seed).permutation(len(lab.judge.names))[:number]
        indices = sorted(drawn.tolist())
        if _is_fair(lab, pair, indices, MIX_PX):
            yield _mix_task(lab, pair, indices)


def free_tasks(lab: Lab, pulls: Sequence[Pull]) -> Iterator[Task]:
    """Tasks of one point that is pulled to the left or right, by each of `pulls` in turn."""
    count = 0
    for pair in pairs(lab):
        part, along_px = pulls[count % len(pulls)]
        x, y = map(float, pair.points[lab.judge.names.index(part)])
        if pair.sure >= SURE and _is_inside(lab, (x, y)) and _is_inside(lab, (x + along_px, y)):
            yield {
                "seed": pair.seed,
                "parts": [part],
                "handles": [[x, y]],
                "targets": [[x + along_px, y]],
            }
            count += 1


def _sides(lab: Lab, part: str) -> list[int]:
    return [i for i, name in enumerate(lab.judge.names) if name.endswith(part)]


def _is_fair(lab: Lab, pair: Pair, indices: list[int], between_px: tuple[float, float]) -> bool:
    """Whether the judge is sure of both pictures, and the targets are far enough, and inside."""
    targets = pair.mixed_points[indices].tolist()
    handles = pair.points[indices].tolist()
    far_px = sum(map(math.dist, handles, targets)) / len(indices)
    sure = min(pair.sure, pair.mixed_sure) >= SURE
    inside = all(_is_inside(lab, (x, y)) for x, y in [*handles, *targets])
    return sure and inside and between_px[0] <= far_px <= between_px[1]


def _is_inside(lab: Lab, point: Point) -> bool:
    height, width = lab.generator.img_size
    return 0 <= point[0] <= width - 1 and 0 <= point[1] <= height - 1


def _mix_task(lab: Lab, pair: Pair, indices: list[int]) -> Task:
    return {
        "seed": pair.seed,
        "layers": pair.layers,
        "parts": [lab.judge.names[index] for index in indices],
        "handles": pair.points[indices].tolist(),
        "targets": pair.mixed_points[indices].tolist(),
    }
