"""Fields of nearest patches between pictures: beginnings, finer scales, and what patches vote for.

Pictures are tensors (H, W, C) here, as `framework.ops.nearest_patches` takes them.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.compositing.patch_tree import likely_patches
from framework.ops.nearest_patches import nearest_patches


@dataclass(frozen=True, eq=False)
class PatchField:
    """For each patch of a picture a similar one of another; patches are named by their corners.

    Args:
        neighbours: (y, x) of the similar patch, int32 (rows, columns, 2).
        distances: Summed square differences, float32 (rows, columns); zero where nothing is active.
        active: Patches that have a neighbour, bool (rows, columns).
        allowed: Patches that may be neighbours, bool (rows, columns) of the other picture.
        side: Side of a patch in pixels.
    """

    neighbours: Tensor
    distances: Tensor
    active: Tensor
    allowed: Tensor
    side: int

    @classmethod
    def random(cls, active: Tensor, allowed: Tensor, side: int, seed: int = 0) -> "PatchField":
        """Begin with random patches among the allowed; at least one is."""
        rng = torch.Generator().manual_seed(seed)
        choices = allowed.nonzero().int()
        picks = torch.randint(len(choices), active.shape, generator=rng)
        return cls(choices[picks], torch.zeros(active.shape), active, allowed, side)

    @classmethod
    def likely(
        cls, target: Tensor, source: Tensor, active: Tensor, allowed: Tensor, side: int
    ) -> "PatchField":
        """Begin near: with the leaves of a tree of the source's patches; see `likely_patches`."""
        neighbours = likely_patches(target, source, active, allowed, side)
        return cls(neighbours, torch.zeros(active.shape), active, allowed, side)

    def improved(
        self, target: Tensor, source: Tensor, iterations: int = 5, seed: int = 0
    ) -> "PatchField":
        """Search nearer neighbours between two pictures (H, W, C); see `nearest_patches`."""
        neighbours, distances = nearest_patches(
            target, source, self.active, self.allowed, self.neighbours, self.side, iterations, seed
        )
        return replace(self, neighbours=neighbours, distances=distances)

    def finer(self, active: Tensor, allowed: Tensor, seed: int = 0) -> "PatchField":
        """Carry the field over to larger versions of both pictures; moves grow with them.

        Args:
            active: The larger picture's active patches.
            allowed: The other larger picture's allowed patches.
            seed: Seed of neighbours where the move leads to none that is allowed.
        """
        result = PatchField.random(active, allowed, self.side, seed)
        y, x = (torch.arange(count) for count in active.shape)
        (rows, columns), last = self.active.shape, self.side - 1
        # Pictures are `side - 1` pixels longer than their fields.
        up = (active.shape[0] + last) / (rows + last), (active.shape[1] + last) / (columns + last)
        small_y = (y / up[0]).long().clamp(max=rows - 1)[:, None]
        small_x = (x / up[1]).long().clamp(max=columns - 1)[None]
        own = torch.stack(torch.broadcast_tensors(small_y, small_x), dim=2)
        held = self.neighbours[small_y, small_x].long()
        moves = ((held - own) * torch.tensor(up)).round().long()
        to = torch.stack(torch.broadcast_tensors(y[:, None], x[None]), dim=2) + moves
        limits = torch.tensor(allowed.shape)
        to = to.clamp(min=0).minimum(limits - 1)
        fits = allowed[to[..., 0], to[..., 1]] & self.active[small_y, small_x]
        neighbours = torch.where(fits[..., None], to.int(), result.neighbours)
        return replace(result, neighbours=neighbours)

    def votes(
        self, source: Tensor, weights: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Let every active patch vote for its pixels, with what its neighbour shows there.

        Args:
            source: The neighbours' picture (h, w, C).
            weights: Weight of each patch, (rows, columns).
            size: (H, W) of the result.

        Returns:
            The weighted sum of votes (H * W, C), and the sum of weights (H * W, 1).
        """
        (height, width), channels = size, source.shape[2]
        places, held = self.active.nonzero(), self.neighbours[self.active].long()
        weight = weights[self.active][:, None].to(source.dtype)
        sums = source.new_zeros(height * width, channels + 1)
        flat = torch.cat([source, torch.ones_like(source[..., :1])], dim=2).flatten(0, 1)
        pixels = places[:, 0] * width + places[:, 1]
        seen = held[:, 0] * source.shape[1] + held[:, 1]
        for dy in range(self.side):
            for dx in range(self.side):
                shown = flat[seen + dy * source.shape[1] + dx]
                sums.index_add_(0, pixels + dy * width + dx, weight * shown)
        return sums[:, :-1], sums[:, -1:]


def touching(pixels: Tensor, side: int) -> Tensor:
    """Patches that hold any of some pixels: bool (H, W) to bool (H - side + 1, W - side + 1)."""
    return F.max_pool2d(pixels[None, None].float(), side, stride=1)[0, 0] > 0


def depths(hole: Tensor, most: int = 32) -> Tensor:
    """Steps from each pixel of a hole to the nearest one outside (chessboard), at most `most`.

    Args:
        hole: bool (H, W). The picture's border is no way out.
        most: Steps after which nothing more is counted.

    Returns:
        int64 (H, W), 0 outside the hole.
    """
    left, depth = hole.clone(), hole.long()
    for _ in range(most - 1):
        outside = F.max_pool2d(~left[None, None] * 1.0, 3, stride=1, padding=1)[0, 0] > 0
        left &= ~outside
        if not left.any():
            break
        depth += left
    return depth
