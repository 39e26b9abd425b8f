"""Control of the augmentation's strength by the discriminator's certainty."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from framework.errors import UserError


@dataclass(frozen=True)
class AdaSettings:
    """The rule of Karras et al. 2020, section 3, with an upper limit added.

    Attributes:
        target: Mean sign of the discriminator's outputs for real pictures to aim at.
        interval: Batches between changes of the strength.
        ada_kimg: Thousands of pictures in which the strength may go from 0 to 1; 100 suits
            transfer.
        p_max: Upper limit of the strength. If a discriminator overfits in spite of all, an
            unlimited p goes on rising and the changes show up in generated pictures.
    """

    target: float = 0.6
    interval: int = 4
    ada_kimg: float = 500.0
    p_max: float = 0.8

    def __post_init__(self) -> None:
        limits = {
            "target": (-1 < self.target < 1, "between -1 and 1"),
            "interval": (self.interval >= 1, "at least 1 batch"),
            "ada_kimg": (self.ada_kimg > 0, "more than 0"),
            "p_max": (0 < self.p_max <= 1, "more than 0 and at most 1"),
        }
        for name, (holds, rule) in limits.items():
            if not holds:
                raise UserError(f"ada {name} {getattr(self, name)}: must be {rule}")


def real_signs(real_logits: Tensor) -> Tensor:
    """Return the sum of the signs of outputs (N, 1) for real pictures, and their number: (2,)."""
    signs = real_logits.detach().float().sign()
    return torch.stack([signs.sum(), signs.new_full((), signs.numel())])


def next_p(p: float, sign_sum: float, count: float, settings: AdaSettings) -> float:
    """Return the strength one step closer to the target (appendix B's heuristic r_t).

    Args:
        p: Strength so far.
        sign_sum: Sum of sign(D(real)) since the last step, over all processes.
        count: Real pictures judged since then, over all processes.
        settings: Target, speed and limit.

    Returns:
        Strength in [0, p_max]; `p` itself if nothing finite was seen.
    """
    if count <= 0 or not math.isfinite(sign_sum):
        return p
    above = sign_sum / count - settings.target
    direction = (above > 0) - (above < 0)
    step = direction * count / (settings.ada_kimg * 1000)
    return min(max(p + step, 0.0), settings.p_max)
