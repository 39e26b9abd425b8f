"""Measures of an edit: pictures before and after, and where a judge sees the key points in them."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from framework.evaluation.drag.lab import Lab
from framework.evaluation.drag.trial import Point, Trial
from framework.media.images import to_float

AWAY_PX = 10.0
NEAR_PX, NEARER_PX, WRONG_PX = 2.0, 1.0, 3.0
SURE = 0.5
"""Confidence from which the judge counts as having found a point."""
LEAST_REALISM, LEAST_SHARPNESS = -1.0, 0.75
REPAINTED_LEVELS = 25.0
AROUND_PX, WHEEL_PX = 5.0, 3.0  # from key points to the edge of a car; more below the wheels' hubs
_ROOF = ("windowsill", "roof_corner")
OUTLINE = (
    "left_bumper", *(f"left_{part}" for part in _ROOF), "roof_top",
    *(f"right_{part}" for part in reversed(_ROOF)), "right_bumper",
)  # fmt: skip
"""Key points around the body of a car."""


def measure_edit(
    lab: Lab,
    before: np.ndarray,
    after: np.ndarray,
    handles: Sequence[Point],
    targets: Sequence[Point],
    parts: Sequence[str],
    trial: Trial | None,
) -> dict[str, Any]:
    """Everything that is said of a drag of key points, together; JSON values.

    Args:
        lab: The judges.
        before: Picture before the drag, uint8 (H, W, 3).
        after: Picture after it.
        handles: Points (x, y) before the drag.
        targets: Where they should be.
        parts: Names of these key points.
        trial: The drag; None for a baseline.
    """
    findings = lab.look(np.stack([before, after]))
    old, new = findings.points.astype(float)
    chosen = [lab.judge.names.index(part) for part in parts]
    seen = [(float(x), float(y)) for x, y in new[chosen]]
    sure = float(findings.confidence[1, chosen].min())
    missed = [math.dist(a, b) for a, b in zip(seen, targets, strict=True)]
    moved_px = [math.dist(a, b) for a, b in zip(old, new, strict=True)]
    others = [moved for index, moved in enumerate(moved_px) if index not in chosen]
    realism = lab.realism(before, after)
    sharp = sharpness(after) / max(sharpness(before), 1e-12)
    named = [dict(zip(lab.judge.names, points, strict=True)) for points in (old, new)]
    repainted = repainted_levels(before, after, *named)
    facts: dict[str, Any] = {
        "px": fmean(missed),
        "farthest_px": max(missed),
        "under_2": max(missed) < NEAR_PX,
        "under_1": max(missed) < NEARER_PX,
        "judge_confidence": sure,
        "others_px": fmean(others) if others else None,
        "outside": outside(before, after, [*handles, *targets]),
        "realism": realism,
        "realism_to_a_stranger": lab.realism_to_a_stranger(before, after),
        "sharp": sharp,
        "repainted_levels": repainted,
        "repainted": repainted > REPAINTED_LEVELS,
        "identity": lab.perceptual(before, after),
        "good": max(missed) < NEAR_PX
        and sharp >= LEAST_SHARPNESS
        and (realism is None or realism > LEAST_REALISM),
    }
    marks = {"arrows": list(zip(handles, targets, strict=True))}, {"rings": targets, "seen": seen}
    if trial is not None:
        off = [math.dist(a, b) for a, b in zip(seen, trial.points, strict=True)]
        facts |= {"off_px": max(off), "wrong": max(off) > WRONG_PX and sure >= SURE, **trial.facts}
        marks[1]["points"] = trial.points
    return facts | {"marks": {"start": marks[0], "result": marks[1]}}


def sharpness(picture: np.ndarray) -> float:
    """Mean squared gradient of a picture, uint8 (H, W, C), in the range [-1, 1]."""
    image = to_float(picture)
    return float(image.diff(dim=1).square().mean() + image.diff(dim=2).square().mean())


def outside(before: np.ndarray, after: np.ndarray, points: Sequence[Point]) -> float:
    """Mean change more than 10 px from all points, of a range of 1."""
    rows, columns = np.mgrid[: before.shape[0], : before.shape[1]]
    away = np.ones(before.shape[:2], bool)
    for x, y in points:
        away &= (columns - x) ** 2 + (rows - y) ** 2 > AWAY_PX**2
    return mean_change(before, after, away)


def mean_change(before: np.ndarray, after: np.ndarray, where: np.ndarray) -> float:
    """Mean absolute change where a mask (H, W) is not 0, of a range of 1; 0 if it is 0 all over."""
    change = np.abs(after.astype(float) - before).mean(axis=2) / 255
    return float((change * where).sum() / max(float(where.sum()), 1e-12))


def repainted_levels(
    before: np.ndarray,
    after: np.ndarray,
    old: Mapping[str, Sequence[float]],
    new: Mapping[str, Sequence[float]],
) -> float:
    """By how many 8-bit levels the mean colour of car or ground changed: the larger of the two.

    The car is the outline through its key points, where the judge sees them in each picture; the
    ground is sky and road, what lies outside a box about them. Of a colour's three
    channels the mean absolute difference counts.

    Args:
        before: Picture before, uint8 (H, W, 3).
        after: Picture after.
        old: Key points (x, y) in `before` by name.
        new: Key points in `after`.
    """
    levels = []
    for area in (car_area, background_area):
        first, second = area(before.shape[:2], old), area(after.shape[:2], new)
        if first.any() and second.any():
            colours = before[first].mean(axis=0), after[second].mean(axis=0)
            levels.append(float(np.abs(colours[1] - colours[0]).mean()))
    return max(levels, default=0.0)


def car_area(size: tuple[int, ...], points: Mapping[str, Sequence[float]]) -> np.ndarray:
    """The outline through a car's key points, wheels left out, boolean (H, W)."""
    area = Image.new("1", (size[1], size[0]))
    corners = [(float(points[name][0]), float(points[name][1])) for name in OUTLINE]
    ImageDraw.Draw(area).polygon(corners, fill=1)
    return np.asarray(area)


def background_area(size: tuple[int, ...], points: Mapping[str, Sequence[float]]) -> np.ndarray:
    """What lies outside a box about a car's key points, sky and road, boolean (H, W)."""
    places = np.array(list(points.values()), float)
    (left, top), (right, bottom) = places.min(axis=0) - AROUND_PX, places.max(axis=0) + AROUND_PX
    rows, columns = np.mgrid[: size[0], : size[1]]
    within = (columns > left) & (columns < right) & (rows > top) & (rows < bottom + WHEEL_PX)
    return ~within
