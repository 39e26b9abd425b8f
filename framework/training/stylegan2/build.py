"""Networks, the game they play and their optimizers, fresh from the settings of a training."""

from typing import Any

import torch
from torch import nn

from framework.errors import UserError
from framework.models.stylegan2.discriminator import Discriminator
from framework.models.stylegan2.generator import Generator
from framework.training.phases import Phase, lazy_share
from framework.training.stylegan2.ada import AdaptiveAugment, AdaSettings
from framework.training.stylegan2.game import Game
from framework.training.stylegan2.limits import diffaugment_policy, r1_gamma, r1_interval
from framework.training.stylegan2.objectives import LOSSES
from framework.training.stylegan2.regularizers import LeCam, PathLength


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
        "label_fade": settings["transition_kimg"] is not None and c_dim > 0,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings["seed"])
        generator = Generator(
            z_dim=settings["z_dim"],
            w_dim=settings["w_dim"],
            channel_base=settings["channel_base"],
            architecture=settings["architecture"],
            **common,
        )
        discriminator = Discriminator(
            channel_base=settings["discriminator_channel_base"] or settings["channel_base"],
            mbstd_group_size=settings["mbstd_group_size"],
            architecture=settings["discriminator_architecture"],
            **common,
        )
    if settings["channels_last"]:
        generator.synthesis.memory_format = torch.channels_last
        discriminator.memory_format = torch.channels_last
    return generator, discriminator


def frozen_layers(discriminator: Discriminator, count: int) -> list[nn.Module]:
    """The first `count` layers, from the picture on, that FreezeD keeps (Mo et al. 2020).

    They are counted as NVIDIA's `--freezed` does: block by block `fromrgb` (in the first), `conv0`,
    `conv1`, `skip`; the last block is always trained.

    Raises:
        UserError: If there are fewer.
    """
    blocks = [discriminator.get_submodule(f"b{r}") for r in discriminator.resolutions[:-1]]
    names = ("fromrgb", "conv0", "conv1", "skip")
    layers = [getattr(block, name) for block in blocks for name in names if hasattr(block, name)]
    if count > len(layers):
        raise UserError(
            f"--model.freeze_d_layers {count}: the discriminator has {len(layers)} before its last "
            "block"
        )
    return layers[:count]


def build_game(
    settings: dict[str, Any], generator: Generator, discriminator: Discriminator, batch_size: int
) -> Game:
    """The objectives that `settings` ask for, with what they remember fresh."""
    s, loss = settings, LOSSES[settings["loss"]]
    return Game(
        generator,
        discriminator,
        batch_size,
        loss=loss,
        policy=diffaugment_policy(s["augment"]),
        augmenter=_augmenter(s, generator),
        ada=_ada_settings(s),
        mirror=s["mirror"],
        style_mixing_prob=s["style_mixing_prob"],
        r1_gamma=r1_gamma(s["r1_gamma"], generator.img_size, batch_size),
        r1_interval=r1_interval(s["r1_interval"], loss.penalty),
        gp_weight=s["gp_weight"],
        transition_kimg=s["transition_kimg"],
        path_length=_path_length(s),
        lecam=LeCam(s["lecam_weight"]) if s["lecam_weight"] > 0 else None,
    )


def adam_speed(settings: dict[str, Any], network: nn.Module, phases: list[Phase]) -> dict[str, Any]:
    """Learning rate and decay rates of a network's Adam, slowed for its lazy regularisation."""
    ratio = lazy_share(network, phases)
    betas = tuple(float(beta) ** ratio for beta in settings["betas"])
    return {"lr": settings["lr"] * ratio, "betas": betas}


def _augmenter(settings: dict[str, Any], generator: Generator) -> AdaptiveAugment | None:
    if settings["augment"].strip() != "ada":
        return None
    size, channels = generator.img_size, generator.img_channels
    return AdaptiveAugment(size, channels, settings["ada_set"], settings["ada_p"])


def _ada_settings(settings: dict[str, Any]) -> AdaSettings | None:
    """How the strength of ADA is learned; None for a fixed one, and without ADA."""
    if settings["augment"].strip() != "ada" or settings["ada_target"] is None:
        return None
    return AdaSettings(
        settings["ada_target"], ada_kimg=settings["ada_kimg"], p_max=settings["ada_p_max"]
    )


def _path_length(settings: dict[str, Any]) -> PathLength | None:
    if settings["pl_weight"] == 0:
        return None
    names = ("pl_weight", "pl_interval", "pl_decay", "pl_batch_shrink")
    return PathLength(*(settings[name] for name in names))
