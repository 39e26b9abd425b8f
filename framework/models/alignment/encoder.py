"""The encoder of another input: a tower reads it, a head says what it means for the codes."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framework.models.alignment.code_space import Belief, CodeSpace

_WIDEST = 4.0  # logarithm of the range of standard deviations, in those of all codes


class AlignedEncoder(nn.Module):
    """Encodes inputs of any kind onto the coordinates of codes.

    Args:
        tower: Network from inputs to features (N, features).
        features: Length of its features.
        space: The coordinates, trained along.
        hidden: Units of the head's hidden layer.
    """

    def __init__(self, tower: nn.Module, features: int, space: CodeSpace, hidden: int) -> None:
        super().__init__()
        self.tower, self.space = tower, space
        count = space.config["coordinates"]
        self.hidden = nn.Linear(features, hidden)
        self.answer = nn.Linear(hidden, 2 * count)
        nn.init.zeros_(self.answer.weight)  # an untrained one says nothing
        nn.init.zeros_(self.answer.bias)

    def forward(self, inputs: Tensor) -> Belief:
        """Return what inputs say of the coordinates."""
        mean, width = self.answer(F.gelu(self.hidden(self.tower(inputs)))).chunk(2, dim=1)
        width = _WIDEST * torch.tanh(width / _WIDEST)
        return Belief(mean, width + self.space.spread.log())
