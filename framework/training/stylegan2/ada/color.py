"""ADA's colour transformations: one affine map of the colours of each picture."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from framework.errors import UserError
from framework.training.stylegan2.ada.changes import COLORS, Source

BRIGHTNESS_STD = 0.2  # of values in [-1, 1]
CONTRAST_STD = 0.5  # of log2
SATURATION_STD = 1.0  # of log2


class ColorDraw(NamedTuple):
    """One draw for each of N samples, each of shape (N,), in the order in which they act.

    Attributes:
        brightness: Value that is added.
        contrast: Factor on all colours.
        luma: -1 to flip the luma, else 1.
        hue: Angle around the grey axis, radians.
        saturation: Factor on the distance from the grey axis.
    """

    brightness: Tensor
    contrast: Tensor
    luma: Tensor
    hue: Tensor
    saturation: Tensor


class Color(nn.Module):
    """Changes colours; leaves alpha alone, and changes only the luma of a grey picture.

    Args:
        channels: Number of channels: 1, 3 or 4.
        multipliers: Shares of the strength p by change.

    Raises:
        UserError: If the number of channels is another one.
    """

    def __init__(self, channels: int, multipliers: Mapping[str, float]) -> None:
        super().__init__()
        if channels not in (1, 3, 4):
            raise UserError(
                f"ada: colour changes are for 1, 3 or 4 channels, not {channels}; choose 'bg'"
            )
        self.shares = {name: multipliers.get(name, 0.0) for name in COLORS}

    def draw(self, source: Source) -> ColorDraw:
        """Draw every change; those that do not act are neutral."""
        acts = {name: source.acts(source.p * share) for name, share in self.shares.items()}
        contrast = source.lognormal(CONTRAST_STD)
        saturation = source.lognormal(SATURATION_STD)
        return ColorDraw(
            brightness=acts["brightness"] * source.normal(BRIGHTNESS_STD),
            contrast=torch.where(acts["contrast"], contrast, 1.0),
            luma=torch.where(acts["lumaflip"] & source.acts(0.5), -1.0, 1.0),
            hue=acts["hue"] * source.uniform(-math.pi, math.pi),
            saturation=torch.where(acts["saturation"], saturation, 1.0),
        )

    def forward(self, images: Tensor, draw: ColorDraw) -> Tensor:
        """Change the colours of pictures (N, C, H, W) as drawn."""
        brightness, contrast, luma, hue, saturation = (
            value.to(images.dtype)[:, None, None] for value in draw
        )
        grey = contrast * luma
        if images.shape[1] == 1:
            return images * grey[..., None] + (grey * brightness)[..., None]
        matrix = color_matrix(grey, contrast * saturation, hue)
        colors = images[:, :3].flatten(2)
        colors = torch.baddbmm(grey * brightness, matrix, colors).unflatten(2, images.shape[2:])
        return torch.cat([colors, images[:, 3:]], dim=1) if images.shape[1] == 4 else colors


def color_matrix(grey: Tensor, chroma: Tensor, hue: Tensor) -> Tensor:
    """Return the matrix that scales along the grey axis and across it, and turns around it.

    Args:
        grey: Factor along (1, 1, 1), shape (N, 1, 1).
        chroma: Factor across it, shape (N, 1, 1).
        hue: Angle in radians, shape (N, 1, 1).

    Returns:
        Shape (N, 3, 3); exactly the identity for (1, 1, 0).
    """
    identity = torch.eye(3, dtype=grey.dtype, device=grey.device)
    onto_grey = torch.full_like(identity, 1 / 3)
    # The vector product with the unit grey axis: a quarter turn around it.
    quarter = (identity.roll(1, 0) - identity.roll(1, 1)) / math.sqrt(3)
    across, turned = chroma * hue.cos(), chroma * hue.sin()
    return across * identity + (grey - across) * onto_grey + turned * quarter
