"""How strong the augmentation should be, learned from how sure the discriminator is."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from framework.errors import UserError


@dataclass(frozen=True)
class AdaSettings:
    """The rule of Karras et al. 2020, section 3, and one limit that it does not have.

    Attributes:
        target: Wanted mean sign of the discriminator's outputs for real pictures.
        interval: Batches between changes of the strength.
        ada_kimg: Thousands of pictures in which the strength may go from 0 to 1; 100 suits
            transfer.
        p_max: The strength stays at or below this. Where a discriminator overfits whatever is
            done, an unlimited p goes on rising and the changes show up in generated pictures.
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
        for name, (holds, wanted) in limits.items():
            if not holds:
                raise UserError(f"ada {name} {getattr(self, name)}: must be {wanted}")


def real_signs(real_logits: Tensor) -> Tensor:
    """Sum of the signs of outputs for real pictures (N, 1), and their number: shape (2,)."""
    signs = real_logits.detach().float().sign()
    return torch.stack([signs.sum(), signs.new_full((), signs.numel())])


def next_p(p: float, sign_sum: float, count: float, settings: AdaSettings) -> float:
    """One step of the strength towards the target (appendix B's heuristic r_t).

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
