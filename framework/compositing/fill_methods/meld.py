"""Patches that may be turned, mirrored and lighter or darker, and meet by their gradients.

Darabi et al. 2012 (Image melding), by the means at hand: the patches of
`framework.compositing.fill_methods.patches` are searched in copies of the picture that are turned
by quarters and mirrored, too; what they are compared by counts their mean colour less than their
detail; a patch votes with the mean colour of the place it goes to; and the colours and gradients
that were voted for meet in a screened Poisson equation. At the end each pixel is of one patch.
Other angles and scales, and a gain of contrast, are left out.
"""

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.compositing.copies import TURNS, Copies
from framework.compositing.fill_methods.criminisi import small_first, structure_first
from framework.compositing.fill_methods.patches import (
    certainties,
    enlarged,
    fitting_side,
    planes,
    rounds_of,
    vote_weights,
)
from framework.compositing.filling import FillSettings, FillStep
from framework.compositing.patch_field import PatchField, touching
from framework.compositing.poisson import screened
from framework.compositing.scales import Holed, membrane_in

MOST_PIXELS = 1 << 20  # of a picture that is copied; larger ones are searched as they are
_MEAN = 0.5  # weight of a patch's mean colour beside its detail
_MOST_SHIFT = 0.2  # of a patch's mean colour, of 2 from black to white
_PULL, _LAST_PULL = 1.0, 4.0  # weight of gradients beside colours
_NEARNESS = 0.8  # at the end a patch counts less by this for each pixel from its middle


def run(picture: Tensor, hole: Tensor, settings: FillSettings) -> Iterator[FillStep]:
    """Copy patches into a small version of the hole, then meld."""
    side = fitting_side(hole, settings.patch_px)
    levels = small_first(Holed(picture, hole), side)
    current, step = yield from structure_first(levels[0], side)
    yield from melded(levels, current, side, settings.seed, before=step)


def melded(
    levels: Sequence[Holed], start: Tensor, side: int, seed: int, before: int = 0
) -> Iterator[FillStep]:
    """Search and vote by turns, level by level; arguments as of `agreed`."""
    rounds = rounds_of(len(levels))
    step, steps = before, before + sum(rounds)
    current, field, copies = start, None, None
    for number, (level, count) in enumerate(zip(levels, rounds, strict=True)):
        turns = TURNS if level.hole.numel() <= MOST_PIXELS else TURNS[:1]
        known = planes(membrane_in(level))
        last, copies = copies, Copies.of(known, ~level.hole, turns)
        seen = Copies.of(_compared(known, side), ~level.hole, turns).picture
        active, allowed = touching(level.hole, side), ~touching(~copies.known, side)
        if side < 3 or not allowed.any():
            current, step = membrane_in(level), step + count
            yield FillStep(current, "smooth", step, steps)
            continue
        current, of_level = enlarged(current, level), seed * 1000 + number
        if field is None or last is None:
            field = PatchField.random(active, allowed, side, of_level)
        else:
            field = last.finer(field, copies, active, allowed, of_level)
        votes = _Votes(level, copies, side)
        for again in range(count):
            image = planes(current)
            searched = of_level * 100 + again
            field = field.improved(_compared(image, side), seen, iterations=2, seed=searched)
            at_end = number + 1 == len(levels) and again + 1 == count
            current, step = (votes.one if at_end else votes.mean)(field, image), step + 1
            yield FillStep(current, f"level {number + 1} of {len(levels)}", step, steps)


class _Votes:
    """What the patches of a level's field make of its hole.

    Args:
        level: The picture and its hole.
        copies: Where the field's neighbours are.
        side: Side of a patch.
    """

    def __init__(self, level: Holed, copies: Copies, side: int) -> None:
        self._level, self._side, self._certainty = level, side, certainties(level.hole, side)
        colours = copies.picture
        down = F.pad(colours.diff(dim=0), (0, 0, 0, 0, 0, 1))
        across = F.pad(colours.diff(dim=1), (0, 0, 0, 1))
        self._shown = torch.cat([colours, down, across], dim=2)
        self._means = _means(colours, side)

    def mean(self, field: PatchField, image: Tensor) -> Tensor:
        """All patches vote for the colours and gradients of the pixels they share."""
        height, width = self._level.hole.shape
        weights = vote_weights(field, self._certainty) * field.active
        sums, total = field.votes(self._shown, weights, (height, width))
        shifts = (self._shifts(field, image) * weights[..., None]).movedim(2, 0)[:, None]
        spread = F.conv_transpose2d(shifts, torch.ones(1, 1, self._side, self._side))
        sums[:, : image.shape[2]] += spread[:, 0].movedim(0, 2).flatten(0, 1)
        wanted = (sums / total.clamp(min=1e-20)).view(height, width, -1)
        return self._met(wanted, _PULL)

    def one(self, field: PatchField, image: Tensor) -> Tensor:
        """Each pixel is of the patch that counts most there: nothing is averaged."""
        height, width = self._level.hole.shape
        side, channels = self._side, image.shape[2]
        places = field.neighbours.movedim(2, 0).to(image.dtype)
        weights = vote_weights(field, self._certainty) * field.active
        facts = torch.cat([weights[None], places, self._shifts(field, image).movedim(2, 0)])
        facts = F.pad(facts, [side - 1] * 4)
        best = torch.zeros(len(facts), height, width)
        for dy in range(side):
            for dx in range(side):  # the patch whose pixel (dy, dx) this is
                top, left = side - 1 - dy, side - 1 - dx
                of = facts[:, top : top + height, left : left + width].clone()
                of[0] *= _NEARNESS ** math.hypot(dy - side // 2, dx - side // 2)
                of[1:3] += torch.tensor([dy, dx])[:, None, None]
                best = torch.where(of[0] > best[0], of, best)
        y, x = best[1:3].long()
        wanted = self._shown[y, x]
        wanted[..., :channels] += best[3:].movedim(0, 2)
        return self._met(wanted, _LAST_PULL)

    def _shifts(self, field: PatchField, image: Tensor) -> Tensor:
        """How much lighter each patch's place is than its neighbour, (rows, columns, C)."""
        y, x = field.neighbours.long().unbind(dim=2)
        return (_means(image, self._side) - self._means[y, x]).clamp(-_MOST_SHIFT, _MOST_SHIFT)

    def _met(self, wanted: Tensor, pull: float) -> Tensor:
        """Let colours and slopes meet in the hole, within the colours around."""
        picture = planes(self._level.picture)
        colours, down, across = (x.numpy() for x in wanted.split(picture.shape[2], dim=2))
        hole = self._level.hole.numpy()
        solved = screened(colours, (down, across), picture.numpy(), hole, pull)
        known = picture[~self._level.hole]
        met = torch.from_numpy(solved).to(picture.dtype).maximum(known.amin(dim=0))
        met = met.minimum(known.amax(dim=0)).movedim(2, 0)[None]
        return torch.where(self._level.hole, met, self._level.picture)


def _compared(picture: Tensor, side: int) -> Tensor:
    """What patches are compared by, (H, W, C): detail, and a part of the mean around."""
    whole = picture.movedim(2, 0)[None]
    mean = F.avg_pool2d(F.pad(whole, [side // 2] * 4, mode="replicate"), side, stride=1)
    return (whole - (1 - _MEAN) * mean)[0].movedim(0, 2).contiguous()


def _means(picture: Tensor, side: int) -> Tensor:
    """Mean colour of each patch, (H - side + 1, W - side + 1, C)."""
    return F.avg_pool2d(picture.movedim(2, 0)[None], side, stride=1)[0].movedim(0, 2)
