"""Adaptive discriminator augmentation (Karras et al. 2020, "Training GANs with limited data").

Real and generated pictures pass through the same random changes on their way to the discriminator,
each with probability p. While p is small enough, the generator does not learn them. p is adjusted
on the way, so that the discriminator does not overfit.
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
