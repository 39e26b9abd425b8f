"""`text.safetensors`: a text encoder in one file, which belongs to the weights of one model.

Data only: the weights in half precision, and in the metadata the sizes, the words, and the digests
of the generator and of the encoder whose codes it speaks of. They mean nothing to another model.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from framework.errors import BrokenCheckpoint, UserError
from framework.formats.model_folder import check_finite
from framework.models.sketch import Undrawn, fill
from framework.models.text.encoder import TOWERS, TextEncoder
from framework.tensor_files import DIGEST, contents_digest, read_tensors, write_tensors

FORMAT, VERSION = "dragline-text", 1
NAME = "text.safetensors"
MAKES_ONE = "python train.py fit --config configs/train/text/toycars64.yaml --model.generator"
MAKES_ENCODER = "train.py fit --config configs/train/encoder/small.yaml --model.generator"
_LARGEST_FILE = 256 << 20
_MOST_UNITS, _MOST_WORDS, _MOST_LAYERS = 1 << 16, 1 << 20, 64
_COMPLAINT = "cannot be read as a text encoder"
_ABOUT = {"encoder", "generator_digest", "encoder_digest", "model_name", "provenance"}


def save_text_encoder(
    path: str | Path,
    encoder: TextEncoder,
    generator_digest: str,
    encoder_digest: str,
    model_name: str,
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Write a text encoder, whole or not at all.

    Args:
        path: The file.
        encoder: The text encoder.
        generator_digest: Digest of the generator that it was trained for.
        encoder_digest: Digest of that model's encoder of pictures.
        model_name: The user's name of the model.
        provenance: Origin of the weights; JSON values.
    """
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
    return Path(path)


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
    tensors, metadata = read_tensors(path, complaint=_COMPLAINT, most_bytes=_LARGEST_FILE)
    try:
        about = _about(metadata, tensors)
        if about["generator_digest"] != generator_digest:
            ours, theirs = about["generator_digest"][:8], generator_digest[:8]
            raise UserError(
                f"{path}: belongs to {about['model_name']!r} with digest {ours}, and {model}'s is"
                f" {theirs}; {MAKES_ONE} {model} trains its own"
            )
        if about["encoder_digest"] != encoder_digest:
            raise UserError(
                f"{path}: belongs to another encoder of pictures than {model}'s;"
                f" {MAKES_ONE} {model} trains anew"
            )
        with Undrawn():
            encoder = TextEncoder.from_config(_config(about["encoder"], tensors))
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise BrokenCheckpoint(f"{path}: {_COMPLAINT} ({str(reason)[:200]})") from None
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
    if not isinstance(about, dict) or about.keys() != _ABOUT:
        raise ValueError("its description is not of a text encoder")
    return about


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
