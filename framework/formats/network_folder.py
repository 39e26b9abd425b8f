"""Small networks on the disk: folders of `config.json` and weights in half precision."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from framework.errors import UserError
from framework.files import write_text
from framework.tensor_files import read_tensors, write_tensors

CONFIG, CARD = "config.json", "README.md"
N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True)
class NetworkFolder(Generic[N]):
    """The layout of one kind of network.

    Attributes:
        name: Name of the network in the folder's facts; its weights are `NAME.safetensors`.
        what: What it is, for messages: "no network that fills holes".
        make: Function that makes the untrained network of a `config`.
        format: Name of the format.
        version: Newest version that is read.
    """

    name: str
    what: str
    make: Callable[[Mapping[str, Any]], N]
    format: str
    version: int = 1

    @property
    def weights(self) -> str:
        """The file of the weights."""
        return f"{self.name}.safetensors"

    def save(
        self,
        folder: str | Path,
        network: N,
        provenance: Mapping[str, Any] | None = None,
        card: str = "",
    ) -> Path:
        """Write a network in half precision; each file is written whole.

        Args:
            folder: The folder; it is created, and files of the same names are replaced.
            network: The network, with a `config`.
            provenance: Origin of the weights; JSON values.
            card: Markdown of the model card.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            name: tensor.detach().to("cpu", torch.float16).contiguous()
            for name, tensor in network.state_dict().items()
        }
        about = {
            "format": self.format,
            "version": self.version,
            self.name: network.config,
            "provenance": dict(provenance or {}),
        }
        write_tensors(folder / self.weights, tensors, {"config": json.dumps(about)})
        write_text(folder / CONFIG, json.dumps(about, indent=2) + "\n")
        if card:
            write_text(folder / CARD, card)
        return folder

    def load(self, folder: str | Path) -> N:
        """Load a network, frozen, float32.

        Raises:
            UserError: If the folder holds none, or one that is damaged or newer.
        """
        path = Path(folder) / self.weights
        if not path.is_file():
            raise UserError(f"{folder}: holds no {self.weights}; give a folder that training wrote")
        tensors, metadata = read_tensors(path)
        try:
            about = json.loads(metadata["config"])
            if about["format"] != self.format or about["version"] > self.version:
                raise ValueError(f"format {about['format']} {about['version']}")
            network = self.make(about[self.name])
            network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0][:200]
            raise UserError(f"{path}: is {self.what}: {reason}") from None
        return network.eval().requires_grad_(False)
