"""Adaptive discriminator augmentation (Karras et al. 2020, "Training GANs with limited data").

Real and generated pictures pass through the same random changes on their way to the discriminator,
each with probability p. As long as p is small enough, what the generator learns is free of them.
How large p must be is learned on the way: so large that the discriminator does not overfit.
"""

from framework.training.stylegan2.ada.changes import CHANGES, SETS, parse_changes
from framework.training.stylegan2.ada.controller import AdaSettings, next_p, real_signs
from framework.training.stylegan2.ada.pipeline import AdaptiveAugment

__all__ = [
    "CHANGES",
    "SETS",
    "AdaSettings",
    "AdaptiveAugment",
    "next_p",
    "parse_changes",
    "real_signs",
]
