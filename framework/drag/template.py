"""A piece of picture to be found again to a fraction of a pixel (Lucas & Kanade 1981).

Inverse compositional (Baker & Matthews 2004): the gradient and its normal matrix are those of the
template, so that a shift is one linear map of how the picture differs from it, and the shift's
gradient by whatever the picture is made of is a backward pass.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from framework.drag.features import patches

DAMPING = 0.02  # of the mean squared gradient: edges have no place along themselves
NEARER_PX = 0.02  # what a pixel further away costs in the search, in shares of the template
REFINED_PX = 0.7  # most that one sub-pixel step moves
REFINEMENTS = 2


class Template:
    """Discs about K handles in several maps of a picture.

    Args:
        maps: Feature maps of different sizes, the picture among them, each (1, C, h, w).
        scales: What makes their channels comparable, (C,) each.
        handles: (x, y) in image pixels, shape (K, 2).
        radius_px: Of the discs, in pixels of the reduced image.
        img_size: Image's (height, width).
        reduction: How many times smaller than the image maps and discs are looked at.
    """

    def __init__(
        self,
        maps: Sequence[Tensor],
        scales: Sequence[Tensor],
        handles: Tensor,
        radius_px: int,
        img_size: tuple[int, int],
        reduction: int = 1,
    ) -> None:
        self._scales, self._radius_px = scales, radius_px
        self._reduced_size = (img_size[0] // reduction, img_size[1] // reduction)
        sides = zip(reversed(img_size), reversed(self._reduced_size), strict=True)
        self._ratio = handles.new_tensor([whole / reduced for whole, reduced in sides])
        self._last = handles.new_tensor([img_size[1] - 1, img_size[0] - 1])
        reach = torch.arange(-radius_px, radius_px + 1, device=handles.device)
        disc = reach[:, None].square() + reach.square() <= radius_px**2
        self._disc = disc.to(handles.dtype)
        wide = self._look(self.reduced([each.detach() for each in maps]), handles, radius_px + 1)
        self._content = wide[..., 1:-1, 1:-1]
        across = (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) / 2
        down = (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) / 2
        self._gradient = torch.stack([across, down], dim=1) * self._disc
        normal = torch.einsum("kicyx,kjcyx->kij", self._gradient, self._gradient)
        damping = DAMPING * normal.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=1e-12)
        identity = torch.eye(2, dtype=normal.dtype, device=normal.device)
        self._inverse = torch.linalg.inv(normal + damping[:, None, None] * identity)
        self._size = (self._content.abs() * self._disc).sum(dim=(1, 2, 3)).clamp(min=1e-12)

    def reduced(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The maps as the other methods take them: none larger than the reduced image."""
        size = self._reduced_size
        return [adaptive_avg_pool2d(m, size) if m.shape[2] > size[0] else m for m in maps]

    def shift(self, maps: Sequence[Tensor], points: Tensor) -> Tensor:
        """How far the content at `points` has moved on from there, shape (K, 2), differentiable."""
        missing = self._content - self._look(maps, points, self._radius_px)
        shift = torch.einsum("kij,kjcyx,kcyx->ki", self._inverse, self._gradient, missing)
        return shift * self._ratio

    def drift(self, maps: Sequence[Tensor], points: Tensor) -> Tensor:
        """Difference of what is at `points` from the template, as a share of it, shape (K,)."""
        now = self._look(maps, points, self._radius_px)
        return ((now - self._content).abs() * self._disc).sum(dim=(1, 2, 3)) / self._size

    def find(self, maps: Sequence[Tensor], points: Tensor, reach_px: int) -> Tensor:
        """Where the content is: the best move by whole reduced pixels, then sub-pixel steps.

        Args:
            maps: The maps now.
            points: Where it is expected, shape (K, 2).
            reach_px: Half side of the searched square, in pixels of the reduced image.
        """
        window = self._look(maps, points, self._radius_px + reach_px)
        side, n = 2 * reach_px + 1, 2 * self._radius_px + 1
        places = window.unfold(2, n, 1).unfold(3, n, 1)  # (K, C, side, side, n, n)
        missing = (places - self._content[:, :, None, None]).abs() * self._disc
        costs = missing.sum(dim=(1, 4, 5))
        reach = torch.arange(-reach_px, reach_px + 1, device=points.device, dtype=points.dtype)
        apart = (reach[:, None].square() + reach.square()).sqrt()
        costs = costs / self._size[:, None, None] + NEARER_PX * apart
        best = costs.flatten(1).argmin(dim=1)
        moves = torch.stack([reach[best % side], reach[best // side]], dim=1)
        points, longest_px = points + moves * self._ratio, REFINED_PX * self._ratio.mean()
        for _ in range(REFINEMENTS):
            step = self.shift(maps, points).nan_to_num(0, 0, 0)  # drift tells of what is not finite
            step = step * (longest_px / torch.maximum(step.norm(dim=1, keepdim=True), longest_px))
            points = torch.minimum((points + step).clamp(min=0), self._last)
        return points

    def _look(self, maps: Sequence[Tensor], points: Tensor, radius_px: int) -> Tensor:
        points = (points + 0.5) / self._ratio - 0.5
        parts = [
            patches(each * scale[:, None, None], points, radius_px, self._reduced_size)
            for each, scale in zip(maps, self._scales, strict=True)
        ]
        return torch.cat(parts, dim=1)
