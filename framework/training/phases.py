"""The phases of a training: what is asked of a network on a micro-batch, and how often.

Nothing is logged, weighted by batch size or sent to other processes by a phase; the trainer does
that with what an objective returns.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Micro:
    """A micro-batch.

    Attributes:
        pictures: Makes the real pictures, float32, shape (N, C, H, W), in [-1, 1].
        labels: Shape (N, c_dim), for real and generated pictures alike.
        rng: Source of everything random.
        first: Index of its first picture among all pictures ever seen.
    """

    pictures: Callable[[], Tensor]
    labels: Tensor
    rng: torch.Generator
    first: int = 0


@dataclass(frozen=True)
class Outcome:
    """What an objective gives.

    Attributes:
        loss: Sum over the samples of the micro-batch, shape ().
        stats: Values to report, by name.
        sums: What the phase's `finish` wants added up over the whole batch, float32.
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
        name: Keys the random numbers of the phase.
        timing: NVIDIA's name, which people's tools know.
        network: The network that is trained.
        interval: Batches between steps.
        objective: From a micro-batch to the loss, or to several that follow each other and whose
            gradients add up; each is left before the next is computed.
        finish: Takes the sums over the batch and all processes, after the step.
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
        """Whether it is regularisation of its own, stepped beside the main objective."""
        return self.timing.endswith("reg")


def lazy_share(network: nn.Module, phases: Sequence[Phase]) -> float:
    """What the speed of a network's Adam is multiplied by for its lazy regularisation.

    A penalty step every k batches makes k + 1 steps of k, so both learning rate and decay rates are
    corrected by k / (k + 1) (Karras et al. 2020, appendix B).
    """
    lazy = [phase.interval for phase in phases if phase.network is network and phase.lazy]
    return lazy[0] / (lazy[0] + 1) if lazy else 1.0
