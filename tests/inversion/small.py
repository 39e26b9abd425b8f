"""The smallest generators and encoders that inversion is tested with."""

from typing import Any

import torch

from framework.models.encoders.dragline import Encoder
from framework.models.stylegan2 import Generator

WIDTHS: dict[str, Any] = {
    "channel_base": 128,
    "channel_max": 16,
    "map_channels": 8,
    "head_features": 16,
}


def small_generator(img_size: Any = 16, **sizes: Any) -> Generator:
    """A frozen generator whose mean style is not zero."""
    torch.manual_seed(0)
    described = {"z_dim": 8, "w_dim": 8, "mapping_layers": 2, "channel_base": 128, "channel_max": 8}
    generator = Generator(img_size, **{**described, **sizes}).eval().requires_grad_(False)
    generator.mapping.w_avg.normal_()
    return generator


def small_encoder(img_size: Any = (16, 16), num_ws: int = 6, **sizes: Any) -> Encoder:
    """Our own encoder with a few feature maps, its statistics not the trivial ones."""
    torch.manual_seed(1)
    described = {"in_channels": 3, "w_dim": 8, **WIDTHS}
    encoder = Encoder(img_size, num_ws=num_ws, **{**described, **sizes})
    encoder.w_avg.normal_()
    encoder.w_std.uniform_(0.5, 2.0)
    return encoder
