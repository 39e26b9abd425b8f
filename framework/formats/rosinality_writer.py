"""Our networks as a `.pt` for rosinality's stylegan2-pytorch and programs built on it."""

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import torch
from torch import Tensor

from framework.errors import UserError
from framework.formats.rosinality import (
    MINIBATCH_GROUP,
    UPSAMPLING_GAIN,
    Name,
    discriminator_names,
    generator_names,
)
from framework.models.stylegan2 import Discriminator, Generator
from framework.models.stylegan2.layers import channels_at, pyramid

_BASE_SIDES = (4, 4)  # sides of its smallest block
# Its table of feature maps: 512 up to 32 px, then 16384 * channel_multiplier / resolution.
_SMALL_BLOCKS, _SMALL_CHANNELS = (4, 8, 16, 32), 512
_LARGE_BLOCKS, _CHANNEL_BASE = (64, 128, 256, 512, 1024), 16384
_MULTIPLIERS = (2, 1)  # the only ones that fit min(base / resolution, most); 2 is its default
_SCRIPTS_LATENT, _SCRIPTS_N_MLP = 512, 8


def write_rosinality(
    file: BinaryIO, generator: Generator, discriminator: Discriminator | None = None
) -> list[str]:
    """Write `g_ema`, `latent_avg` and, where there is one, `d`, complete for a strict loading.

    The discriminator is left out, with a note, if that program has no such design.

    Returns:
        Notes on what is lost and on what the other program needs to be told, a sentence each.

    Raises:
        UserError: If that program has no such generator.
    """
    config = generator.config
    if reason := _unlike_theirs(config) or _other_generator(config):
        raise UserError(f"rosinality's generator {reason}; export to nvidia instead")
    if config["z_dim"] != config["w_dim"]:
        sizes = f"z has {config['z_dim']} numbers and w {config['w_dim']}"
        raise UserError(f"rosinality's z is as long as w, here {sizes}; export to nvidia instead")
    snapshot: dict[str, Any] = {"g_ema": _generator_state(generator)}
    snapshot["latent_avg"] = _stored(generator.mapping.w_avg)
    notes = [_arguments(config), *_lost(config, "generator")]
    if discriminator is not None:
        reason = _unlike_theirs(discriminator.config) or _other_discriminator(discriminator.config)
        if reason:
            notes.append(f"The discriminator is left out: rosinality's {reason}.")
        else:
            snapshot["d"] = _discriminator_state(discriminator)
            notes += _lost(discriminator.config, "discriminator")
    torch.save(snapshot, file)
    return notes


def _unlike_theirs(config: dict[str, Any]) -> str:
    """Say how their networks differ from this configuration; empty if they agree."""
    height, width = config["img_size"]
    if config["c_dim"]:
        return f"has no labels (c_dim {config['c_dim']})"
    if config["img_channels"] != 3:
        return f"makes RGB only ({config['img_channels']} channels)"
    if pyramid((height, width))[0] != _BASE_SIDES:
        return f"knows only squares of 2^k pixels ({width}x{height})"
    return ""


def _other_generator(config: dict[str, Any]) -> str:
    architecture = config.get("architecture", "skip")
    unlike = f"adds up the colours of all blocks (architecture {architecture})"
    return "" if architecture == "skip" else unlike


def _other_discriminator(config: dict[str, Any]) -> str:
    if config["architecture"] != "resnet":
        return f"has shortcuts (architecture {config['architecture']})"
    return "" if config["mbstd_group_size"] else "needs the minibatch's statistics"


def _generator_state(generator: Generator) -> dict[str, Tensor]:
    ours, levels = generator.state_dict(), len(generator.synthesis.resolutions) - 1
    state = _renamed(ours, generator_names(generator.config["mapping_layers"], levels))
    for j in range(levels):
        blur = _stored(ours[f"synthesis.b{8 << j}.conv0.resample_filter"])
        state[f"convs.{2 * j}.conv.blur.kernel"] = blur * UPSAMPLING_GAIN
        larger = _stored(ours[f"synthesis.b{8 << j}.resample_filter"])
        state[f"to_rgbs.{j}.upsample.kernel"] = larger * UPSAMPLING_GAIN
    return state


def _discriminator_state(discriminator: Discriminator) -> dict[str, Tensor]:
    ours, levels = discriminator.state_dict(), len(discriminator.resolutions) - 1
    state = _renamed(ours, discriminator_names(levels))
    for j, r in enumerate(discriminator.resolutions[:-1]):
        state[f"convs.{j + 1}.conv2.0.kernel"] = _stored(ours[f"b{r}.conv1.resample_filter"])
        state[f"convs.{j + 1}.skip.0.kernel"] = _stored(ours[f"b{r}.skip.resample_filter"])
    return state


def _renamed(ours: dict[str, Tensor], names: Iterable[Name]) -> dict[str, Tensor]:
    """Rename tensors to their names, with their axes of length one."""
    return {
        name.theirs: _stored(ours[name.ours])[
            (*[None] * name.leading, ..., *[None] * name.trailing)
        ]
        for name in names
    }


def _stored(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32).contiguous()


def _arguments(config: dict[str, Any]) -> str:
    """Say which arguments their scripts need to build this generator."""
    settings = [f"--size {config['img_size'][0]}"]
    if (latent := config["w_dim"]) != _SCRIPTS_LATENT:
        settings.append(f"latent {latent} where they say {_SCRIPTS_LATENT}")
    if (n_mlp := config["mapping_layers"]) != _SCRIPTS_N_MLP:
        settings.append(f"n_mlp {n_mlp} where they say {_SCRIPTS_N_MLP}")
    base, most = config["channel_base"], config["channel_max"]
    channels = {r: channels_at(r, base, most) for r in pyramid(config["img_size"])[1]}
    multiplier = _channel_multiplier(channels)
    if multiplier is None:
        settings.append(f"in model.py the channels {channels}, which no channel_multiplier gives")
    elif multiplier != _MULTIPLIERS[0]:
        settings.append(f"--channel_multiplier {multiplier}")
    return f"Tell rosinality's scripts: {', '.join(settings)}."


def _channel_multiplier(channels: dict[int, int]) -> int | None:
    """Find the `channel_multiplier` with which their table gives these feature maps."""
    for multiplier in _MULTIPLIERS:
        table = dict.fromkeys(_SMALL_BLOCKS, _SMALL_CHANNELS)
        table |= {r: _CHANNEL_BASE * multiplier // r for r in _LARGE_BLOCKS}
        if channels.items() <= table.items():
            return multiplier
    return None


def _lost(config: dict[str, Any], network: str) -> Iterator[str]:
    if (clamp := config["conv_clamp"]) is not None:
        yield f"The {network}'s clamp at {clamp:g} is lost: rosinality's clamps nothing."
    if config["low_precision_blocks"]:
        yield f"The {network} runs in float32 there, all blocks."
    if config.get("mbstd_group_size", MINIBATCH_GROUP) != MINIBATCH_GROUP:
        group = config["mbstd_group_size"]
        yield f"The {network}'s statistics are of {MINIBATCH_GROUP} samples there, not of {group}."
