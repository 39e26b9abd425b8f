"""Fresh networks and the game they play, built from the settings of a run."""

from typing import Any

import torch
from torch import nn

from framework.errors import UserError
from framework.models.stylegan2.discriminator import Discriminator
from framework.models.stylegan2.generator import Generator
from framework.training.stylegan2.ada import AdaptiveAugment, AdaSettings
from framework.training.stylegan2.game import Game
from framework.training.stylegan2.objectives import LOSSES
from framework.training.stylegan2.regularizers import LeCam, PathLength
from framework.training.stylegan2.settings import Regularization, StyleGAN2Settings


def build_networks(
    settings: StyleGAN2Settings,
    size: tuple[int, int],
    channels: int,
    c_dim: int,
    low_precision: str | None,
) -> tuple[Generator, Discriminator]:
    """Build generator and discriminator, the same for the same seed.

    Args:
        settings: Settings of the run, their sizes settled.
        size: (H, W) of the pictures.
        channels: Channels of the pictures.
        c_dim: Length of label vectors, 0 without labels.
        low_precision: Dtype of the largest blocks, or None for float32 throughout.

    Raises:
        UserError: If the sizes are impossible.
    """
    sizes: Any = settings.networks  # settled: nothing in it is None
    machine = settings.machine
    common: dict[str, Any] = {
        "img_size": size,
        "c_dim": c_dim,
        "img_channels": channels,
        "channel_max": sizes.channel_max,
        "mapping_layers": sizes.mapping_layers,
        "low_precision_blocks": machine.low_precision_blocks if low_precision else 0,
        "low_precision": low_precision or "float16",
        "conv_clamp": 256.0 if low_precision == "float16" else None,
        "label_fade": settings.transition_kimg is not None and c_dim > 0,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        generator = Generator(
            z_dim=sizes.z_dim,
            w_dim=sizes.w_dim,
            channel_base=sizes.channel_base,
            architecture=sizes.architecture,
            **common,
        )
        discriminator = Discriminator(
            channel_base=sizes.discriminator_channel_base or sizes.channel_base,
            mbstd_group_size=sizes.mbstd_group_size,
            architecture=sizes.discriminator_architecture,
            **common,
        )
    if machine.channels_last:
        generator.synthesis.memory_format = torch.channels_last
        discriminator.memory_format = torch.channels_last
    return generator, discriminator


def frozen_layers(discriminator: Discriminator, count: int) -> list[nn.Module]:
    """Return the first `count` layers, from the picture on, that FreezeD keeps (Mo et al. 2020).

    They are counted as NVIDIA's `--freezed` does: block by block `fromrgb` (in the first), `conv0`,
    `conv1`, `skip`; the last block is always trained.

    Raises:
        UserError: If there are fewer layers.
    """
    blocks = [discriminator.get_submodule(f"b{r}") for r in discriminator.resolutions[:-1]]
    names = ("fromrgb", "conv0", "conv1", "skip")
    layers = [getattr(block, name) for block in blocks for name in names if hasattr(block, name)]
    if count > len(layers):
        raise UserError(
            f"{count}: the discriminator has {len(layers)} before its last block",
            "transfer.freeze_d_layers",
        )
    return layers[:count]


def build_game(
    settings: StyleGAN2Settings, generator: Generator, discriminator: Discriminator, batch_size: int
) -> Game:
    """Build the objectives that `settings` ask for, their running means fresh."""
    s, weights, loss = settings, settings.regularization, LOSSES[settings.loss]
    return Game(
        generator,
        discriminator,
        batch_size,
        loss=loss,
        policy=s.policy,
        augmenter=_augmenter(s, generator),
        ada=_ada_settings(s),
        mirror=s.mirror,
        style_mixing_prob=weights.style_mixing_prob,
        r1_gamma=weights.r1_weight(generator.img_size, batch_size),
        r1_interval=weights.penalty_interval(loss.penalty),
        gp_weight=weights.gp_weight,
        transition_kimg=s.transition_kimg,
        path_length=_path_length(weights),
        lecam=LeCam(weights.lecam_weight) if weights.lecam_weight > 0 else None,
    )


def _augmenter(settings: StyleGAN2Settings, generator: Generator) -> AdaptiveAugment | None:
    if not settings.adaptive:
        return None
    ada, size, channels = settings.augmentation, generator.img_size, generator.img_channels
    return AdaptiveAugment(size, channels, ada.ada_set, ada.ada_p)


def _ada_settings(settings: StyleGAN2Settings) -> AdaSettings | None:
    """Return how the strength of ADA is learned; None if it is fixed, and without ADA."""
    ada = settings.augmentation
    if not settings.adaptive or ada.ada_target is None:
        return None
    return AdaSettings(ada.ada_target, ada_kimg=ada.ada_kimg, p_max=ada.ada_p_max)


def _path_length(weights: Regularization) -> PathLength | None:
    if weights.pl_weight == 0:
        return None
    return PathLength(
        weights.pl_weight, weights.pl_interval, weights.pl_decay, weights.pl_batch_shrink
    )
