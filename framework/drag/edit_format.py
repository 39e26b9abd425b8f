"""The layout of `edit.safetensors`: written from a record, read back and validated."""

import json
import math
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from framework.drag.points import MAX_POINTS
from framework.drag.settings import DragSettings
from framework.drag.step import Status
from framework.errors import InvalidEdit
from framework.models.frozen import Adam
from framework.tensor_files import DIGEST, contents_digest, read_tensors, write_tensors

FORMAT = "dragline-edit"
VERSION = 1

# Shape of every tensor by the names of its sides; sides of one name are equal throughout the file.
_FLOATS = {
    "start_ws": ("1", "num_ws", "w_dim"),
    "handles": ("K", "2"),
    "ws": ("N", "num_ws", "w_dim"),
    "points": ("N", "K", "2"),
    "targets": ("N", "K", "2"),
    "motion_loss": ("N",),
    "mask_loss": ("N",),
    "drift": ("N", "K"),
    "mask": ("H", "W"),
    "earlier_ws": ("M", "num_ws", "w_dim"),
}
_ADAM = ("1", "rows", "w_dim")
# Metadata of files written before there were digests.
_METADATA_OF_OLD = {"format", "version", "model_name", "model_digest", "settings", "status",
                    "img_size", "adam.count", "inversion"}  # fmt: skip


@dataclass(frozen=True)
class InversionLink:
    """The inverted image that an edit began with.

    Args:
        file: Name of its file, without folders: it lies beside the edit.
        sha256: SHA-256 of the file's bytes.

    Raises:
        InvalidEdit: If the name is not a file's name, or the digest not a SHA-256.
    """

    file: str
    sha256: str

    def __post_init__(self) -> None:
        if not self.file or set(self.file) & set("/\\\0") or self.file in (".", ".."):
            raise InvalidEdit(f"inverted image {self.file!r}: expected the name of a file")
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise InvalidEdit(f"inverted image {self.file!r}: its digest is not a SHA-256")


def write_edit(path: str | Path, values: dict[str, Any]) -> None:
    """Write the fields of an `EditFile`, whole or not at all."""
    optimizer, link = values["optimizer"], values["inversion"]
    tensors = {name: values[name] for name in (*_FLOATS, "step") if values[name] is not None}
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "model_name": values["model_name"],
        "model_digest": values["model_digest"],
        "settings": json.dumps(values["settings"].to_dict()),
        "status": values["status"],
        "img_size": json.dumps(list(values["img_size"])),
    }
    if optimizer is not None:
        tensors |= {
            "adam.mean": as_float(optimizer.mean),
            "adam.square": as_float(optimizer.square),
        }
        metadata["adam.count"] = str(optimizer.count)
    if values["mask"] is not None:
        metadata["settling"] = json.dumps([values["pull_length"], values["settled"]])
    if values["confidence"]:
        metadata["confidence"] = json.dumps(list(values["confidence"]))
    if link is not None:
        metadata["inversion"] = json.dumps(asdict(link))
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    write_tensors(path, tensors, metadata)


def read_edit(path: str | Path) -> dict[str, Any]:
    """Read the fields of an `EditFile`; only data is read, no code is run.

    Raises:
        InvalidEdit: If it is no edit file, is damaged, or its contents contradict each other.
    """
    tensors, metadata = read_tensors(path, complaint="cannot be read as an edit", kind=InvalidEdit)
    try:
        return _decode(metadata, tensors)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        problem = f"{error} is missing" if isinstance(error, KeyError) else error
        raise InvalidEdit(f"{path}: not a complete edit file: {problem}") from None


def as_float(tensor: Tensor) -> Tensor:
    """A tensor as the file stores it: float32 on the CPU, without a graph."""
    return tensor.detach().to("cpu", torch.float32).contiguous()


