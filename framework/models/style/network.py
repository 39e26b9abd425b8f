"""A small decoder: pictures from adapted features."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framework.errors import UserError
from framework.models.style.statistics import adapted

FEATURES = "efficientnet-lite0 rectified"
CHANNELS = (96, 144, 240)  # of the features at 1/2, 1/4 and 1/8
_FIRST = 1  # of the features that are decoded: those of the stem are left out


class StyleDecoder(nn.Module):
    """Turns features of EfficientNet-Lite0 (`rectified`) into the picture that has them.

    Huang and Belongie 2017 decode one level of VGG. This network's levels are narrow, so three are
    decoded, each adapted by itself.

    Args:
        width: Channels at 1/8 of the picture, a multiple of 4.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        if width < 4 or width % 4:
            raise UserError(f"{width}: give a multiple of 4", "width")
        self.config: dict[str, Any] = {"width": width, "features": FEATURES}
        half, quarter = width // 2, width // 4
        fine, middle, deep = CHANNELS
        self.from_deep, self.from_middle = nn.Conv2d(deep, width, 1), nn.Conv2d(middle, width, 1)
        self.from_fine = nn.Conv2d(fine, half, 1)
        self.deep, self.middle = _conv(width, width), _conv(width, half)
        self.fine, self.last = _conv(half, quarter), _conv(quarter, 3)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "StyleDecoder":
        """Make the untrained network of a `config`.

        Raises:
            ValueError: If it decodes features of another network.
        """
        if config["features"] != FEATURES:
            raise ValueError(f"features {config['features']}, not {FEATURES}")
        return cls(config["width"])

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode features (N, C, h, w), finest first as `rectified` returns them.

        Returns:
            Pictures (N, 3, 2 h, 2 w) of the finest features' h and w; values may leave [-1, 1].
        """
        fine, middle, deep = features[_FIRST : _FIRST + 3]
        x = F.leaky_relu(self.deep(F.leaky_relu(self.from_deep(deep), 0.2)), 0.2)
        x = F.leaky_relu(_enlarged(x, middle) + self.from_middle(middle), 0.2)
        x = F.leaky_relu(self.middle(x), 0.2)
        x = F.leaky_relu(_enlarged(x, fine) + self.from_fine(fine), 0.2)
        x = F.leaky_relu(self.fine(x), 0.2)
        return self.last(F.interpolate(x, scale_factor=2.0))


def restyled(content: Sequence[Tensor], style: Sequence[Tensor], strength: float) -> list[Tensor]:
    """Adapt each level of features to a style's (Huang and Belongie 2017, equations 8 and 14).

    Args:
        content: Features of one size or more, (N, C_l, h_l, w_l).
        style: The style's, (N, C_l, any, any).
        strength: Share of the style, 0 to 1.
    """
    pairs = zip(content, style, strict=True)
    return [torch.lerp(own, adapted(own, wanted), strength) for own, wanted in pairs]


def _conv(before: int, after: int) -> nn.Conv2d:
    """A convolution that continues pictures beyond their borders: zeros would leave a frame."""
    return nn.Conv2d(before, after, 3, padding=1, padding_mode="replicate")


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, (like.shape[2], like.shape[3]))
