"""Freshly initialised networks from the settings of a training."""

from typing import Any

import torch

from framework.models.stylegan2.discriminator import Discriminator
from framework.models.stylegan2.generator import Generator


def build_networks(
    settings: dict[str, Any],
    size: tuple[int, int],
    channels: int,
    c_dim: int,
    low_precision: str | None,
) -> tuple[Generator, Discriminator]:
    """Generator and discriminator, the same for the same seed.

    Args:
        settings: Arguments of `StyleGAN2Training`.
        size: (H, W) of the pictures.
        channels: Their channels.
        c_dim: Length of label vectors, 0 without labels.
        low_precision: Dtype of the largest blocks, or None for float32 throughout.

    Raises:
        UserError: If the sizes are impossible.
    """
    common: dict[str, Any] = {
        "img_size": size,
        "c_dim": c_dim,
        "img_channels": channels,
        "channel_max": settings["channel_max"],
        "mapping_layers": settings["mapping_layers"],
        "low_precision_blocks": settings["low_precision_blocks"] if low_precision else 0,
        "low_precision": low_precision or "float16",
        "conv_clamp": 256.0 if low_precision == "float16" else None,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings["seed"])
        generator = Generator(
            z_dim=settings["z_dim"],
            w_dim=settings["w_dim"],
            channel_base=settings["channel_base"],
            **common,
        )
        discriminator = Discriminator(
            channel_base=settings["discriminator_channel_base"] or settings["channel_base"],
            mbstd_group_size=settings["mbstd_group_size"],
            **common,
        )
    if settings["channels_last"]:
        generator.synthesis.memory_format = torch.channels_last
        discriminator.memory_format = torch.channels_last
    return generator, discriminator