def _decode(metadata: dict[str, str], tensors: dict[str, Tensor]) -> dict[str, Any]:
    version = metadata["version"] if metadata.get("format") == FORMAT else None
    _must(version is not None, "it has another format")
    _must(version == str(VERSION), f"version {version}, this program reads {VERSION}")
    _check_digest(metadata, tensors)
    height, width = json.loads(metadata["img_size"])
    _must(type(height) is int and type(width) is int, "img_size is not two whole numbers")
    sides = {"1": 1, "2": 2, "H": height, "W": width}
    values: dict[str, Any] = {
        name: None
        if name == "mask" and name not in tensors
        else _checked(name, tensors.pop(name), shape, sides)
        for name, shape in _FLOATS.items()
    }
    _check_places(values, height, width)
    step, count = tensors.pop("step"), sides["K"]
    fits = step.shape == (sides["N"],) and step.dtype == torch.int64 and sides["N"] > 0
    _must(fits, "step has the wrong shape or type")
    _must(1 <= count <= MAX_POINTS, f"{count} points")
    status = metadata["status"]
    _must(status in get_args(Status), f"unknown status {status!r}")
    optimizer = _optimizer(metadata, tensors, sides)
    pull_length, settled = _settling(json.loads(metadata.get("settling", "[0.0, 0]")))
    _must(not tensors, f"unknown tensor {next(iter(tensors), None)!r}")
    return values | {
        "model_name": metadata["model_name"],
        "model_digest": metadata["model_digest"],
        "settings": _settings(metadata),
        "status": status,
        "img_size": (height, width),
        "step": step,
        "optimizer": optimizer,
        "inversion": _link(json.loads(metadata.get("inversion", "null"))),
        "confidence": _confidence(json.loads(metadata.get("confidence", "[]")), count),
        "pull_length": pull_length,
        "settled": settled,
    }


def _must(fits: bool, complaint: str) -> None:
    if not fits:
        raise ValueError(complaint)


def _check_digest(metadata: dict[str, str], tensors: dict[str, Tensor]) -> None:
    """Check that no bit differs from what was written; older files have no digest."""
    digest = metadata.get(DIGEST)
    name_was_hit = digest is None and metadata.keys() - _METADATA_OF_OLD
    whole = not name_was_hit and digest in (None, contents_digest(metadata, tensors))
    _must(whole, "its digest does not match its contents; damaged")


def _checked(name: str, tensor: Tensor, shape: tuple[str, ...], sides: dict[str, int]) -> Tensor:
    """Check that a tensor is finite float32 and fits `sides`; new sides are added to them."""
    fits = tensor.dtype == torch.float32 and tensor.ndim == len(shape)
    _must(fits, f"{name} is {tensor.dtype} with {tensor.ndim} sides")
    for side, length in zip(shape, tensor.shape, strict=True):
        fits = sides.setdefault(side, length) == length
        _must(fits, f"{name} has shape {tuple(tensor.shape)}")
    _must(bool(tensor.isfinite().all()), f"{name} holds NaN or infinity")
    return tensor


def _check_places(values: dict[str, Any], height: int, width: int) -> None:
    mask, limits = values["mask"], torch.tensor([width - 1, height - 1])
    fits = mask is None or bool(mask.min() >= 0 and mask.max() <= 1 and mask.any())
    _must(fits, "mask is not from 0 to 1, or all zero")
    for name in ("handles", "points", "targets"):
        fits = bool(((values[name] >= 0) & (values[name] <= limits)).all())
        _must(fits, f"{name} lie outside the picture")


def _optimizer(
    metadata: dict[str, str], tensors: dict[str, Tensor], sides: dict[str, int]
) -> Adam | None:
    if "adam.count" not in metadata:
        return None
    mean, square = (
        _checked(name, tensors.pop(name), _ADAM, sides) for name in ("adam.mean", "adam.square")
    )
    count = int(metadata["adam.count"])
    _must(count >= 0 and bool((square >= 0).all()), "adam has impossible values")
    return Adam(count, mean, square)


def _link(values: Any) -> InversionLink | None:
    if values is None:
        return None
    fits = isinstance(values, dict) and all(isinstance(v, str) for v in values.values())
    _must(fits, "inversion names no file")
    return InversionLink(**values)


def _settings(metadata: dict[str, str]) -> DragSettings:
    """Settings of the drag; without a digest the mask's weight is the paper's λ and is replaced."""
    settings = DragSettings.from_dict(json.loads(metadata["settings"]), "settings")
    if DIGEST in metadata or settings.mask_weight == 0:
        return settings
    return replace(settings, mask_weight=DragSettings.mask_weight)


def _settling(values: Any) -> tuple[float, int]:
    length, steps = values if isinstance(values, list) and len(values) == 2 else (-1.0, 0)
    fits = type(length) is float and type(steps) is int and 0 <= length < math.inf
    _must(fits, "settling is not a length and a number of steps")
    return length, max(0, steps)


def _confidence(values: Any, count: int) -> tuple[float, ...]:
    fits = isinstance(values, list) and len(values) in (0, count)
    fits = fits and all(type(v) in (int, float) and 0 <= v <= 1 for v in values)
    _must(fits, "confidence is not one number from 0 to 1 for each point")
    return tuple(map(float, values))
