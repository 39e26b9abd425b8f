"""`sketch.safetensors`, `labels.safetensors`: encoders of conditions, which belong to one model.

Data only: the weights in half precision, and in the metadata the sizes, and the digests of the
generator and of the encoder whose codes they speak of. They mean nothing to another model.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from framework.errors import UserError
from framework.formats.owned_encoder import load_owned, save_owned
from framework.models.alignment.condition import ConditionEncoder
from framework.models.translation.condition import Kind

FORMAT = "dragline-condition"
NAMES: dict[Kind, str] = {"sketch": "sketch.safetensors", "labels": "labels.safetensors"}
_COMPLAINT = "cannot be read as an encoder of sketches or labels"


def makes_one(kind: Kind, model: str) -> str:
    """Return the command that trains a model's encoder."""
    config = {"sketch": "sketch_encoder", "labels": "label_encoder"}[kind]
    return (
        f"python train.py fit --config configs/train/translation/{config}.yaml"
        f" --model.generator {model}"
    )


def save_condition_encoder(folder: str | Path, encoder: ConditionEncoder, *args: Any) -> Path:
    """Write an encoder into a folder, whole or not at all; see `save_owned` for what follows."""
    return save_owned(Path(folder) / NAMES[encoder.condition.kind], encoder, FORMAT, *args)


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

    def new(config: Any, tensors: Mapping[str, Tensor]) -> ConditionEncoder:
        with torch.device("meta"):
            encoder = ConditionEncoder.from_config(config)
        if encoder.condition.kind != kind:
            raise UserError(f"{path}: reads {encoder.condition.kind}, not {kind}")
        return encoder

    digests, remedy = (generator_digest, encoder_digest), makes_one(kind, model)
    return load_owned(path, FORMAT, _COMPLAINT, new, *digests, model, remedy)
