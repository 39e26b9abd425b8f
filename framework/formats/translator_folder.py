"""Translations on the disk: a folder with `config.json` and `translator.safetensors`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from framework.errors import UserError
from framework.files import write_text
from framework.models.translation.condition import Condition
from framework.models.translation.resnet import ResnetTranslator
from framework.models.translation.spade import SpadeGenerator, StyleReader
from framework.models.translation.unet import UNet
from framework.tensor_files import read_tensors, write_tensors

FORMAT, FORMAT_VERSION = "dragline-translator", 1
CONFIG, WEIGHTS, CARD = "config.json", "translator.safetensors", "README.md"
PICTURE = "picture"
_NETWORKS: dict[str, Any] = {
    kind.__name__: kind for kind in (UNet, ResnetTranslator, SpadeGenerator, StyleReader)
}


@dataclass(frozen=True, eq=False)
class Translator:
    """A translation that was read.

    Args:
        method: `pix2pix`, `cyclegan` or `spade`.
        networks: By what they give: `picture`, perhaps `condition` (the way back) or `style`.
        condition: What it makes pictures from.
        img_size: (H, W) that it was trained on.
    """

    method: str
    networks: Mapping[str, nn.Module]
    condition: Condition
    img_size: tuple[int, int]

    @property
    def varies(self) -> bool:
        """Whether it draws several pictures of one condition."""
        network: Any = self.networks[PICTURE]
        return isinstance(network, SpadeGenerator) or network.config.get("dropout", 0) > 0

    def check_style(self) -> None:
        """Raise `UserError` if it reads no styles."""
        if "style" not in self.networks:
            raise UserError(f"{self.method} takes no style from a picture; spade does")

    def pictures(
        self, levels: Tensor, rng: torch.Generator | None = None, style: Tensor | None = None
    ) -> Tensor:
        """Return pictures (N, C, H, W) in [-1, 1] of conditions.

        Args:
            levels: Conditions (N, img_channels, H, W) in [-1, 1]; see `Condition.encode`.
            rng: Source of what the condition leaves open; None for none of it.
            style: A picture (1, C, H, W) in [-1, 1] whose style all take, of those that read one.

        Raises:
            UserError: If this translation reads no styles.
        """
        conditions = self.condition.encode(levels)
        if style is None:
            return self.networks[PICTURE](conditions, rng)
        self.check_style()
        mean, _ = self.networks["style"](style)
        return self.networks[PICTURE](conditions, style=mean.expand(len(conditions), -1))


def save_translator(
    folder: str | Path,
    method: str,
    networks: Mapping[str, nn.Module],
    condition: Condition,
    img_size: Sequence[int],
    provenance: Mapping[str, Any] | None = None,
    card: str = "",
) -> Path:
    """Write a translation in half precision; each file is written whole.

    Args:
        folder: The folder; it is created, and files of the same names are replaced.
        method: Name of the method.
        networks: By what they give; see `Translator`.
        condition: What it makes pictures from.
        img_size: (H, W) of its pictures.
        provenance: Origin of the weights; JSON values.
        card: Markdown of the model card.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{name}.{key}": _half(tensor)
        for name, network in networks.items()
        for key, tensor in _state(network).items()
    }
    about = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "method": method,
        "networks": {
            name: {"type": type(network).__name__, **network.config}  # type: ignore[dict-item]
            for name, network in networks.items()
        },
        "condition": condition.to_dict(),
        "img_size": list(img_size),
        "provenance": dict(provenance or {}),
    }
    write_tensors(folder / WEIGHTS, tensors, {"config": json.dumps(about)})
    write_text(folder / CONFIG, json.dumps(about, indent=2) + "\n")
    if card:
        write_text(folder / CARD, card)
    return folder


def load_translator(folder: str | Path) -> Translator:
    """Load a translation, frozen, float32.

    Raises:
        UserError: If the folder holds none, or one that is damaged or newer.
    """
    path = Path(folder) / WEIGHTS
    if not path.is_file():
        raise UserError(f"{folder}: holds no {WEIGHTS}; give a folder that training wrote")
    tensors, metadata = read_tensors(path)
    try:
        about = json.loads(metadata["config"])
        if about["format"] != FORMAT or about["version"] > FORMAT_VERSION:
            raise ValueError(f"format {about['format']} {about['version']}")
        condition = Condition.from_dict(about["condition"])
        networks = {
            str(name): _network(name, config, tensors) for name, config in about["networks"].items()
        }
        if networks[PICTURE].config["in_channels"] != condition.channels:
            raise ValueError("network and condition have different channels")
        height, width = map(int, about["img_size"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise UserError(f"{path}: is no translation: {reason}") from None
    return Translator(str(about["method"]), networks, condition, (height, width))


def _state(network: nn.Module) -> dict[str, Tensor]:
    """Return a network's weights as plain values."""
    is_spade = isinstance(network, SpadeGenerator)
    return network.plain_state() if is_spade else network.state_dict()


def _half(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.half() if tensor.is_floating_point() else tensor


def _network(name: str, config: dict[str, Any], tensors: Mapping[str, Tensor]) -> Any:
    """Build one network and give it its tensors; within bounds that those set."""
    kind = _NETWORKS[config["type"]]
    start = f"{name}."
    own = {
        key.removeprefix(start): tensor.float() if tensor.is_floating_point() else tensor
        for key, tensor in tensors.items()
        if key.startswith(start)
    }
    arguments = {key: value for key, value in config.items() if key != "type"}
    with torch.device("meta"):
        count = sum(tensor.numel() for tensor in kind.from_config(arguments).state_dict().values())
    if count != sum(tensor.numel() for tensor in own.values()):
        raise ValueError(f"{name}: its configuration asks for other weights than its file holds")
    network = kind.from_config(arguments)
    network.load_state_dict(own)
    return network.eval().requires_grad_(False)
