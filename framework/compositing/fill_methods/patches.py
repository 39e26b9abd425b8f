"""Patches that agree with each other: coarse to fine, by expectation and maximisation.

Wexler et al. 2007 (Space-time completion of video) on the nearest-neighbour field of Barnes et al.
2009: each patch that touches the hole looks for its nearest among those that are known, and all
patches vote for the pixels they share.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.compositing.filling import FillSettings, FillStep
from framework.compositing.patch_field import PatchField, depths, touching
from framework.compositing.scales import Holed, membrane_in, scales

COARSEST_OF_PATCH = 3  # shorter side of the coarsest picture, in patches
MOST_ROUNDS, LEAST_ROUNDS = 16, 4  # from coarse to fine
_GAMMA = 1.3  # weights fall by this for each step into the hole (Wexler et al. 2007, section 3.3)
_QUANTILE = 0.75  # of the distances: the width of the similarity (section 3.2)


def run(picture: Tensor, hole: Tensor, settings: FillSettings) -> Iterator[FillStep]:
    """Fill from the coarsest picture to the finest."""
    side = fitting_side(hole, settings.patch_px)
    levels = scales(Holed(picture, hole), COARSEST_OF_PATCH * side)
    return agreed(levels, membrane_in(levels[0]), side, settings.seed)


def agreed(
    levels: Sequence[Holed], start: Tensor, side: int, seed: int, before: int = 0
) -> Iterator[FillStep]:
    """Search and vote by turns, level by level.

    Args:
        levels: The picture and its hole, coarse to fine.
        start: What the coarsest begins with, float32 (1, C, H, W).
        side: Side of a patch; 1 where no larger one is known, then the filling is smooth.
        seed: Seed of the searches.
        before: Steps that were done before.
    """
    rounds = rounds_of(len(levels))
    step, steps = before, before + sum(rounds)
    current, field = start, None
    for number, (level, count) in enumerate(zip(levels, rounds, strict=True)):
        active, allowed = touching(level.hole, side), ~touching(level.hole, side)
        if side < 3 or not allowed.any():
            current, step = membrane_in(level), step + count
            yield FillStep(current, "smooth", step, steps)
            continue
        certainty, of_level = certainties(level.hole, side), seed * 1000 + number
        current = enlarged(current, level)
        if field is None:
            field = PatchField.random(active, allowed, side, of_level)
        else:
            field = field.finer(active, allowed, of_level)
            current = voted(level, field, certainty)
        for again in range(count):
            image = planes(current)
            field = field.improved(image, image, iterations=2, seed=of_level * 100 + again)
            current, step = voted(level, field, certainty), step + 1
            yield FillStep(current, f"level {number + 1} of {len(levels)}", step, steps)


def fitting_side(hole: Tensor, patch_px: int) -> int:
    """The largest odd side up to `patch_px` of which some patch is known; 1 if there is none."""
    for side in range(patch_px, 1, -2):
        if side <= min(hole.shape) and not touching(hole, side).all():
            return side
    return 1


def certainties(hole: Tensor, side: int) -> Tensor:
    """Weights of patches by how deep in the hole their middle is."""
    half, (height, width) = side // 2, hole.shape
    return _GAMMA ** -depths(hole)[half : height - half, half : width - half].float()


def voted(level: Holed, field: PatchField, certainty: Tensor) -> Tensor:
    """Replace the hole by the weighted mean of all votes for its pixels."""
    size = (level.hole.shape[0], level.hole.shape[1])
    sums, total = field.votes(planes(level.picture), vote_weights(field, certainty), size)
    mean = (sums / total.clamp(min=1e-20)).reshape(1, *size, -1).movedim(3, 1)
    return torch.where(level.hole, mean, level.picture)


def vote_weights(field: PatchField, certainty: Tensor) -> Tensor:
    """Weights of votes: those of patches by their place, and the more the nearer the neighbour."""
    distances = field.distances[field.active]
    width = torch.quantile(distances[:: 1 + len(distances) // 100_000], _QUANTILE).clamp(min=1e-6)
    return torch.exp(-field.distances / (2 * width)) * certainty + 1e-12


def enlarged(current: Tensor, level: Holed) -> Tensor:
    """Put what a coarser level shows into the hole of a finer one."""
    height, width = level.hole.shape
    larger = F.interpolate(current, (height, width), mode="bilinear")
    return torch.where(level.hole, larger, level.picture)


def planes(picture: Tensor) -> Tensor:
    """Turn (1, C, H, W) into (H, W, C)."""
    return picture[0].movedim(0, 2).contiguous()


def rounds_of(count: int) -> list[int]:
    """Rounds of the levels, coarse to fine."""
    if count == 1:
        return [MOST_ROUNDS]
    fall = (MOST_ROUNDS - LEAST_ROUNDS) / (count - 1)
    return [round(MOST_ROUNDS - fall * level) for level in range(count)]
