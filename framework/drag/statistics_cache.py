"""Statistics of models in the user's cache: measured once, found again by name."""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

from framework.drag.statistics import Statistics
from framework.errors import UserError
from framework.files import cache_folder, whole_file
from framework.tensor_files import read_tensors

VERSION = "3"


def is_cached(name: str) -> bool:
    """Whether there is a cache of that name."""
    return _path(name).exists()


def cached_statistics(
    name: str, device: torch.device, measure: Callable[[], Statistics]
) -> Statistics:
    """What `measure` gives, from the cache if it is there; a cache that cannot be used is none.

    Args:
        name: Tells models and their trainable parts apart, such as a digest.
        device: Where the statistics are wanted.
        measure: Makes them; seconds.
    """
    path = _path(name)
    try:
        tensors, metadata = read_tensors(path)
        if metadata.get("version") == VERSION:
            tensors = {key: tensor.to(device) for key, tensor in tensors.items()}
            scales = [tensors[f"scale{i}"] for i in range(len(tensors) - 2)]
            return Statistics(tensors["spread"], tensors["effects"], scales)
    except (UserError, KeyError):
        pass
    measured = measure()
    tensors = {f"scale{i}": scale for i, scale in enumerate(measured.scales)}
    tensors |= {"spread": measured.spread, "effects": measured.effects}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            packed = {key: tensor.cpu().contiguous() for key, tensor in tensors.items()}
            save_file(packed, temporary, metadata={"version": VERSION})
    except (OSError, UserError):
        pass  # measured again next time
    return measured


def _path(name: str) -> Path:
    return cache_folder("statistics") / f"{name}.safetensors"
