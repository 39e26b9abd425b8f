"""`directions.safetensors`: the directions of one model in one file.

Data only: each direction's vectors, and in the metadata their names, layers and scales, what found
them, and the digest of the generator that they were found in. They mean nothing to another one.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, float32

from framework.control.directions import Direction, by_name
from framework.errors import BrokenCheckpoint, UserError
from framework.models.stylegan2 import Generator
from framework.tensor_files import DIGEST, contents_digest, read_tensors, write_tensors

FORMAT, VERSION = "dragline-directions", 1
NAME = "directions.safetensors"
_LARGEST_FILE = 64 << 20
_COMPLAINT = "cannot be read as directions"
_VECTORS = "direction."  # prefix of a tensor's name, before its number
_DESCRIBED = {"generator_digest", "model_name", "num_ws", "w_dim", "directions", "made_with"}


@dataclass(frozen=True, eq=False)
class Directions:
    """The directions of one model.

    Args:
        table: The directions by name.
        generator_digest: `state_digest` of the generator they were found in; "" for a file of
            another program, which does not say.
        model_name: The user's name of the model.
        num_ws: Layers of its latents.
        w_dim: Length of w.
        made_with: How they were found: samples, seed, files. JSON values.
    """

    table: Mapping[str, Direction]
    generator_digest: str
    model_name: str
    num_ws: int
    w_dim: int
    made_with: dict[str, Any] = field(default_factory=dict)

    def check_model(self, generator: Generator, model: str) -> None:
        """Refuse another generator than the one that the directions were found in.

        Args:
            generator: The shared generator.
            model: The user's name of it.

        Raises:
            UserError: Naming the command that finds directions of this one.
        """
        own = (self.num_ws, self.w_dim)
        if self.generator_digest in ("", generator.digest) and own == (
            generator.num_ws,
            generator.w_dim,
        ):
            return
        raise UserError(
            f"directions of {self.model_name!r} (digest {self.generator_digest[:8]}), and this"
            f" model's digest is {generator.digest[:8]}; python edit.py directions --model {model}"
            " --out DIR finds its own"
        )

    def save(self, path: str | Path) -> Path:
        """Write the file, whole or not at all; an old one is replaced.

        Raises:
            UserError: If it cannot be written.
        """
        rows = [
            {"name": d.name, "layers": list(d.layers), "scale": d.scale, "found": d.found,
             "facts": dict(d.facts)}
            for d in self.table.values()
        ]  # fmt: skip
        described = {name: getattr(self, name) for name in _DESCRIBED - {"directions"}}
        metadata = {"format": FORMAT, "version": str(VERSION)}
        metadata["description"] = json.dumps(described | {"directions": rows}, sort_keys=True)
        vectors = [d.vectors.detach().cpu().float() for d in self.table.values()]
        tensors = {f"{_VECTORS}{i}": v.contiguous() for i, v in enumerate(vectors)}
        try:
            write_tensors(path, tensors, metadata)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error})") from None
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> "Directions":
        """Read a file written by `save`; only data is read, no code is run.

        Raises:
            BrokenCheckpoint: If the file is another kind, damaged, or its contents do not fit.
        """
        tensors, metadata = read_tensors(path, complaint=_COMPLAINT, most_bytes=_LARGEST_FILE)
        try:
            return _decode(metadata, tensors)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            raise BrokenCheckpoint(f"{path}: {_COMPLAINT} ({reason})") from None


def _decode(metadata: Mapping[str, str], tensors: dict[str, Tensor]) -> Directions:
    if metadata.get("format") != FORMAT:
        raise ValueError("it has another format")
    if metadata["version"] != str(VERSION):
        raise ValueError(f"version {metadata['version'][:20]}, this program reads {VERSION}")
    if metadata[DIGEST] != contents_digest(metadata, tensors):
        raise ValueError("its digest does not match its contents; damaged")
    described = json.loads(metadata["description"])
    if not isinstance(described, dict) or described.keys() != _DESCRIBED:
        raise ValueError("its description is not of directions")
    rows = described.pop("directions")
    if len(rows) != len(tensors):
        raise ValueError(f"{len(rows)} names for {len(tensors)} directions")
    num_ws, w_dim = int(described["num_ws"]), int(described["w_dim"])
    found = [
        _direction(row, tensors[f"{_VECTORS}{i}"], num_ws, w_dim) for i, row in enumerate(rows)
    ]
    return Directions(by_name(found), **described)


def _direction(row: dict[str, Any], vectors: Tensor, num_ws: int, w_dim: int) -> Direction:
    name, scale, layers = str(row["name"]), float(row["scale"]), tuple(row["layers"])
    if not layers or list(layers) != sorted(set(layers)) or not set(layers) <= {*range(num_ws)}:
        raise ValueError(f"{name[:40]!r} moves layers that the model has not")
    if vectors.shape not in ((1, w_dim), (len(layers), w_dim)) or vectors.dtype != float32:
        raise ValueError(f"{name[:40]!r} is {tuple(vectors.shape)} and not of width {w_dim}")
    if not (math.isfinite(scale) and scale > 0 and vectors.isfinite().all()):
        raise ValueError(f"{name[:40]!r} holds numbers that are not finite")
    return Direction(name, vectors, layers, scale, str(row["found"]), dict(row["facts"]))
