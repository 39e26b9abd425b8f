"""`text.safetensors`: a text encoder in one file, which belongs to the weights of one model.

Data only: the weights in half precision, and in the metadata the sizes, the words, and the digests
of the generator and of the encoder whose codes it speaks of. They mean nothing to another model.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from framework.errors import UserError
from framework.formats.owned_encoder import load_owned, save_owned
from framework.models.sketch import Undrawn
from framework.models.text.encoder import TOWERS, TextEncoder

FORMAT = "dragline-text"
NAME = "text.safetensors"
MAKES_ENCODER = "train.py fit --config configs/train/encoder/small.yaml --model.generator"
_MOST_UNITS, _MOST_WORDS, _MOST_LAYERS = 1 << 16, 1 << 20, 64
_COMPLAINT = "cannot be read as a text encoder"


def save_text_encoder(path: str | Path, encoder: TextEncoder, *args: Any) -> Path:
    """Write a text encoder, whole or not at all; see `save_owned` for digests and provenance."""
    return save_owned(path, encoder, FORMAT, *args)


def load_text_encoder(
    path: str | Path, generator_digest: str, encoder_digest: str, model: str
) -> TextEncoder:
    """Read the text encoder of a model, frozen, float32, on the CPU.

    Args:
        path: The file, or a folder that holds it.
        generator_digest: Digest of the model's generator.
        encoder_digest: Digest of its encoder of pictures.
        model: The user's name of the model.

    Raises:
        UserError: If it belongs to another model, naming the command that trains one.
        BrokenCheckpoint: If the file is another kind, damaged, or its contents do not fit.
    """
    path = Path(path)
    path = path / NAME if path.is_dir() else path
    if not path.exists():
        raise UserError(f"{path}: no such file")
    digests, remedy = (generator_digest, encoder_digest), makes_one(model)
    return load_owned(path, FORMAT, _COMPLAINT, _new, *digests, model, remedy)


def makes_one(model: str) -> str:
    """Return the command that trains a text encoder: toy cars have captions, photographs none."""
    name = "toycars64" if Path(model).name.startswith("toycars") else "vehicles64"
    return f"python train.py fit --config configs/train/text/{name}.yaml --model.generator {model}"


def _new(config: Any, tensors: Mapping[str, Tensor]) -> TextEncoder:
    with Undrawn():
        return TextEncoder.from_config(_config(config, tensors))


def _config(config: Any, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Check a configuration before memory is allocated: it may not ask for more than is there."""
    if not isinstance(config, dict) or config.get("tower") not in TOWERS:
        raise ValueError("its tower is unknown")
    sizes = [value for name, value in config.items() if name not in ("tower", "words")]
    if not all(type(size) is int and 1 <= size <= _MOST_UNITS for size in sizes):
        raise ValueError("its sizes are no sizes")
    words = config.get("words", [])
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError("its words are no words")
    held = sum(math.prod(tensor.shape) for tensor in tensors.values())
    width = config.get("width", 1)
    needed = 2 * config["num_ws"] * config["w_dim"] * config["coordinates"] + len(words) * width
    if needed > held or len(words) > _MOST_WORDS or config.get("depth", 1) > _MOST_LAYERS:
        raise ValueError("its description asks for more than the file holds")
    if config.get("depth", 1) * width**2 + config["hidden"] > held:
        raise ValueError("its description asks for more than the file holds")
    return config
