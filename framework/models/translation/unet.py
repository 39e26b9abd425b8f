"""The U-Net of pix2pix (Isola et al. 2017, section 3.2.1): down, up, and a skip at every size."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framework.errors import UserError

_WIDEST = 4  # times the width, from the third layer on (8 in the paper, whose pictures are larger)
_DROPPED = 2  # layers after the bottleneck whose values are dropped (3 of 8 in the paper)


class UNet(nn.Module):
    """A U-Net from conditions to pictures; its only noise is dropout, also when it is used.

    Args:
        in_channels: Channels of the condition, as `Condition.encode` gives them.
        img_channels: Channels of the pictures.
        width: Channels at half size.
        depth: How often sides are halved; sides are multiples of 2 to that power.
        dropout: Share of values that is dropped in the layers after the bottleneck.
    """

    def __init__(
        self,
        in_channels: int,
        img_channels: int = 3,
        width: int = 24,
        depth: int = 4,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "in_channels": in_channels, "img_channels": img_channels, "width": width,
            "depth": depth, "dropout": dropout,
        }  # fmt: skip
        self.multiple, self.dropout = 2**depth, dropout
        counts = [width * min(2**i, _WIDEST) for i in range(depth)]
        self.stem = nn.Conv2d(in_channels, width, 4, 2, 1)
        pairs = list(pairwise(counts))
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in pairs)
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(b if b == counts[-1] and i == 0 else 2 * b, a, 4, 2, 1)
            for i, (a, b) in enumerate(reversed(pairs))
        )
        self.out = nn.ConvTranspose2d(2 * width, img_channels, 4, 2, 1)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "UNet":
        """Make the untrained network of a `config`."""
        return cls(**config)

    def forward(self, conditions: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Return pictures (N, img_channels, H, W) in [-1, 1] of conditions (N, in_channels, H, W).

        Args:
            conditions: Encoded conditions.
            rng: Source of the dropout, on their device; None drops nothing.

        Raises:
            UserError: If a side is not a multiple of 2 to the power of the depth.
        """
        check_multiple(conditions, self.multiple)
        x, skips = self.stem(conditions), []
        for down in self.downs:
            skips.append(x)
            x = F.instance_norm(down(F.leaky_relu(x, 0.2)))
        for i, up in enumerate(self.ups):
            x = F.instance_norm(up(F.relu(x)))
            if i < _DROPPED:
                x = dropped(x, self.dropout, rng)
            x = torch.cat([x, skips.pop()], dim=1)
        return self.out(F.relu(x)).tanh()


def dropped(values: Tensor, share: float, rng: torch.Generator | None) -> Tensor:
    """Drop a share of values, and scale the others up (Srivastava et al. 2014)."""
    if rng is None or share == 0:
        return values
    draws = torch.rand(values.shape, device=values.device, generator=rng)
    return values * (draws >= share) / (1 - share)


def check_multiple(pictures: Tensor, multiple: int) -> None:
    """Raise `UserError` unless both sides of pictures are multiples of a number."""
    height, width = pictures.shape[2:]
    if height % multiple or width % multiple:
        raise UserError(f"{height}x{width}: must be multiples of {multiple}", "data.size")
