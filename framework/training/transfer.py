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


def start_from(
    model: str,
    generator: nn.Module,
    averages: Sequence[nn.Module],
    discriminator: nn.Module,
) -> list[TakenOver]:
    """Fill fresh networks from any model that opens here.

    Args:
        model: Zoo name, model folder, run checkpoint, or a file of another program.
        generator: Takes the generator as trained, where the model has it.
        averages: Take the averaged generator.
        discriminator: Takes the discriminator; stays fresh where the model has none.

    Raises:
        UserError: If the model cannot be opened, or its mapping network has other sizes.
    """
    opened = open_model(model, "--model.start_from")
    averaged = opened.network("generator")
    has_trained = "training_generator" in opened.held
    trained = opened.network("training_generator") if has_trained else averaged
    _check_sizes(model, generator, averaged)
    report = [take_over("generator", generator, trained)]
    report += [take_over("average", average, averaged) for average in averages]
    if "discriminator" in opened.held:
        source = opened.network("discriminator")
        report.append(take_over("discriminator", discriminator, source))
    return report


def _check_sizes(model: str, ours: Any, theirs: Any) -> None:
    """Refuse a model whose styles would mean nothing to us, and say how to ask for its sizes."""
    needed = ("z_dim", "w_dim", "mapping_layers")
    if any(ours.config[name] != theirs.config[name] for name in needed):
        names = (*needed, "channel_base", "channel_max")
        flags = " ".join(f"--model.{name} {theirs.config[name]}" for name in names)
        raise UserError(f"--model.start_from {model}: has other sizes; give {flags}")


@torch.no_grad()
def take_over(name: str, target: nn.Module, source: nn.Module) -> TakenOver:
    """Copy every tensor of `source` that `target` has under the same name and shape."""
    held, wanted = source.state_dict(), target.state_dict()
    taken = [key for key, tensor in wanted.items() if _fits(tensor, held.get(key))]
    for key in taken:
        wanted[key].copy_(held[key])
    chosen = set(taken)
    return TakenOver(
        name,
        taken,
        fresh=[key for key in wanted if key not in chosen],
        left=[key for key in held if key not in chosen],
    )


def _fits(ours: torch.Tensor, theirs: torch.Tensor | None) -> bool:
    return theirs is not None and ours.shape == theirs.shape


def _part(name: str) -> str:
    """`synthesis.b64` of synthesis.b64.conv0.weight; `mapping` of mapping.fc0.weight."""
    words = name.split(".")
    return ".".join(words[:2]) if words[0] == "synthesis" else words[0]
