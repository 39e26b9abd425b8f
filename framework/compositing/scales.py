"""A picture with a hole at ever smaller sizes: what is known is averaged, the hole is not."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_KNOWN = 0.5  # of the pixels behind one: fewer, and it belongs to the hole


@dataclass(frozen=True, eq=False)
class Holed:
    """A picture, float32 (1, C, H, W), and its hole, bool (H, W)."""

    picture: Tensor
    hole: Tensor

    def smaller(self, size: tuple[int, int]) -> "Holed":
        """Average the known pixels behind each of a smaller picture."""
        known = (~self.hole)[None, None].to(self.picture.dtype)
        share = F.adaptive_avg_pool2d(known, size)
        colours = F.adaptive_avg_pool2d(self.picture * known, size) / share.clamp(min=1e-6)
        return Holed(colours, share[0, 0] < _KNOWN)


def scales(whole: Holed, least_px: int, factor: float = 2.0) -> list[Holed]:
    """Return a picture at several sizes, coarse to fine, the last one as it is.

    The coarsest has a shorter side of at least `least_px` and, if possible, a hole that is no
    wider than that.
    """
    levels = [whole]
    while True:
        height, width = levels[0].hole.shape
        size = round(height / factor), round(width / factor)
        if min(size) < least_px or _depth(levels[0].hole) <= least_px // 2:
            return levels
        level = whole.smaller(size)
        if not level.hole.any() or level.hole.all():
            return levels
        levels.insert(0, level)


def _depth(hole: Tensor) -> int:
    """Steps from the middle of the hole to its border, counted to 16."""
    left = hole
    for depth in range(16):
        if not left.any():
            return depth
        outside = F.max_pool2d((~left)[None, None].float(), 3, stride=1, padding=1)[0, 0] > 0
        left = left & ~outside
    return 16


def membrane_in(level: Holed) -> Tensor:
    """Return the picture with a smooth hole, by push and pull (Gortler et al. 1996, section 3.4).

    What is known is averaged at ever smaller sizes, and fills what is unknown on the way back.
    """
    known = (~level.hole)[None, None].to(level.picture.dtype)
    return _pulled(level.picture * known, known)


def _pulled(sums: Tensor, weight: Tensor) -> Tensor:
    """Fill where the weight is below 1 from the picture at half the size."""
    colours = sums / weight.clamp(min=1e-6)
    if max(sums.shape[2:]) < 2 or bool((weight >= 1).all()):
        return colours
    by = min(2, sums.shape[2]), min(2, sums.shape[3])
    half = [F.avg_pool2d(x, by, ceil_mode=True, count_include_pad=False) for x in (sums, weight)]
    full = half[1].clamp(max=0.25) * 4  # one of four pixels is enough to count as known
    small = _pulled(half[0] / half[1].clamp(min=1e-6) * full, full)
    up = F.interpolate(small, sums.shape[2:], mode="bilinear")
    return torch.where(weight > 0, colours * weight + up * (1 - weight), up)
