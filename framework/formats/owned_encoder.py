"""An encoder of another input than pictures in one file, which belongs to the weights of one model.

Data only: the weights in half precision, and in the metadata the sizes and the digests of the
generator and of the encoder of pictures whose codes it speaks of. They mean nothing to another
model.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from framework.errors import BrokenCheckpoint, UserError
from framework.formats.model_folder import check_finite
from framework.models.sketch import fill
from framework.tensor_files import DIGEST, contents_digest, read_tensors, write_tensors

E = TypeVar("E", bound=nn.Module)
VERSION = 1
_LARGEST_FILE = 256 << 20
_ABOUT = {"encoder", "generator_digest", "encoder_digest", "model_name", "provenance"}


def save_owned(
    path: str | Path,
    encoder: nn.Module,
    format_name: str,
    generator_digest: str,
    encoder_digest: str,
    model_name: str,
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Write an encoder, whole or not at all; return its file.

    Args:
        path: The file.
        encoder: The encoder; its `config` makes it again.
        format_name: The kind of file.
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
    metadata = {"format": format_name, "version": str(VERSION), "about": json.dumps(about)}
    write_tensors(path, tensors, metadata)
    return Path(path)


def load_owned(
    path: Path,
    format_name: str,
    complaint: str,
    new: Callable[[Any, Mapping[str, Tensor]], E],
    generator_digest: str,
    encoder_digest: str,
    model: str,
    remedy: str,
) -> E:
    """Read the encoder of a model, frozen, float32, on the CPU.

    Args:
        path: The file.
        format_name: The kind of file.
        complaint: What a file that is none of them is told.
        new: Makes the encoder without values, of its configuration and the tensors of the file.
        generator_digest: Digest of the model's generator.
        encoder_digest: Digest of its encoder of pictures.
        model: The user's name of the model.
        remedy: The command that trains an encoder of this model.

    Raises:
        UserError: If it belongs to another model, naming the remedy.
        BrokenCheckpoint: If the file is another kind, damaged, or its contents do not fit.
    """
    tensors, metadata = read_tensors(path, complaint=complaint, most_bytes=_LARGEST_FILE)
    try:
        about = _about(metadata, tensors, format_name)
        for ours, its, what in (
            (str(about["generator_digest"]), generator_digest, "generator"),
            (str(about["encoder_digest"]), encoder_digest, "encoder of pictures"),
        ):
            if ours != its:
                raise UserError(
                    f"{path}: belongs to another {what}, digest {ours[:8]} of"
                    f" {about['model_name']!r}, and {model}'s is {its[:8]}; {remedy} trains its own"
                )
        encoder = new(about["encoder"], tensors)
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, RuntimeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise BrokenCheckpoint(f"{path}: {complaint} ({str(reason)[:200]})") from None
    fill(encoder, tensors, str(path), "its description")
    check_finite(tensors, str(path))
    return encoder


def _about(
    metadata: Mapping[str, str], tensors: Mapping[str, Tensor], format_name: str
) -> dict[str, Any]:
    if metadata.get("format") != format_name:
        raise ValueError("it has another format")
    if metadata["version"] != str(VERSION):
        raise ValueError(f"version {metadata['version'][:20]}, this program reads {VERSION}")
    if metadata[DIGEST] != contents_digest(metadata, tensors):
        raise ValueError("its digest does not match its contents; damaged")
    about = json.loads(metadata["about"])
    if not isinstance(about, dict) or about.keys() != _ABOUT:
        raise ValueError("its description is not of such an encoder")
    return about
