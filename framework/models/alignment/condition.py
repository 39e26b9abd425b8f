"""The encoder of conditions: a sketch or labels to what they say of a frozen encoder's codes."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from framework.models.alignment.code_space import Belief, CodeSpace
from framework.models.alignment.encoder import AlignedEncoder
from framework.models.translation.condition import Condition

_SMALLEST_PX = 4
_WIDEST = 4  # times the width


class ConditionTower(nn.Module):
    """Halves encoded conditions until a side has 4 px, then sees all of what is left.

    Args:
        in_channels: Channels of the conditions.
        img_size: (H, W) of the conditions.
        width: Channels at half size.
        features: Length of the result.
    """

    def __init__(
        self, in_channels: int, img_size: Sequence[int], width: int, features: int
    ) -> None:
        super().__init__()
        halvings = max(1, (min(img_size) // _SMALLEST_PX).bit_length() - 1)
        counts = [in_channels, *(width * min(i + 1, _WIDEST) for i in range(halvings))]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairwise(counts))
        height, wide = (-(-side // 2**halvings) for side in img_size)
        self.dense = nn.Linear(counts[-1] * height * wide, features)

    def forward(self, conditions: Tensor) -> Tensor:
        """Return features (N, features) of conditions (N, in_channels, H, W)."""
        x = conditions
        for layer in self.layers:
            x = F.gelu(layer(x))
        return self.dense(x.flatten(1))


class ConditionEncoder(nn.Module):
    """Reads conditions as what they say of codes, and how surely.

    Args:
        condition: What it reads.
        img_size: (H, W) of the conditions.
        num_ws: Layers of the codes.
        w_dim: Length of a layer's code.
        coordinates: Coordinates of the codes.
        hidden: Units of the tower's result and of the head's hidden layer.
        width: Channels of the tower at half size.
    """

    def __init__(
        self,
        condition: Condition,
        img_size: Sequence[int],
        num_ws: int,
        w_dim: int,
        *,
        coordinates: int = 96,
        hidden: int = 192,
        width: int = 24,
    ) -> None:
        super().__init__()
        self.condition = condition
        self.config: dict[str, Any] = {
            "condition": condition.to_dict(), "img_size": list(img_size), "num_ws": num_ws,
            "w_dim": w_dim, "coordinates": coordinates, "hidden": hidden, "width": width,
        }  # fmt: skip
        tower = ConditionTower(condition.channels, img_size, width, hidden)
        space = CodeSpace(num_ws, w_dim, coordinates)
        self.encoder = AlignedEncoder(tower, hidden, space, hidden)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "ConditionEncoder":
        """Make the untrained encoder of a `config`."""
        return cls(Condition.from_dict(config["condition"]), **{
            name: value for name, value in config.items() if name != "condition"
        })  # fmt: skip

    @property
    def space(self) -> CodeSpace:
        """The coordinates."""
        return self.encoder.space

    def forward(self, levels: Tensor) -> Belief:
        """Return what conditions say of the coordinates.

        Args:
            levels: uint8 (N, img_channels, H, W): of labels, their numbers.
        """
        return self.encoder(self.condition.encode(levels.float() / 127.5 - 1))
