"""Starting from a trained model: what fits is copied by name, and a table says what did.

Blocks have the names of their resolution, so a model of another size gives the blocks that both
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
class CopyReport:
    """Which of one network's tensors were copied.

    Attributes:
        network: Name of the network.
        fitting: Names of tensors copied from the model.
        fresh: Names of tensors that the model lacks or has in another shape.
        unused: Names of the model's tensors that have no place here.
    """

    network: str
    fitting: list[str]
    fresh: list[str]
    unused: list[str]

    def lines(self) -> list[str]:
        """Return the table: one line for each part of the network, such as `synthesis.b64`."""
        groups = [Counter(map(_part, names)) for names in (self.fitting, self.fresh, self.unused)]
        parts = list(dict.fromkeys(map(_part, [*self.fitting, *self.fresh, *self.unused])))
        words = ("taken over", "new", "left behind")
        counts = (
            (part, [f"{g[part]} {word}" for g, word in zip(groups, words, strict=True) if g[part]])
            for part in parts
        )
        return [f"{self.network:<14}{part:<18}{', '.join(numbers)}" for part, numbers in counts]


@dataclass(frozen=True)
class Start:
    """A model to start from.

    Attributes:
        name: The user's name for the model.
        generator: The generator as trained, if the model has it; else the averaged one.
        average: The averaged generator.
        discriminator: The discriminator; None if the model has none.
    """

    name: str
    generator: Any
    average: Any
    discriminator: Any


def open_start(model: str) -> Start:
    """Open a model to start from: zoo name, model folder, run checkpoint, another program's file.

    Raises:
        UserError: If it cannot be opened.
    """
    opened = open_model(model, "--model.start_from")
    average = opened.network("generator")
    has_trained = "training_generator" in opened.networks
    has_opponent = "discriminator" in opened.networks
    return Start(
        model,
        opened.network("training_generator") if has_trained else average,
        average,
        opened.network("discriminator") if has_opponent else None,
    )


def start_from(
    start: Start | str,
    generator: nn.Module,
    averages: Sequence[nn.Module],
    discriminator: nn.Module,
    partial: bool = False,
) -> list[CopyReport]:
    """Fill fresh networks from any model that opens here.

    Args:
        start: The model, opened or as `open_start` takes it.
        generator: Network for the generator as trained, if the model has it.
        averages: Networks for the averaged generator.
        discriminator: Network for the discriminator; stays fresh if the model has none.
        partial: See `check_start`.

    Raises:
        UserError: If the model cannot be opened, or has networks of other sizes.
    """
    start = open_start(start) if isinstance(start, str) else start
    check_start(start, generator, discriminator, partial)
    report = [copy_fitting("generator", generator, start.generator)]
    report += [copy_fitting("average", average, start.average) for average in averages]
    if start.discriminator is None:
        return [*report, CopyReport("discriminator", [], list(discriminator.state_dict()), [])]
    return [*report, copy_fitting("discriminator", discriminator, start.discriminator)]


def check_start(start: Start, generator: Any, discriminator: Any, partial: bool = False) -> None:
    """Refuse a model that would leave a patchwork, and name the settings of its sizes.

    Only parts that depend on picture size, labels or channels may be new.

    Args:
        start: The model.
        generator: Our generator, on any device; only its shapes matter.
        discriminator: Our discriminator, likewise.
        partial: Let other widths pass, too, which leaves such layers new.

    Raises:
        UserError: Naming the settings that fit.
    """
    theirs = start.average.config
    if any(generator.config[name] != theirs[name] for name in STYLE_SIZES):
        raise _other_sizes(start, "styles of other sizes", "")
    misfit_names = misfits(generator, start.average)
    if start.discriminator is not None:
        misfit_names += misfits(discriminator, start.discriminator)
    if misfit_names and not partial:
        way = ", or --model.transfer.start_partial true, which leaves such layers new"
        what = f"{len(misfit_names)} tensors of other shapes, such as {misfit_names[0]}"
        raise _other_sizes(start, what, way)


def _other_sizes(start: Start, what: str, way: str) -> UserError:
    sizes = sizes_of(start.average.config, getattr(start.discriminator, "config", {}))
    flags = " ".join(f"--model.networks.{name} {value}" for name, value in sizes.items())
    return UserError(
        f"{start.name}: has {what}; leave sizes out (null), which takes the "
        f"model's, or give {flags}{way}",
        "start_from",
    )


def sizes_of(generator: dict[str, Any], discriminator: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of networks like those of two configurations."""
    sizes = {name: generator[name] for name in GENERATOR_SIZES}
    sizes["architecture"] = generator.get("architecture", "skip")
    for name in ("channel_base", "architecture"):
        if name in discriminator:
            sizes[f"discriminator_{name}"] = discriminator[name]
    return sizes


def misfits(ours: Any, theirs: Any) -> list[str]:
    """Return the names of tensors that keep two networks from being of one kind.

    They have another shape, or only one of the networks has them, and neither picture size, labels
    nor channels of the picture explain that.
    """
    new, old = ours.state_dict(), theirs.state_dict()
    other_shapes = [name for name in new | old if not _same_shape(new.get(name), old.get(name))]
    parts = _explained(ours.config, theirs.config)
    shared = set(map(_block, new)) & set(map(_block, old))
    return [name for name in other_shapes if _block(name) in shared and not _is_part(name, parts)]


def _explained(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Return words in the names of tensors that may differ."""
    parts: list[str] = []
    if ours["c_dim"] != theirs["c_dim"]:
        # A discriminator's whole mapping is for labels, and its last layer uses it.
        parts += ["embed", "mapping.fc0"] + (["mapping", "b4.out"] if _judges(ours) else [])
    if ours["label_fade"] != theirs["label_fade"]:
        parts += ["label_strength", "b4.out", "out_unconditional"]
    if ours["img_channels"] != theirs["img_channels"]:
        parts += ["torgb.weight", "torgb.bias", "fromrgb.weight"]
    if ours["img_size"] != theirs["img_size"]:
        # Only the block of the largest pictures has fromrgb; the base may be no square.
        parts += ["fromrgb", "const", "noise_const", "b4.fc"]
        parts += ["torgb"] if ours.get("architecture", "skip") != "skip" else []
    return parts


def _judges(config: dict[str, Any]) -> bool:
    return "z_dim" not in config


def _is_part(name: str, parts: list[str]) -> bool:
    return any(f".{part}." in f".{name}." for part in parts)


def _block(name: str) -> str:
    """Return `b64` for synthesis.b64.conv0.weight, `mapping` for mapping.fc0.weight."""
    return name.removeprefix("synthesis.").split(".")[0]


@torch.no_grad()
def copy_fitting(name: str, target: nn.Module, source: nn.Module) -> CopyReport:
    """Copy every tensor of `source` that `target` has under the same name and shape."""
    theirs, ours = source.state_dict(), target.state_dict()
    fitting = [key for key, tensor in ours.items() if _same_shape(tensor, theirs.get(key))]
    for key in fitting:
        ours[key].copy_(theirs[key])
    return CopyReport(
        name,
        fitting,
        fresh=[key for key in ours if key not in set(fitting)],
        unused=[key for key in theirs if key not in set(fitting)],
    )


def _same_shape(ours: torch.Tensor | None, theirs: torch.Tensor | None) -> bool:
    return ours is not None and theirs is not None and ours.shape == theirs.shape


def _part(name: str) -> str:
    """Return `synthesis.b64` for synthesis.b64.conv0.weight, `mapping` for mapping.fc0.weight."""
    words = name.split(".")
    return ".".join(words[:2]) if words[0] == "synthesis" else words[0]
