"""The objective of a diffusion model: what was mixed into a picture, or a velocity of it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from framework.models.diffusion.schedule import Schedule, min_snr_weight
from framework.training.phases import Micro, Outcome, Phase
from framework.training.stylegan2.augment import random_flips

_LEVELS = 4  # parts of the schedule whose losses are reported apart


@dataclass(frozen=True)
class Denoising:
    """Squared errors at noise levels spread evenly over each micro-batch.

    Attributes:
        unet: The network.
        predict: Function that calls it, in the precision of the run.
        schedule: The noise schedule.
        to_cells: Function from pictures to what the network works on.
        snr_gamma: Largest weight of a picture's error.
        mirror: Show pictures mirrored half of the time.
    """

    unet: nn.Module
    predict: Callable[[Tensor, Tensor], Tensor]
    schedule: Schedule
    to_cells: Callable[[Tensor], Tensor]
    snr_gamma: float
    mirror: bool = False

    def phases(self) -> list[Phase]:
        """Return the one phase."""
        return [Phase("Umain", "Umain", self.unet, 1, self.main)]

    def main(self, micro: Micro) -> Outcome:
        """Return the loss of a micro-batch."""
        pictures = micro.pictures()
        pictures = random_flips(pictures, micro.rng) if self.mirror else pictures
        x0 = self.to_cells(pictures)
        count, device = len(x0), x0.device
        # One level from each n-th of the schedule (Kingma et al. 2021, section G.1): less variance.
        places = torch.arange(count, device=device)
        places = (places + torch.rand(count, device=device, generator=micro.rng)) / count
        t = (places * len(self.schedule)).long().clamp(max=len(self.schedule) - 1)
        noise = torch.randn(x0.shape, device=device, generator=micro.rng)
        output = self.predict(self.schedule.noised(x0, noise, t), t)
        target = x0
        if self.schedule.prediction == "v_prediction":
            target = self.schedule.velocity(x0, noise, t)
        error = (output - target).square().mean(dim=(1, 2, 3))
        weight = min_snr_weight(self.schedule.snr(t), self.snr_gamma, self.schedule.prediction)
        stats = {"Loss/U/loss": error.detach() * weight, "Loss/U/error": error.detach()}
        for level in range(_LEVELS):
            of_level = (places * _LEVELS).long() == level
            stats[f"Loss/U/error{level}"] = error.detach()[of_level]
        return Outcome((error * weight).sum(), stats)
