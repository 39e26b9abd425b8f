"""The objectives of a network that fills holes, and of its judge."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.models.filling.network import HoleFiller, HoleJudge
from framework.training.filling.settings import FillingSettings
from framework.training.phases import Micro, Outcome, Phase
from framework.training.stylegan2.augment import random_flips

_LONGEST_PX = 64  # steps to the border that are counted


def draw_holes(
    count: int, size: tuple[int, int], area: float, rng: torch.Generator, device: torch.device
) -> Tensor:
    """Draw holes of about a share of the picture: rectangles, ellipses, strokes.

    Returns:
        (count, 1, H, W), 1 in the hole; no hole is empty, and none is everything.
    """

    def chance(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, 1, device=device, generator=rng)

    height, width = size
    y = torch.arange(height, device=device, dtype=torch.float32)[None, :, None]
    x = torch.arange(width, device=device, dtype=torch.float32)[None, None, :]
    stretch = chance(-0.35, 0.35).exp()
    half = (area * height * width) ** 0.5 / 2
    across, down = half * stretch * chance(0.7, 1.3), half / stretch * chance(0.7, 1.3)
    middle_x, middle_y = chance(0.1, 0.9) * width, chance(0.1, 0.9) * height
    off_x, off_y = (x - middle_x).abs() / across, (y - middle_y).abs() / down
    rectangle = torch.maximum(off_x, off_y) < 1
    ellipse = off_x.square() + off_y.square() < 1.27  # as large as the rectangle
    end_x, end_y = chance(0.1, 0.9) * width, chance(0.1, 0.9) * height
    way_x, way_y = end_x - middle_x, end_y - middle_y
    along = ((x - middle_x) * way_x + (y - middle_y) * way_y) / (way_x**2 + way_y**2 + 1)
    along = along.clamp(0, 1)
    apart = (x - middle_x - along * way_x).square() + (y - middle_y - along * way_y).square()
    stroke = apart < (max(size) / 14 * chance(0.8, 1.6)).square()
    kind = torch.randint(3, (count, 1, 1), device=device, generator=rng)
    hole = torch.where(kind == 0, rectangle, torch.where(kind == 1, ellipse, stroke))
    hole[:, height // 2, width // 2] |= ~hole.flatten(1).any(dim=1)
    hole[:, 0, 0] = False
    return hole[:, None].float()


def discounts(holes: Tensor, discount: float) -> Tensor:
    """Return the weight of each pixel's error, (N, 1, H, W): 0 outside the hole.

    Inside it is the discount to the power of the steps to the hole's border.
    """
    left, weight, power = holes, torch.zeros_like(holes), 1.0
    for _ in range(_LONGEST_PX):
        inner = left * (1 - F.max_pool2d(1 - left, 3, stride=1, padding=1))
        weight = weight + power * (left - inner)
        left, power = inner, power * discount
        if not bool(left.any()):
            break
    return weight + power * left


@dataclass(frozen=True)
class Filling:
    """The filler's error where it is known what belongs there, and its judge's opinion.

    Attributes:
        filler: The network.
        judge: Its opponent.
        settings: Settings of the run.
    """

    filler: HoleFiller
    judge: HoleJudge
    settings: FillingSettings

    def phases(self) -> list[Phase]:
        """Return the filler's phase and its judge's."""
        begins = int(self.settings.adversarial_from_kimg * 1000)
        phases = [Phase("Fmain", "Fmain", self.filler, 1, self.fill)]
        if self.settings.adversarial > 0:
            phases += [
                Phase("Fadv", "Fadv", self.filler, 1, self.persuade, begins=begins),
                Phase("Jmain", "Jmain", self.judge, 1, self.tell, begins=begins),
            ]
        return phases

    def fill(self, micro: Micro) -> Outcome:
        """Return the filler's error of a micro-batch (Yu et al. 2018, section 3.2)."""
        pictures, holes = self._tasks(micro)
        error = (self.filler(pictures, holes) - pictures).abs().mean(dim=1, keepdim=True)
        weight = discounts(holes, self.settings.discount)
        loss = (error * weight).sum(dim=(1, 2, 3)) / weight.sum(dim=(1, 2, 3))
        return Outcome(loss.sum(), {"Loss/F/error": loss.detach()})

    def persuade(self, micro: Micro) -> Outcome:
        """Return how little the judge takes what is filled for whole."""
        pictures, holes = self._tasks(micro)
        opinion = self.judge(self.filler(pictures, holes), holes).mean(dim=(1, 2, 3))
        loss = -self.settings.adversarial * opinion
        return Outcome(loss.sum(), {"Loss/F/opinion": opinion.detach()})

    def tell(self, micro: Micro) -> Outcome:
        """Return the judge's hinge loss."""
        pictures, holes = self._tasks(micro)
        with torch.no_grad():
            filled = self.filler(pictures, holes)
        real, made = self.judge(pictures, holes), self.judge(filled, holes)
        loss = F.relu(1 - real).mean(dim=(1, 2, 3)) + F.relu(1 + made).mean(dim=(1, 2, 3))
        return Outcome(loss.sum(), {"Loss/J/loss": loss.detach()})

    def _tasks(self, micro: Micro) -> tuple[Tensor, Tensor]:
        """Return whole pictures and the holes to fill in them."""
        pictures = micro.pictures()
        pictures = random_flips(pictures, micro.rng) if self.settings.mirror else pictures
        size = (pictures.shape[2], pictures.shape[3])
        area, device = self.settings.hole_area, pictures.device
        return pictures, draw_holes(len(pictures), size, area, micro.rng, device)
