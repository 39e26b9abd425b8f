"""Diffusion models on the disk, in diffusers' layout: written here."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from framework.files import sha256_file, write_text
from framework.models.diffusion.unet import config_of
from framework.tensor_files import DIGEST, write_tensors

FORMAT, FORMAT_VERSION = "dragline-diffusion", 1
INDEX, CONFIG, CARD = "model_index.json", "config.json", "README.md"
UNET, SCHEDULER = "unet", "scheduler"
WEIGHTS = "diffusion_pytorch_model.safetensors"
SCHEDULER_CONFIG = "scheduler_config.json"
_PACKAGE = "diffusers"


def save_diffusion_folder(
    folder: str | Path,
    unet: nn.Module,
    scheduler: Mapping[str, Any],
    provenance: Mapping[str, Any] | None = None,
    card: str = "",
    half: bool = False,
) -> Path:
    """Write an unconditional model; each file is written whole, `config.json` with digests last.

    Args:
        folder: The folder; it is created, and files of the same names are replaced.
        unet: The averaged U-Net.
        scheduler: The content of `scheduler_config.json`.
        provenance: Origin of the weights; JSON values.
        card: Markdown of the model card.
        half: Whether to store weights in half precision.
    """
    folder = Path(folder)
    for part in (UNET, SCHEDULER):
        (folder / part).mkdir(parents=True, exist_ok=True)
    kind = str(scheduler["_class_name"])
    index = {
        "_class_name": "DDIMPipeline",
        UNET: [_PACKAGE, type(unet).__name__],
        SCHEDULER: [_PACKAGE, kind],
    }
    config = {"_class_name": type(unet).__name__, **config_of(unet)}
    _write(folder / UNET / CONFIG, config)
    _write(folder / SCHEDULER / SCHEDULER_CONFIG, dict(scheduler))
    _write(folder / INDEX, index)
    dtype = torch.float16 if half else torch.float32
    tensors = {
        name: tensor.detach().to("cpu", dtype, copy=True).contiguous()
        for name, tensor in unet.state_dict().items()
    }
    write_tensors(folder / UNET / WEIGHTS, tensors, {"format": "pt"})
    if card:
        write_text(folder / CARD, card)
    parts = (f"{UNET}/{CONFIG}", f"{UNET}/{WEIGHTS}", f"{SCHEDULER}/{SCHEDULER_CONFIG}", INDEX)
    digests = {part: sha256_file(folder / part) for part in parts}
    description = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "provenance": dict(provenance or {}),
    }
    _write(folder / CONFIG, {**description, DIGEST: digests})
    return folder


def _write(path: Path, table: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(table, indent=2) + "\n")
