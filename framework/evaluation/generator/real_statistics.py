"""Features of real pictures, computed once per data set, network and choice of pictures."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from framework.data import ImageDataset
from framework.data.scan import in_threads
from framework.errors import UserError
from framework.evaluation.generator.features import FeatureNetwork
from framework.evaluation.generator.shares import Watch, in_shares
from framework.files import cache_folder as folder_in_cache
from framework.tensor_files import DIGEST, contents_digest, read_tensors, write_tensors
from framework.training.gradients import all_sum, rank
from framework.training.randomness import keyed_generator

_FEATURES, _PROTOCOL = "features", "protocol"


def cache_folder() -> Path:
    """The default folder of the features: `dragline/features` in the user's cache."""
    return folder_in_cache("features")


def chosen_reals(dataset: ImageDataset, count: int, seed: int) -> list[int]:
    """Choose `count` real pictures at random, or all if there are fewer; return their indices."""
    order = torch.randperm(len(dataset), generator=keyed_generator("cpu", seed, "reals"))
    return order[:count].tolist()


def pictures(dataset: ImageDataset, indices: list[int]) -> Tensor:
    """Read pictures of a data set by index, uint8 (N, C, H, W)."""
    return torch.from_numpy(np.stack(list(in_threads(dataset.image, indices))))


def real_features(
    network: FeatureNetwork,
    dataset: ImageDataset,
    count: int,
    seed: int,
    batch: int,
    device: torch.device,
    watch: Watch,
    folder: Path | None = None,
) -> Tensor:
    """Features of `count` real pictures, read from the cache or computed and stored there.

    Every process of a run calls it; the first one reads and writes the cache. Pictures are chosen
    by `chosen_reals` and never mirrored.

    Args:
        network: The feature network, on `device`.
        dataset: The pictures.
        count: Number of pictures.
        seed: Seed of their choice.
        batch: Pictures at once.
        device: Device of the features.
        watch: See `shares.Watch`.
        folder: The cache; `cache_folder()` if None.

    Returns:
        Features, float32, shape (min(count, len(dataset)), network.num_features).
    """
    chosen = chosen_reals(dataset, count, seed)
    facts = network.protocol()
    facts.pop("model", None)  # the user's name for it; the digest identifies it
    protocol = {"data": dataset.fingerprint, "count": len(chosen), "seed": seed, "network": facts}
    path = _path(folder or cache_folder(), protocol)
    cached = _read(path, protocol) if rank() == 0 else None
    features = torch.zeros(len(chosen), network.num_features, device=device)
    if all_sum(torch.tensor(float(cached is not None), device=device)):
        if cached is not None:
            features.copy_(cached)
        return all_sum(features)

    def compute(first: int, last: int) -> Tensor:
        return network(pictures(dataset, chosen[first:last]).to(device))

    in_shares(compute, features, batch, watch, "features of real pictures")
    if rank() == 0:
        _write(path, features.cpu(), protocol)
    return features


def _path(folder: Path, protocol: dict[str, Any]) -> Path:
    return folder / f"{hashlib.sha256(_text(protocol).encode()).hexdigest()[:32]}.safetensors"


def _text(protocol: dict[str, Any]) -> str:
    return json.dumps(protocol, sort_keys=True)


def _read(path: Path, protocol: dict[str, Any]) -> Tensor | None:
    """Read features of exactly this protocol; None if they are missing or damaged."""
    if not path.is_file():
        return None
    try:
        tensors, facts = read_tensors(path, complaint="not readable")
    except UserError as error:
        _say(f"{error}, computed again")
        return None
    whole = facts.get(DIGEST) == contents_digest(facts, tensors)
    if not whole or facts.get(_PROTOCOL) != _text(protocol):
        _say(f"{path}: does not fit its own digest, computed again")
        return None
    return tensors[_FEATURES]


def _write(path: Path, features: Tensor, protocol: dict[str, Any]) -> None:
    """Store features; a cache that cannot be written costs time, never a measurement."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, {_FEATURES: features.contiguous()}, {_PROTOCOL: _text(protocol)})
    except (OSError, UserError) as error:
        _say(f"{path}: not kept ({error})")


def _say(line: str) -> None:
    print(f"note: {line}", file=sys.stderr)
