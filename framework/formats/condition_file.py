"""`sketch.safetensors`, `labels.safetensors`: encoders of conditions, which belong to one model.

Data only: the weights in half precision, and in the metadata the sizes, and the digests of the
generator and of the encoder whose codes they speak of. They mean nothing to another model.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from framework.errors import BrokenCheckpoint, UserError
from framework.formats.model_folder import check_finite
from framework.models.alignment.condition import ConditionEncoder
from framework.models.sketch import fill
from framework.models.translation.condition import Kind
from framework.tensor_files import DIGEST, contents_digest, read_tensors, write_tensors

FORMAT, VERSION = "dragline-condition", 1
NAMES: dict[Kind, str] = {"sketch": "sketch.safetensors", "labels": "labels.safetensors"}
_LARGEST_FILE = 256 << 20
_COMPLAINT = "cannot be read as an encoder of sketches or labels"


def makes_one(kind: Kind, model: str) -> str:
    """Return the command that trains a model's encoder."""
    config = {"sketch": "sketch_encoder", "labels": "label_encoder"}[kind]
    return (
        f"python train.py fit --config configs/train/translation/{config}.yaml"
        f" --model.generator {model}"
    )


def save_condition_encoder(
    folder: str | Path,
    encoder: ConditionEncoder,
    generator_digest: str,
    encoder_digest: str,
    model_name: str,
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Write an encoder into a folder, whole or not at all; return its file.

    Args:
        folder: The folder.
        encoder: The encoder.
        generator_digest: Digest of the generator that it was trained for.
        encoder_digest: Digest of that model's encoder of pictures.
        model_name: The user's name of the model.
        provenance: Origin of the weights; JSON values.
    """
    path = Path(folder) / NAMES[encoder.condition.kind]
    tensors = {
        name: tensor.detach().to("cpu", torch.float16).contiguous()
        for name, tensor in encoder.state_dict().items()
    }
    about = {
        "encoder": encoder.config, "generator_digest": generator_digest,
        "encoder_digest": encoder_digest, "model_name": model_name,
        "provenance": dict(provenance or {}),
    }  # fmt: skip
    metadata = {"format": FORMAT, "version": str(VERSION), "about": json.dumps(about)}
    write_tensors(path, tensors, metadata)
    return path


def load_condition_encoder(
    path: str | Path, kind: Kind, generator_digest: str, encoder_digest: str, model: str
) -> ConditionEncoder:
    """Read the encoder of a model, frozen, float32, on the CPU.

    Args:
        path: The file, or a folder that holds it.
        kind: What it must read.
        generator_digest: Digest of the model's generator.
        encoder_digest: Digest of its encoder of pictures.
        model: The user's name of the model.

    Raises:
        UserError: If it belongs to another model, or reads something else.
        BrokenCheckpoint: If the file is another kind, damaged, or its contents do not fit.
    """
    path = Path(path)
    path = path / NAMES[kind] if path.is_dir() else path
    if not path.is_file():
        raise UserError(f"{path}: no such file; {makes_one(kind, model)} makes one")
    tensors, metadata = read_tensors(path, complaint=_COMPLAINT, most_bytes=_LARGEST_FILE)
    try:
        about = _about(metadata, tensors)
        with torch.device("meta"):
            encoder = ConditionEncoder.from_config(about["encoder"])
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, RuntimeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise BrokenCheckpoint(f"{path}: {_COMPLAINT} ({str(reason)[:200]})") from None
    for name, theirs in (("generator", generator_digest), ("encoder", encoder_digest)):
        ours = str(about[f"{name}_digest"])
        if ours != theirs:
            raise UserError(
                f"{path}: belongs to another {name}, digest {ours[:8]}; {model}'s is {theirs[:8]}:"
                f" {makes_one(kind, model)} trains anew"
            )
    if encoder.condition.kind != kind:
        raise UserError(f"{path}: reads {encoder.condition.kind}, not {kind}")
    fill(encoder, tensors, str(path), "its description")
    check_finite(tensors, str(path))
    return encoder


def _about(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    if metadata.get("format") != FORMAT:
        raise ValueError("it has another format")
    if metadata["version"] != str(VERSION):
        raise ValueError(f"version {metadata['version'][:20]}, this program reads {VERSION}")
    if metadata[DIGEST] != contents_digest(metadata, tensors):
        raise ValueError("its digest does not match its contents; damaged")
    about = json.loads(metadata["about"])
    if not isinstance(about, dict):
        raise ValueError("its description is none")
    return about
