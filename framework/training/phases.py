"""The phases of a run: the objective of a network on a micro-batch, and how often it is stepped.

A phase logs nothing, weights nothing by batch size and sends nothing to other processes; the
training module does that with what an objective returns.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Micro:
    """A micro-batch.

    Attributes:
        pictures: Function that returns the real pictures, float32, (N, C, H, W), in [-1, 1].
        labels: Labels of real and generated pictures alike, shape (N, c_dim).
        rng: Source of everything random.
        first: Index of its first picture among all pictures ever seen.
    """

    pictures: Callable[[], Tensor]
    labels: Tensor
    rng: torch.Generator
    first: int = 0


@dataclass(frozen=True)
class Outcome:
    """The result of an objective.

    Attributes:
        loss: Sum over the samples of the micro-batch, shape ().
        stats: Values to report, by name.
        sums: Values that the phase's `finish` gets summed over the whole batch, float32.
    """

    loss: Tensor
    stats: dict[str, Tensor]
    sums: dict[str, Tensor] = field(default_factory=dict)


def _nothing(sums: dict[str, Tensor]) -> None:
    pass


@dataclass(frozen=True)
class Phase:
    """One objective, stepped by the optimizer of its network.

    Attributes:
        name: Key of the phase's random numbers.
        timing: NVIDIA's name, which people's tools know.
        network: The network that is trained.
        interval: Batches between steps.
        objective: Function from a micro-batch to the loss, or to several losses in turn whose
            gradients add up; each is differentiated before the next is computed.
        finish: Function that gets the sums over the batch and all processes, after the step.
        begins: Images seen before its first step.
    """

    name: str
    timing: str
    network: nn.Module
    interval: int
    objective: Callable[[Micro], Outcome | Iterator[Outcome]]
    finish: Callable[[dict[str, Tensor]], None] = _nothing
    begins: int = 0

    @property
    def lazy(self) -> bool:
        """Whether this is regularisation of its own, stepped beside the main objective."""
        return self.timing.endswith("reg")


def lazy_share(network: nn.Module, phases: Sequence[Phase]) -> float:
    """Return the factor on a network's learning and decay rates for its lazy regularisation.

    A penalty step every k batches makes k + 1 steps out of k, so both rates are corrected by
    k / (k + 1) (Karras et al. 2020, appendix B).
    """
    lazy = [phase.interval for phase in phases if phase.network is network and phase.lazy]
    return lazy[0] / (lazy[0] + 1) if lazy else 1.0
