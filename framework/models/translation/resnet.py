"""The generator of CycleGAN (Zhu et al. 2017, appendix 7.2): residual blocks at a quarter size."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framework.models.translation.unet import check_multiple


def _reflected(before: int, after: int, side: int) -> nn.Conv2d:
    """Make a convolution that keeps the size, its border reflected."""
    return nn.Conv2d(before, after, side, padding=side // 2, padding_mode="reflect")


class ResnetTranslator(nn.Module):
    """c7s1, two halvings, residual blocks, two doublings, c7s1; no noise.

    Sides are multiples of 4.

    Args:
        in_channels: Channels of the condition, as `Condition.encode` gives them.
        img_channels: Channels of the pictures.
        width: Channels at full size; four times as many at a quarter.
        blocks: Number of residual blocks.
    """

    multiple = 4

    def __init__(
        self, in_channels: int, img_channels: int = 3, width: int = 16, blocks: int = 4
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "in_channels": in_channels, "img_channels": img_channels, "width": width,
            "blocks": blocks,
        }  # fmt: skip
        self.first = _reflected(in_channels, width, 7)
        self.downs = nn.ModuleList(
            nn.Conv2d(width * k, 2 * width * k, 3, stride=2, padding=1) for k in (1, 2)
        )
        deep = 4 * width
        self.blocks = nn.ModuleList(
            nn.ModuleList(_reflected(deep, deep, 3) for _ in range(2)) for _ in range(blocks)
        )
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(2 * width * k, width * k, 3, 2, 1, output_padding=1) for k in (2, 1)
        )
        self.last = _reflected(width, img_channels, 7)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "ResnetTranslator":
        """Make the untrained network of a `config`."""
        return cls(**config)

    def forward(self, conditions: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Return pictures (N, img_channels, H, W) in [-1, 1] of conditions (N, in_channels, H, W).

        Args:
            conditions: Encoded conditions.
            rng: Not used: one condition gives one picture.

        Raises:
            UserError: If a side is not a multiple of 4.
        """
        check_multiple(conditions, self.multiple)
        x = F.relu(F.instance_norm(self.first(conditions)))
        for down in self.downs:
            x = F.relu(F.instance_norm(down(x)))
        for first, second in self.blocks:  # type: ignore[misc]
            x = x + F.instance_norm(second(F.relu(F.instance_norm(first(x)))))
        for up in self.ups:
            x = F.relu(F.instance_norm(up(x)))
        return self.last(x).tanh()
