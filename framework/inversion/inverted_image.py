"""`NAME.inv.safetensors`: an inverted photograph in one file, to view, to drag and to refine.

The file holds data only: the latents, tuned noise and weights, the place of the picture in the
photograph, settings and measures of the inversion. It refers to the generator by its digest and
never holds it.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from framework.compositing.geometry import Geometry
from framework.errors import BrokenCheckpoint, UserError
from framework.inversion.deltas import PREFIX as DELTA
from framework.inversion.deltas import WeightDeltas, personal
from framework.models.digest import state_digest
from framework.models.stylegan2 import Generator
from framework.tensor_files import (
    DIGEST,
    LONGEST_HEADER,
    contents_digest,
    read_tensors,
    write_tensors,
)

FORMAT = "dragline-inverted-image"
VERSION = 1
SUFFIX = ".inv.safetensors"
THUMBNAIL_PX = 256  # longest side
NOISE = "noise."  # prefix of a buffer's name
_LARGEST_FILE = 4 << 30
_LONGEST_DESCRIPTION = LONGEST_HEADER // 2  # the header also holds names, and escapes quotes
_DEEPEST = 32
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMPLAINT = "cannot be read as an inverted image"
_METADATA = {"format", "version", "description", DIGEST}
_DESCRIBED = {
    "generator_digest", "model_name", "geometry", "settings", "measures", "photo", "parent",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class InvertedImage:
    """An inverted photograph. Tensors are on the CPU.

    Args:
        ws: Latents, shape (1, num_ws, w_dim), float32.
        generator_digest: `state_digest` of the shared generator, not of the tuned one.
        model_name: The user's name of the model: a zoo name or a path.
        geometry: Place of the picture in the photograph; None without a photograph.
        noise: Noise maps of one picture by buffer name; empty for the generator's own.
        deltas: Changes of weights by tuning; stored in half precision.
        pivot: Latents of the reconstruction if `ws` are edited; None if `ws` are its own.
        settings: Every stage's settings and seed, and the distance. JSON values; tuples become
            lists.
        measures: Quality of the inversion, by name. JSON values; a value not finite becomes None.
        thumbnail: The reconstruction or the photograph, small: uint8 (h, w, 3); see `thumbnail`.
        photo: `name` and `sha256` of the photograph's file, only as texts: no file is opened by
            them.
        parent: SHA-256 of the file that this one was edited from.

    Raises:
        UserError: If values are invalid or do not fit each other.
    """

    ws: Tensor
    generator_digest: str
    model_name: str
    geometry: Geometry | None = None
    noise: Mapping[str, Tensor] = field(default_factory=dict)
    deltas: WeightDeltas | None = None
    pivot: Tensor | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    measures: dict[str, Any] = field(default_factory=dict)
    thumbnail: np.ndarray | None = None
    photo: dict[str, str] = field(default_factory=dict)
    parent: str | None = None

    def __post_init__(self) -> None:
        for name in ("settings", "measures"):
            object.__setattr__(self, name, _plain(getattr(self, name), name))
        for name in ("ws", "pivot"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _float(getattr(self, name)))
        object.__setattr__(self, "noise", {n: _float(maps) for n, maps in self.noise.items()})
        if reason := _fault(self):
            raise UserError(f"inverted image: {reason}")

    def to_dict(self) -> dict[str, Any]:
        """Return the file's facts besides its tensors; JSON values."""
        described = {name: getattr(self, name) for name in sorted(_DESCRIBED - {"geometry"})}
        return described | {"geometry": self.geometry and self.geometry.to_dict()}

    def tensors(self) -> dict[str, Tensor]:
        """Return the file's tensors by name; changes of weights in half precision."""
        result = {"ws": self.ws}
        if self.pivot is not None:
            result["pivot"] = self.pivot
        if self.thumbnail is not None:
            result["thumbnail"] = torch.from_numpy(self.thumbnail)
        result |= {NOISE + name: maps for name, maps in self.noise.items()}
        if self.deltas is not None:
            result |= self.deltas.half().tensors()
        return {name: tensor.detach().cpu().contiguous() for name, tensor in result.items()}

    def save(self, path: str | Path) -> Path:
        """Write the file, whole or not at all; an old one is replaced.

        Args:
            path: The file; by custom its name ends with `.inv.safetensors`.

        Raises:
            UserError: If the file cannot be written, or a change is too large for half precision.
        """
        path, tensors = Path(path), self.tensors()
        metadata = {"format": FORMAT, "version": str(VERSION)}
        metadata["description"] = json.dumps(self.to_dict(), sort_keys=True)
        if len(metadata["description"]) > _LONGEST_DESCRIPTION:
            raise UserError(f"{path}: settings and measures of half a megabyte; keep fewer of them")
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not tensor.isfinite().all():
                raise UserError(f"{path}: {name} is too large for a file; the tuning diverged")
        try:
            write_tensors(path, tensors, metadata)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error})") from None
        return path

    @classmethod
    def load(cls, path: str | Path) -> "InvertedImage":
        """Read a file written by `save`; only data is read, no code is run.

        Raises:
            BrokenCheckpoint: If the file is another kind, damaged, or its contents do not fit.
        """
        tensors, metadata = read_tensors(path, complaint=_COMPLAINT, most_bytes=_LARGEST_FILE)
        try:
            return _decode(metadata, tensors)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            raise BrokenCheckpoint(f"{path}: {_COMPLAINT} ({reason})") from None

    def edited(self, ws: Tensor, parent: str | None = None) -> "InvertedImage":
        """Return the same picture with other latents.

        Args:
            ws: Edited latents, shape (1, num_ws, w_dim).
            parent: SHA-256 of this inverted image's file (`framework.files`).

        Returns:
            An inverted image with the reconstruction as its pivot.
        """
        pivot = self.ws if self.pivot is None else self.pivot
        return replace(self, ws=ws, pivot=pivot, parent=parent, measures={}, thumbnail=None)

    def check_model(self, generator: Generator, allow_other: bool = False) -> None:
        """Refuse a generator that is not the one this was made with.

        Args:
            generator: The shared generator.
            allow_other: Whether to accept another one with latents and pictures of the same shape.

        Raises:
            UserError: If the generator is another, or cannot fit.
        """
        made_with = f"made with {self.model_name!r} (digest {self.generator_digest[:8]})"
        canvas = self.geometry.canvas_size if self.geometry else tuple(generator.img_size)
        own_shape = (*self.ws.shape[1:], *canvas)
        model_shape = (generator.num_ws, generator.w_dim, *generator.img_size)
        digest = state_digest(generator)
        if digest != self.generator_digest and not allow_other:
            raise UserError(
                f"inverted image: {made_with}, and this model's digest is {digest[:8]}; give the"
                " model it was made with"
            )
        if own_shape != model_shape:
            raise UserError(
                f"inverted image: {made_with}: (num_ws, w_dim, height, width) is {own_shape}, this"
                f" model has {model_shape}; give the model it was made with"
            )

    def generator(self, base: Generator, allow_other: bool = False) -> Generator:
        """Make the generator of this picture: `base` with its noise maps and changed weights.

        Args:
            base: The shared generator; only read.
            allow_other: As in `check_model`.

        Raises:
            UserError: If the model is another.
        """
        self.check_model(base, allow_other)
        return personal(base, self.noise, self.deltas)

    def render(self, base: Generator, original: bool = False) -> Tensor:
        """Generate the picture, (1, C, H, W) in [-1, 1].

        Args:
            base: The shared generator.
            original: Whether to show the reconstruction before the edit.
        """
        generator = self.generator(base)
        ws = self.pivot if original and self.pivot is not None else self.ws
        with torch.no_grad():
            device = next(generator.parameters()).device
            return generator.synthesis(ws.to(device), noise_mode="const")


