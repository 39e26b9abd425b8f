"""What the editing commands share: a device, a model, latents, a progress line.

Torch is imported inside the functions: this module is on the path of `--help`.
"""

import json
import re
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.errors import UserError, blame

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from framework.models.stylegan2 import Generator

MAX_SEED = 2**32 - 1
MAX_SEEDS = 10_000
MAX_PSI = 100  # beyond which networks answer with noise, and then with infinity


def parse_seeds(text: str, flag: str = "--seeds") -> list[int]:
    """Read a list such as "1,2,5-10" (ranges include both ends) into seeds.

    Raises:
        UserError: If it is no such list, or a seed is not in 0 … 2**32 - 1.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if match is None:
            raise UserError(f"{flag} {text!r}: give numbers and ranges such as 1,2,5-10")
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if not first <= last <= MAX_SEED:
            raise UserError(f"{flag} {text!r}: {part.strip()} is not a rising range up to 2^32-1")
        if len(seeds) + last - first >= MAX_SEEDS:
            raise UserError(f"{flag} {text!r}: more than {MAX_SEEDS} seeds")
        seeds.extend(range(first, last + 1))
    return seeds


def pick_device(device: str = "auto") -> "torch.device":
    """Return the device meant by `--device`; "auto" takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        UserError: If the word names no device, or one that is not here.
    """
    import torch

    from framework.formats.devices import usable_device

    if device == "auto":
        device = "cpu"
        if torch.cuda.is_available() or torch.mps.is_available():
            device = "cuda" if torch.cuda.is_available() else "mps"
    return usable_device(device)


def open_generator(model: str, device: str = "auto") -> "Generator":
    """Load a generator for editing: frozen, on the device, the C allocator tuned for it.

    Raises:
        UserError: If the model or the device is not there, or the file is damaged.
    """
    from framework.formats import load_generator
    from framework.ops.memory import tune_malloc

    tune_malloc()
    where = str(pick_device(device))
    with blame("--model", model):
        return with_its_threads(load_generator(model, device=where))


def with_its_threads(generator: "Generator") -> "Generator":
    """The generator, with as many threads to calculate with as a step of it is worth on a CPU."""
    from framework.models.stylegan2.work import synthesis_gflop
    from framework.threads import use_threads

    if next(generator.parameters()).device.type == "cpu":
        use_threads(synthesis_gflop(generator))
    return generator


def seed_latents(
    generator: "Generator", seed: int, psi: float = 0.7, class_index: int | None = None
) -> "Tensor":
    """Return the latents (1, num_ws, w_dim) that the field means by a seed.

    That is `numpy.random.RandomState(seed).randn(1, z_dim)` through the mapping network, truncated
    by `psi`: the same picture as NVIDIA's tools draw from the same weights.

    Raises:
        UserError: For a seed out of range, or a class that the model does not have or needs.
    """
    import numpy as np
    import torch

    if not 0 <= seed <= MAX_SEED:
        raise UserError(f"--seed {seed}: give a number from 0 to {MAX_SEED}")
    if not abs(psi) <= MAX_PSI:
        raise UserError(f"--psi {psi:g}: give a number up to {MAX_PSI}, usually 0.5 to 1")
    device = next(generator.parameters()).device
    z = torch.from_numpy(np.random.RandomState(seed).randn(1, generator.z_dim)).float()
    label = _label(generator, class_index)
    with torch.no_grad():
        return generator.mapping(
            z.to(device), None if label is None else label.to(device), truncation_psi=psi
        )


def render(generator: "Generator", ws: "Tensor") -> "np.ndarray":
    """Return the picture (H, W, C), uint8, of one latent (1, num_ws, w_dim)."""
    import torch

    from framework.media.images import to_uint8

    with torch.no_grad():
        return to_uint8(generator.synthesis(ws, noise_mode="const"))[0]


def read_mask(path: str | Path, flag: str = "--mask") -> "np.ndarray":
    """Read a mask picture (see `framework.media.masks`), naming the flag in complaints."""
    from framework.media.masks import read_mask

    with blame(flag, str(path)):
        return read_mask(path)


def portable_name(model: str) -> str:
    """Return a model's name for a file that may be opened from elsewhere: paths are made whole."""
    return str(Path(model).resolve()) if Path(model).exists() else model


def numbered_folder(base: str | Path) -> Path:
    """Return `base`, or the first of `base-2`, `base-3`, … that is missing or empty."""
    base = Path(base)
    folder, number = base, 2
    while folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        folder = base.with_name(f"{base.name}-{number}")
        number += 1
    return folder


def json_line(facts: dict[str, Any]) -> str:
    """Return one line of strict JSON; what is not a finite number becomes null."""
    return json.dumps(_finite(facts), allow_nan=False)


def print_json(facts: dict[str, Any]) -> None:
    """Print what a script reads: one line of strict JSON."""
    print(json_line(facts), flush=True)


class ProgressLine:
    """One line on a terminal that is written over; nothing where stderr is no terminal."""

    def __init__(self, shown: bool = True) -> None:
        self._shown = shown and sys.stderr.isatty()
        self._last_sec = 0.0

    def show(self, text: str, force: bool = False) -> None:
        """Write `text` over the line, ten times a second at most."""
        now_sec = time.monotonic()
        if not self._shown or (now_sec - self._last_sec < 0.1 and not force):
            return
        self._last_sec = now_sec
        width = shutil.get_terminal_size((100, 24)).columns
        print(f"\r\x1b[K{text[: width - 1]}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Clear the line."""
        if self._shown and self._last_sec:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _label(generator: "Generator", class_index: int | None) -> "Tensor | None":
    import torch

    classes = generator.c_dim
    if classes == 0:
        if class_index is not None:
            raise UserError(f"--class {class_index}: this model has no classes")
        return None
    if class_index is None or not 0 <= class_index < classes:
        raise UserError(f"--class: this model needs one, from 0 to {classes - 1}")
    return torch.nn.functional.one_hot(torch.tensor([class_index]), classes).float()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value
