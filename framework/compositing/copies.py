"""Copies of a picture below each other, turned and mirrored: one source of patches for a field."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.compositing.patch_field import PatchField

Turn = tuple[int, bool]  # quarters counter-clockwise, and whether it is mirrored after that
TURNS: tuple[Turn, ...] = tuple((quarters, flip) for flip in (False, True) for quarters in range(4))


@dataclass(frozen=True, eq=False)
class Copies:
    """Copies of a picture, one below the other, with a line between.

    Args:
        picture: All of them, (h, w, C).
        known: Pixels that are known, bool (h, w); neither the lines nor what is beside a copy is.
        tops: First row of each copy.
        sizes: (height, width) of each copy.
    """

    picture: Tensor
    known: Tensor
    tops: Tensor
    sizes: Tensor

    @classmethod
    def of(cls, picture: Tensor, known: Tensor, turns: Sequence[Turn] = TURNS) -> "Copies":
        """Copy a picture (H, W, C) whose pixels are known or not, bool (H, W)."""
        longest, pictures, masks, sizes = max(known.shape), [], [], []
        for quarters, flip in turns:
            turned = [torch.rot90(x, quarters) for x in (picture, known)]
            one, mask = (x.flip(1) if flip else x for x in turned)
            beside = longest - mask.shape[1]
            # Continued by its border, so that differences there are none.
            planes = F.pad(one.movedim(2, 0)[None], (0, beside, 0, 1), mode="replicate")
            pictures.append(planes[0].movedim(0, 2))
            masks.append(F.pad(mask, (0, beside, 0, 1)))
            sizes.append([*mask.shape])
        heights = torch.tensor([0, *(size[0] + 1 for size in sizes[:-1])])
        return cls(torch.cat(pictures), torch.cat(masks), heights.cumsum(0), torch.tensor(sizes))

    def finer(
        self, field: PatchField, larger: "Copies", active: Tensor, allowed: Tensor, seed: int
    ) -> PatchField:
        """Carry a field over to larger copies; see `PatchField.finer`.

        A patch is turned with its copy, so steps between neighbours are the same in all of them.
        """
        result = PatchField.random(active, allowed, field.side, seed)
        (rows, columns), last = field.active.shape, field.side - 1
        up = torch.tensor([(active.shape[0] + last) / (rows + last),
                           (active.shape[1] + last) / (columns + last)])  # fmt: skip
        own = torch.stack(torch.meshgrid(*map(torch.arange, active.shape), indexing="ij"), dim=2)
        small = (own / up).long().minimum(torch.tensor([rows, columns]) - 1)
        at = field.neighbours[small[..., 0], small[..., 1]].long()
        copy = torch.bucketize(at[..., 0].contiguous(), self.tops, right=True) - 1
        there = copy < len(larger.tops)
        copy = copy.clamp(max=len(larger.tops) - 1)
        inner = at - F.pad(self.tops[copy][..., None], (0, 1))
        to = (inner * (larger.sizes[copy] / self.sizes[copy]) + own - small * up).round().long()
        to = to.clamp(min=0).minimum(larger.sizes[copy] - field.side)
        to = to + F.pad(larger.tops[copy][..., None], (0, 1))
        fits = there & allowed[to[..., 0], to[..., 1]] & field.active[small[..., 0], small[..., 1]]
        return replace(result, neighbours=torch.where(fits[..., None], to.int(), result.neighbours))