def thumbnail(picture: np.ndarray) -> np.ndarray:
    """Shrink a uint8 (h, w, 3) picture to at most 256 px."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
    return np.array(image)


def _decode(metadata: dict[str, str], tensors: dict[str, Tensor]) -> InvertedImage:
    if metadata.get("format") != FORMAT:
        raise ValueError("it has another format")
    if metadata["version"] != str(VERSION):
        raise ValueError(f"version {metadata['version'][:20]}, this program reads {VERSION}")
    if metadata.keys() != _METADATA or metadata[DIGEST] != contents_digest(metadata, tensors):
        raise ValueError("its digest does not match its contents; damaged")
    described = json.loads(metadata["description"])
    if not isinstance(described, dict) or described.keys() != _DESCRIBED:
        raise ValueError("its description is not of an inverted image")
    if described["geometry"] is not None:
        described["geometry"] = Geometry.from_dict(described["geometry"])
    noise = {n.removeprefix(NOISE): t for n, t in tensors.items() if n.startswith(NOISE)}
    changes = {n: t for n, t in tensors.items() if n.startswith(DELTA)}
    odd = (
        tensors.keys() - changes.keys() - {"ws", "pivot", "thumbnail"} - {NOISE + n for n in noise}
    )
    if odd:
        raise ValueError(f"unknown tensor {min(odd)!r}")
    small = tensors.get("thumbnail")
    for name in ("ws", "pivot", *(NOISE + n for n in noise)):
        if name in tensors and tensors[name].dtype != torch.float32:
            raise ValueError(f"{name} is {tensors[name].dtype}")
    return InvertedImage(
        ws=tensors["ws"],
        pivot=tensors.get("pivot"),
        noise=noise,
        deltas=WeightDeltas.from_tensors(changes),
        thumbnail=None if small is None else small.numpy(),
        **described,
    )


# -------------------------------------------------------------------------------------- checking


def _float(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32).contiguous()


def _plain(value: Any, name: str, depth: int = 0) -> Any:
    """Convert to JSON values; numbers that are not finite become None, as JSON has none."""
    if depth > _DEEPEST:
        raise UserError(f"inverted image: {name} is nested without end")
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, name, depth + 1) for item in value]
    if isinstance(value, dict) and all(type(key) is str for key in value):
        return {key: _plain(item, name, depth + 1) for key, item in value.items()}
    raise UserError(
        f"inverted image: {name} holds a {type(value).__name__}, which is not a JSON value"
    )


def _fault(image: InvertedImage) -> str:
    """Say what is wrong with an image's values; empty if nothing is."""
    if image.ws.ndim != 3 or image.ws.shape[0] != 1 or not image.ws.numel():
        return f"ws {tuple(image.ws.shape)} are not (1, num_ws, w_dim)"
    if image.pivot is not None and image.pivot.shape != image.ws.shape:
        return f"pivot {tuple(image.pivot.shape)} has another shape than ws"
    floats = {"ws": image.ws, "pivot": image.pivot, **image.noise}
    for name, tensor in floats.items():
        if tensor is not None and not tensor.isfinite().all():
            return f"{name} holds NaN or infinity"
    small = image.thumbnail
    if small is not None and not _is_thumbnail(small):
        return f"thumbnail {small.dtype} {small.shape} is not uint8 (h, w, 3) of {THUMBNAIL_PX} px"
    digests = {"generator_digest": image.generator_digest, "parent": image.parent or "0" * 64}
    for name, digest in digests.items():
        if not (isinstance(digest, str) and _SHA256.fullmatch(digest)):
            return f"{name} is not a SHA-256"
    for name in ("settings", "measures", "photo"):
        if not isinstance(getattr(image, name), dict):
            return f"{name} is not a table"
    texts = (image.model_name, *image.photo.values())
    return "" if all(isinstance(t, str) for t in texts) else "model_name or photo is not text"


def _is_thumbnail(picture: np.ndarray) -> bool:
    return (
        picture.dtype == np.uint8
        and picture.ndim == 3
        and picture.shape[2] == 3
        and 0 < min(picture.shape) <= max(picture.shape) <= THUMBNAIL_PX
    )
