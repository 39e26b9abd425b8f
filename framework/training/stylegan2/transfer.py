"""Starting from a trained model: what fits is taken over by name, and a table says what was.

Blocks carry the names of their resolution, so a model of another size gives the blocks that both
have; labels that are new, or other in number, begin fresh.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from framework.errors import UserError
from framework.formats import open_model

STYLE_SIZES = ("z_dim", "w_dim", "mapping_layers")
GENERATOR_SIZES = (*STYLE_SIZES, "channel_base", "channel_max")


@dataclass(frozen=True)
class TakenOver:
    """What became of one network's tensors.

    Attributes:
        network: Its name.
        taken: Names of tensors copied from the model.
        fresh: Names of those that the model lacks or has in another shape.
        left: Names of the model's that found no place.
    """

    network: str
    taken: list[str]
    fresh: list[str]
    left: list[str]

    def lines(self) -> list[str]:
        """The table: one line for each part of the network, such as `synthesis.b64`."""
        groups = [Counter(map(_part, names)) for names in (self.taken, self.fresh, self.left)]
        parts = list(dict.fromkeys(map(_part, [*self.taken, *self.fresh, *self.left])))
        words = ("taken over", "new", "left behind")
        counts = (
            (part, [f"{g[part]} {word}" for g, word in zip(groups, words, strict=True) if g[part]])
            for part in parts
        )
        return [f"{self.network:<14}{part:<18}{', '.join(said)}" for part, said in counts]


@dataclass(frozen=True)
class Start:
    """A model to begin with.

    Attributes:
        name: What the user called it.
        generator: As trained, where the model has it; else the averaged one.
        average: The averaged generator.
        discriminator: None where the model has none.
    """

    name: str
    generator: Any
    average: Any
    discriminator: Any


def open_start(model: str) -> Start:
    """Open a model to begin with: zoo name, model folder, run checkpoint, another program's file.

    Raises:
        UserError: If it cannot be opened.
    """
    opened = open_model(model, "--model.start_from")
    average = opened.network("generator")
    trained = "training_generator" in opened.networks
    opposed = "discriminator" in opened.networks
    return Start(
        model,
        opened.network("training_generator") if trained else average,
        average,
        opened.network("discriminator") if opposed else None,
    )


def start_from(
    start: Start | str,
    generator: nn.Module,
    averages: Sequence[nn.Module],
    discriminator: nn.Module,
    partial: bool = False,
) -> list[TakenOver]:
    """Fill fresh networks from any model that opens here.

    Args:
        start: The model, opened or as `open_start` takes it.
        generator: Takes the generator as trained, where the model has it.
        averages: Take the averaged generator.
        discriminator: Takes the discriminator; stays fresh where the model has none.
        partial: See `check_start`.

    Raises:
        UserError: If the model cannot be opened, or has networks of other sizes.
    """
    start = open_start(start) if isinstance(start, str) else start
    check_start(start, generator, discriminator, partial)
    report = [take_over("generator", generator, start.generator)]
    report += [take_over("average", average, start.average) for average in averages]
    if start.discriminator is not None:
        report.append(take_over("discriminator", discriminator, start.discriminator))
    return report


def check_start(start: Start, generator: Any, discriminator: Any, partial: bool = False) -> None:
    """Refuse a model of which a patchwork would be left, and say how to ask for its sizes.

    New may be what another picture size, other labels or other channels bring with them.

    Args:
        start: The model.
        generator: Ours, on any device; only its shapes are looked at.
        discriminator: Ours, likewise.
        partial: Let other widths pass, too, which leaves the parts of such layers new.

    Raises:
        UserError: Naming the settings that fit.
    """
    theirs = start.average.config
    if any(generator.config[name] != theirs[name] for name in STYLE_SIZES):
        raise _other_sizes(start, "styles of other sizes", "")
    odd = misfits(generator, start.average)
    if start.discriminator is not None:
        odd += misfits(discriminator, start.discriminator)
    if odd and not partial:
        way = ", or --model.transfer.start_partial true, which leaves such layers new"
        raise _other_sizes(start, f"{len(odd)} tensors of other shapes, such as {odd[0]}", way)


def _other_sizes(start: Start, what: str, way: str) -> UserError:
    sizes = sizes_of(start.average.config, getattr(start.discriminator, "config", {}))
    flags = " ".join(f"--model.networks.{name} {value}" for name, value in sizes.items())
    return UserError(
        f"--model.start_from {start.name}: has {what}; leave sizes out (null), which takes the "
        f"model's, or give {flags}{way}"
    )


def sizes_of(generator: dict[str, Any], discriminator: dict[str, Any]) -> dict[str, Any]:
    """Settings of a training whose networks are like those of two configurations."""
    sizes = {name: generator[name] for name in GENERATOR_SIZES}
    sizes["architecture"] = generator.get("architecture", "skip")
    for name in ("channel_base", "architecture"):
        if name in discriminator:
            sizes[f"discriminator_{name}"] = discriminator[name]
    return sizes


def misfits(ours: Any, theirs: Any) -> list[str]:
    """Names of tensors that keep two networks from being of one kind.

    They have another shape, or only one of the networks has them, and neither picture size, labels
    nor channels of the picture explain that.
    """
    new, old = ours.state_dict(), theirs.state_dict()
    odd = [name for name in new | old if not _same_shape(new.get(name), old.get(name))]
    parts = _explained(ours.config, theirs.config)
    shared = set(map(_block, new)) & set(map(_block, old))
    return [name for name in odd if _block(name) in shared and not _is_part(name, parts)]


def _explained(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Words in the names of tensors that may differ."""
    parts: list[str] = []
    if ours["c_dim"] != theirs["c_dim"]:
        # Of a discriminator, all of the mapping is for labels, and its last layer asks it.
        parts += ["embed", "mapping.fc0"] + (["mapping", "b4.out"] if _judges(ours) else [])
    if ours["label_fade"] != theirs["label_fade"]:
        parts += ["label_strength", "b4.out", "out_unconditional"]
    if ours["img_channels"] != theirs["img_channels"]:
        parts += ["torgb.weight", "torgb.bias", "fromrgb.weight"]
    if ours["img_size"] != theirs["img_size"]:
        # The block of the largest pictures has what others have not; the base may be no square.
        parts += ["fromrgb", "const", "noise_const", "b4.fc"]
        parts += ["torgb"] if ours.get("architecture", "skip") != "skip" else []
    return parts


