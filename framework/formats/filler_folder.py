"""Networks that fill holes on the disk: a folder with `config.json` and `filler.safetensors`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from framework.errors import UserError
from framework.files import write_text
from framework.models.filling.network import HoleFiller
from framework.tensor_files import read_tensors, write_tensors

FORMAT, FORMAT_VERSION = "dragline-filler", 1
CONFIG, WEIGHTS, CARD = "config.json", "filler.safetensors", "README.md"


def save_filler(
    folder: str | Path,
    filler: HoleFiller,
    provenance: Mapping[str, Any] | None = None,
    card: str = "",
) -> Path:
    """Write a network in half precision; each file is written whole.

    Args:
        folder: The folder; it is created, and files of the same names are replaced.
        filler: The network.
        provenance: Origin of the weights; JSON values.
        card: Markdown of the model card.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.detach().to("cpu", torch.float16).contiguous()
        for name, tensor in filler.state_dict().items()
    }
    about = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "filler": filler.config,
        "provenance": dict(provenance or {}),
    }
    write_tensors(folder / WEIGHTS, tensors, {"config": json.dumps(about)})
    write_text(folder / CONFIG, json.dumps(about, indent=2) + "\n")
    if card:
        write_text(folder / CARD, card)
    return folder


def load_filler(folder: str | Path) -> HoleFiller:
    """Load a network, frozen, float32.

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
        filler = HoleFiller.from_config(about["filler"])
        filler.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(f"{path}: is no network that fills holes: {reason}") from None
    return filler.eval().requires_grad_(False)
