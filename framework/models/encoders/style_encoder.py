"""The interface of every encoder: from pictures and a stage to styles."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framework.errors import UserError
from framework.models.stylegan2.statistics import StyleStatistics

Norm = Literal["group", "batch"]
NORMS = ("group", "batch")


def fitted(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """Crop and resize pictures (N, C, H, W) to a network's size, (N, C, *size).

    What exceeds the network's proportions is cut off on both sides, which suits e4e's networks for
    cars, 192x256; then comes bilinear interpolation with antialiasing.
    """
    height, width = pictures.shape[2:]
    if (height, width) == tuple(size):
        return pictures
    keep_h = min(height, max(1, round(width * size[0] / size[1])))
    keep_w = min(width, max(1, round(height * size[1] / size[0])))
    top, left = (height - keep_h) // 2, (width - keep_w) // 2
    pictures = pictures[:, :, top : top + keep_h, left : left + keep_w]
    return F.interpolate(pictures, size, mode="bilinear", align_corners=False, antialias=True)


class StyleEncoder(nn.Module):
    """The interface of every encoder; the networks differ in `codes`.

    Args:
        config: The arguments that build the encoder, plain values.
        counts: Names of the arguments that must be at least 1.

    Attributes:
        img_size: (H, W) that the network sees; others are cropped and resized to it.
        in_channels: Number of channels of its pictures.
        num_ws: Number of layers that it gives styles for.
        w_dim: Length of a style.
        residual: Whether it corrects a reconstruction (ReStyle, Alaluf et al. 2021).
    """

    def __init__(self, config: dict[str, Any], counts: Sequence[str]) -> None:
        super().__init__()
        for name in counts:
            if config[name] < 1:
                raise UserError(f"{name} {config[name]}: must be at least 1")
        if config["norm"] not in NORMS:
            raise UserError(f"norm {config['norm']!r}: {' or '.join(NORMS)}")
        height, width = config["img_size"]
        self.config = {**config, "img_size": [height, width]}
        self.img_size: tuple[int, int] = (int(height), int(width))
        self.in_channels: int = config["in_channels"]
        self.num_ws: int = config["num_ws"]
        self.w_dim: int = config["w_dim"]
        self.residual: bool = config["residual"]
        self.seen_channels = self.in_channels * (2 if self.residual else 1)

    def forward(
        self,
        pictures: Tensor,
        stage: int | None = None,
        current: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Return the styles of pictures.

        Args:
            pictures: Pictures (N, in_channels, H, W), in [-1, 1].
            stage: Number of layers after the first that may leave its style, in order: 0 gives one
                style for all layers (W), None one for each (W+).
            current: For residual encoders, and only for them: the reconstructions so far, of the
                shape of `pictures`, and their styles (N, num_ws, w_dim).

        Returns:
            `ws`, shape (N, num_ws, w_dim), float32.

        Raises:
            UserError: If the channels do not fit, or `current` is missing or not expected.
        """
        if pictures.ndim != 4 or pictures.shape[1] != self.in_channels:
            shape = tuple(pictures.shape)
            raise UserError(f"pictures {shape}: the encoder takes (N, {self.in_channels}, H, W)")
        if (current is not None) != self.residual:
            wants = "needs a reconstruction to correct" if self.residual else "corrects nothing"
            raise UserError(f"current: this encoder {wants}")
        inputs = fitted(pictures, self.img_size)
        if current is not None:
            inputs = torch.cat([inputs, fitted(current[0], self.img_size)], dim=1)
        offsets = staged(self.codes(inputs).float(), stage)
        return self.placed(offsets, None if current is None else current[1])

    def codes(self, pictures: Tensor) -> Tensor:
        """Return the first layer's code and every other's distance from it, (N, num_ws, w_dim)."""
        raise NotImplementedError

    def placed(self, offsets: Tensor, ws: Tensor | None) -> Tensor:
        """Add offsets (N, num_ws, w_dim) to the styles that they start at: `ws`, or the mean."""
        raise NotImplementedError

    def set_statistics(self, statistics: StyleStatistics) -> None:
        """Let outputs start at a generator's mean style."""
        raise NotImplementedError


def staged(codes: Tensor, stage: int | None) -> Tensor:
    """Return offsets of all layers, (N, num_ws, w_dim), of which `stage` leave the first layer's.

    Codes are the first layer's offset, then every other layer's distance from it (Tov et al. 2021).
    Later layers are multiplied by zero, not left out: every parameter has a gradient at any stage,
    which distributed training needs.
    """
    count = codes.shape[1]
    active = torch.arange(count, device=codes.device) <= (count if stage is None else stage)
    deltas = codes * active[:, None].to(codes.dtype)
    first = codes[:, :1]
    return torch.cat([first, first + deltas[:, 1:]], dim=1)


def normalisation(norm: Norm, channels: int) -> nn.Module:
    """Make a normalisation of `channels` maps; groups have at least four."""
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(max(1, math.gcd(channels, 32) // 4), channels)