def _judges(config: dict[str, Any]) -> bool:
    return "z_dim" not in config


def _is_part(name: str, parts: list[str]) -> bool:
    return any(f".{part}." in f".{name}." for part in parts)


def _block(name: str) -> str:
    """`b64` of synthesis.b64.conv0.weight; `mapping` of mapping.fc0.weight."""
    return name.removeprefix("synthesis.").split(".")[0]


@torch.no_grad()
def take_over(name: str, target: nn.Module, source: nn.Module) -> TakenOver:
    """Copy every tensor of `source` that `target` has under the same name and shape."""
    held, wanted = source.state_dict(), target.state_dict()
    taken = [key for key, tensor in wanted.items() if _same_shape(tensor, held.get(key))]
    for key in taken:
        wanted[key].copy_(held[key])
    chosen = set(taken)
    return TakenOver(
        name,
        taken,
        fresh=[key for key in wanted if key not in chosen],
        left=[key for key in held if key not in chosen],
    )


def _same_shape(ours: torch.Tensor | None, theirs: torch.Tensor | None) -> bool:
    return ours is not None and theirs is not None and ours.shape == theirs.shape


def _part(name: str) -> str:
    """`synthesis.b64` of synthesis.b64.conv0.weight; `mapping` of mapping.fc0.weight."""
    words = name.split(".")
    return ".".join(words[:2]) if words[0] == "synthesis" else words[0]
