"""ADA's changes of a picture: their names, their sets, and the source of random draws."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from framework.errors import UserError

BLITS = ("xflip", "rotate90", "xint")
WARPS = ("scale", "rotate", "aniso", "xfrac")
COLORS = ("brightness", "contrast", "lumaflip", "hue", "saturation")
CHANGES = (*BLITS, *WARPS, *COLORS, "filter", "noise", "cutout")
SETS = {
    "bg": CHANGES[:7],
    "bgc": CHANGES[:12],
    "bgcf": CHANGES[:13],
    "bgcfn": CHANGES[:14],
    "bgcfnc": CHANGES,
}


def parse_changes(text: str) -> dict[str, float]:
    """Turn a set (`bg`, `bgc`, `bgcf`, `bgcfn`, `bgcfnc`) or names by comma into multipliers.

    Returns:
        Multipliers of the strength p by change, 1 for each; empty for an empty text.

    Raises:
        UserError: If a name is unknown.
    """
    names = SETS.get(text.strip()) or tuple(filter(None, text.replace(" ", "").split(",")))
    return checked(dict.fromkeys(names, 1.0))


def checked(multipliers: Mapping[str, float]) -> dict[str, float]:
    """Check multipliers by name, and return those that are not 0.

    Raises:
        UserError: If a name is unknown or a multiplier is outside [0, 1].
    """
    for name, multiplier in multipliers.items():
        if name not in CHANGES:
            choices = f"{', '.join(SETS)} or names out of {', '.join(CHANGES)}"
            raise UserError(f"ada {name!r}: choose {choices}")
        if not 0 <= multiplier <= 1:
            raise UserError(f"ada {name!r}: multiplier {multiplier} is not in [0, 1]")
    return {name: float(multiplier) for name, multiplier in multipliers.items() if multiplier}


@dataclass(frozen=True)
class Source:
    """Random numbers, one for each sample of a batch.

    Attributes:
        count: Number of samples N; every draw has shape (N,).
        p: Strength, a float32 scalar on the device of the pictures.
        rng: Random generator on that device.
    """

    count: int
    p: Tensor
    rng: torch.Generator

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Draw uniformly from [low, high)."""
        draw = torch.rand(self.count, device=self.p.device, generator=self.rng)
        return low + (high - low) * draw

    def normal(self, std: float) -> Tensor:
        """Draw from a normal distribution of mean 0."""
        return torch.randn(self.count, device=self.p.device, generator=self.rng) * std

    def lognormal(self, std: float) -> Tensor:
        """Draw 2 to a normal power of mean 0: the paper's Lognormal(0, (std ln 2)^2)."""
        return self.normal(std).exp2()

    def acts(self, chance: float | Tensor) -> Tensor:
        """Draw True with probability `chance`."""
        return self.uniform() < chance
