"""Structure first: the hole is copied full, patch by patch, where edges run into it (Criminisi).

Criminisi et al. 2004 (Region filling and object removal by exemplar-based image inpainting), on a
small picture, where looking at all patches is quick; finer sizes follow by the field
(`framework.compositing.fill_methods.patches`).
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.compositing.fill_methods.patches import COARSEST_OF_PATCH, agreed, fitting_side
from framework.compositing.filling import FillSettings, FillStep
from framework.compositing.patch_field import touching
from framework.compositing.scales import Holed, membrane_in, scales

MOST_PIXELS = 128 * 128  # of the picture that is filled by looking at all patches
_LEAST_DATA = 1e-3  # or flat fronts would have no order
_SHOWN_EVERY = 8  # patches between two steps that are shown


def run(picture: Tensor, hole: Tensor, settings: FillSettings) -> Iterator[FillStep]:
    """Copy patches into a small version of the hole, then let patches of finer ones agree."""
    side = fitting_side(hole, settings.patch_px)
    levels = small_first(Holed(picture, hole), side)
    current, step = yield from structure_first(levels[0], side)
    yield from agreed(levels, current, side, settings.seed, before=step)


def small_first(whole: Holed, side: int) -> list[Holed]:
    """Return a picture at several sizes, the first one small enough to look at all patches."""
    levels = scales(whole, COARSEST_OF_PATCH * side)
    while len(levels) > 1 and levels[1].hole.numel() <= MOST_PIXELS:
        levels = levels[1:]
    return levels


def structure_first(level: Holed, side: int) -> Generator[FillStep, None, tuple[Tensor, int]]:
    """Copy patches into a small picture; return it, and the number of patches."""
    current, step = membrane_in(level), 0
    if side >= 3 and not touching(level.hole, side).all():
        for step, current in enumerate(copied(level, side), start=1):
            if step % _SHOWN_EVERY == 0:
                steps = step + int(level.hole.sum()) // side  # about
                yield FillStep(current, "structure first", step, steps)
    return current, step


@dataclass(eq=False)
class _Front:
    """A picture that is filled from the border of its hole inwards.

    Args:
        picture: (C, H, W).
        known: bool (H, W).
        confidence: C(p), float32 (H, W).
        side: Side of a patch in pixels.
    """

    picture: Tensor
    known: Tensor
    confidence: Tensor
    side: int

    def priorities(self) -> Tensor:
        """P(p) = C(p) D(p) on the front, equation 1; -1 elsewhere."""
        front = ~self.known & (_spread(self.known.float()) > 0)
        mean = F.avg_pool2d(self.confidence[None], self.side, 1, self.side // 2)[0]
        grey = self.picture.mean(dim=0)
        across, down = _slopes(grey)
        inner = _spread((~self.known).float()) == 0  # slopes between known pixels alone
        strength = (across.square() + down.square()) * inner
        _, at = F.max_pool2d(strength[None], self.side, 1, self.side // 2, return_indices=True)
        at = at[0].flatten()
        across, down = (x.flatten()[at].view_as(grey) * 1.0 for x in (across * inner, down * inner))
        normal_x, normal_y = _slopes(F.avg_pool2d(self.known[None].float(), 3, 1, 1)[0])
        length = (normal_x.square() + normal_y.square()).sqrt().clamp(min=1e-6)
        data = (down * normal_x - across * normal_y).abs() / length + _LEAST_DATA
        return torch.where(front, mean * data, -1.0)

    def copy_best(self, allowed: Tensor) -> None:
        """Fill the unknown part of the most important patch from the nearest one, equation 2."""
        height, width = self.known.shape
        priorities = self.priorities()
        y, x = divmod(int(priorities.argmax()), width)
        half, side = self.side // 2, self.side
        top, left = (min(max(0, at - half), of - side) for at, of in ((y, height), (x, width)))
        here = (slice(top, top + side), slice(left, left + side))
        mask, patch = self.known[here].float(), self.picture[(slice(None), *here)]
        squares = self.picture.square().sum(dim=0, keepdim=True)
        kernel = torch.cat([-2 * mask * patch, mask[None]])[None]
        distance = F.conv2d(torch.cat([self.picture, squares])[None], kernel)[0, 0]
        best = int(distance.masked_fill(~allowed, torch.inf).argmin())
        v, u = divmod(best, allowed.shape[1])
        seen = self.picture[:, v : v + side, u : u + side].clone()
        new = ~self.known[here]
        patch[:, new] = seen[:, new]
        self.confidence[here][new] = self.confidence[here].mean()
        self.known[here] = True


def copied(level: Holed, side: int) -> Iterator[Tensor]:
    """Copy whole patches, the most important first; yields the picture after each."""
    start = membrane_in(level)
    front = _Front(start[0].clone(), ~level.hole, (~level.hole).float(), side)
    allowed = ~touching(level.hole, side)
    while not front.known.all():
        front.copy_best(allowed)
        yield front.picture[None]


def _spread(values: Tensor) -> Tensor:
    """The largest of each pixel and its eight neighbours."""
    return F.max_pool2d(values[None], 3, 1, 1)[0]


def _slopes(values: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences across and down."""
    padded = F.pad(values[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    across = (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2
    return across, (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2
