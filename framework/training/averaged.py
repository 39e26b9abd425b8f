"""Runs of one network, which is averaged and published, at a learning rate that falls."""

from copy import deepcopy
from typing import Any, TypeVar

import torch
from torch import nn

from framework.training.phased import Average, PhasedTraining
from framework.training.settings import AveragedSettings

A = TypeVar("A", bound=AveragedSettings)


class AveragedTraining(PhasedTraining[A]):
    """Trains a network, maybe beside others, and averages it.

    Attributes:
        averaged: Name of the network; its average is `{averaged}_ema`.
    """

    averaged: str

    def new_networks(
        self, size: tuple[int, int], channels: int, c_dim: int, device: torch.device
    ) -> dict[str, Any]:
        """Return the networks of `sketch` on a device, the same for the same seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            networks = self.sketch(size, channels, c_dim, device)
        return {name: network.to(device) for name, network in networks.items()}

    def begin_average(self) -> None:
        """Let the average begin as the network, which is built."""
        average = deepcopy(self.get_submodule(self.averaged)).eval().requires_grad_(False)
        self.add_module(f"{self.averaged}_ema", average)
        self.ema_kimg = [self.settings.ema_kimg]

    def networks(self) -> list[nn.Module]:
        """Return the network that is averaged."""
        return [self.get_submodule(self.averaged)]

    def averages(self) -> list[Average]:
        """Return the average; none before it has begun."""
        average = getattr(self, f"{self.averaged}_ema", None)
        if average is None:
            return []
        network, rampup = self.get_submodule(self.averaged), self.settings.ema_rampup
        return [Average(average, network, self.ema_kimg[0], rampup)]

    def learning_rate(self, network: nn.Module) -> float:
        """Return the learning rate at this point of the run."""
        return self.settings.learning_rate(self.seen_images)

    def begin_batch(self) -> None:
        """Move the learning rates to the images seen."""
        self.move_learning_rates()
