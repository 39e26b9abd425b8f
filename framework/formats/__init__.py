"""Models from and to files: one door, `load_generator`, whatever the file is."""

from pathlib import Path
from typing import Any

import torch

from framework.checkpoint import read_checkpoint
from framework.errors import UserError
from framework.formats.foreign import load_foreign
from framework.formats.model_folder import build, load_network, save_model_folder
from framework.models.stylegan2 import Discriminator, Generator

__all__ = [
    "load_discriminator",
    "load_generator",
    "load_training_generator",
    "save_model_folder",
    "zoo_models",
]

ZOO = Path(__file__).parents[1] / "zoo"
_FAMILY = {"training_generator": "generator"}
_IN_RUN = {
    "generator": "generator_ema.",
    "training_generator": "generator.",
    "discriminator": "discriminator.",
}


def zoo_models() -> list[str]:
    """Names of the models that come with the project."""
    return sorted(path.parent.name for path in ZOO.glob("*/config.json"))


def load_generator(model: str | Path, device: str | torch.device = "cpu") -> Generator:
    """Open a generator, frozen and in evaluation.

    Args:
        model: Name of a shipped model, a model folder, a `.safetensors` file, a `.ckpt` of a
            training run (its averaged generator), or a file of another program: NVIDIA's pickles,
            rosinality's, pSp's and e4e's checkpoints. What it is, is seen in the file.
        device: Where to put it.

    Returns:
        The generator in float32, with `digest` (SHA-256 of its weights) and `provenance`.

    Raises:
        UserError: If there is no such model or its kind is not known.
        BrokenCheckpoint: If the file is damaged.
        UnsafeCheckpoint: If the file asks for code to be run.
    """
    return _load(model, "generator", device)


def load_discriminator(model: str | Path, device: str | torch.device = "cpu") -> Discriminator:
    """Open the discriminator of a model; arguments and errors as in `load_generator`."""
    return _load(model, "discriminator", device)


def load_training_generator(model: str | Path, device: str | torch.device = "cpu") -> Generator:
    """Open the generator as it was trained, not averaged, to train on from it.

    Files that hold only the averaged one give that; arguments and errors as in `load_generator`.
    """
    return _load(model, "training_generator", device)


def _load(model: str | Path, kind: str, device: str | torch.device) -> Any:
    path = Path(model)
    if str(model) in zoo_models() and not path.exists():
        path = ZOO / str(model)
    if not path.exists():
        known = ", ".join(zoo_models()) or "none shipped"
        raise UserError(f"--model {model}: no such file, folder or shipped model ({known})")
    if path.suffix == ".ckpt":
        network = _from_run(path, kind)
    elif path.is_dir() or path.suffix == ".safetensors":
        network = load_network(path, _FAMILY.get(kind, kind))  # a folder has the averaged one alone
    else:
        network = load_foreign(path, kind)
    return network.to(device)


def _from_run(path: Path, kind: str) -> Any:
    """The averaged or the trained generator, or the discriminator, of a run's checkpoint."""
    checkpoint = read_checkpoint(path)
    prefix = _IN_RUN[kind]
    state = checkpoint["state_dict"].items()
    tensors = {name[len(prefix) :]: t for name, t in state if name.startswith(prefix)}
    facts = checkpoint["dragline"]
    family = _FAMILY.get(kind, kind)
    network = build(family, facts.get(family), tensors, str(path))
    network.provenance = {"seen_images": facts.get("seen_images")}  # type: ignore[assignment]
    return network
