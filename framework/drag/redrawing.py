"""How far a generator's picture is from one that it is to show: coarse and fine, the changed first.

At one size alone, a part that has to move a few pixels finds no way: nothing overlaps.
"""

import torch.nn.functional as F
from torch import Tensor

SHRUNK = (1, 2, 4, 8)  # times smaller than the picture
CHANGED, AROUND_PX = 0.1, 5  # of a range of 2: more is a change, and what lies this wide about it


def importance(old: Tensor, new: Tensor) -> Tensor:
    """Weights (1, 1, H, W) of mean 1: half for what changes from (1, C, H, W) to another picture.

    The other half is for everything.
    """
    changed = ((new - old).abs().mean(dim=1, keepdim=True) > CHANGED).to(old.dtype)
    changed = F.max_pool2d(changed, AROUND_PX, stride=1, padding=AROUND_PX // 2)
    weights = 1 + changed / changed.mean().clamp(min=1e-3)
    return weights / weights.mean()


def apart(shown: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean absolute difference of pictures (1, C, H, W), summed over sizes, a scalar."""
    total = shown.new_zeros(())
    for times in SHRUNK:
        if times <= min(shown.shape[2:]):
            difference = F.avg_pool2d(shown - wanted, times).abs()
            total = total + times * (difference * F.avg_pool2d(weights, times)).mean()
    return total
