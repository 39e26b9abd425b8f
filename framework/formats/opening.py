"""The opening of any model: shipped, a folder, a lone file, a run, another program's file."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from framework.errors import BrokenCheckpoint, UserError
from framework.formats import diffusion_folder, hub_folder
from framework.formats.contents import Contents, NetworkParts, plain
from framework.formats.devices import usable_device
from framework.formats.foreign import (
    build_foreign,
    encoder_weights,
    read_foreign,
    read_value,
    unfold,
)
from framework.formats.model_folder import (
    build,
    load_encoder_weights,
    load_network,
    lone_network,
    networks_in,
)
from framework.formats.run_checkpoint import check_description, check_whole, manifest_path
from framework.formats.safetensors_file import starts_as_safetensors
from framework.formats.source_file import check_kind, check_unfinished, read_file
from framework.formats.storages import StoredTensor
from framework.formats.torch_files import read_zip
from framework.models.diffusion.generator import DiffusionGenerator
from framework.models.editors.latent_transformer import LatentTransformer
from framework.models.encoders.weights import EncoderWeights
from framework.models.stylegan2 import Discriminator, Generator

ZOO = Path(__file__).parents[1] / "zoo"
MODEL_FOLDER = "model folder"  # dialect of our own models
DIFFUSERS = "folder of diffusers"
DIFFUSION = "diffusion"  # its one network: what is for a StyleGAN2 alone asks for "generator"
_IN_RUN = {
    "generator": "generator_ema.",
    "training_generator": "generator.",
    "discriminator": "discriminator.",
}


@dataclass(frozen=True, eq=False)
class OpenedModel:
    """A model whose networks are built on demand.

    Attributes:
        path: Path of the model.
        dialect: Name of the program that writes such models.
        networks: Networks in it, of `generator` (averaged, for use), `training_generator` (as
            trained), `discriminator`, `editor` and `encoder`; or `diffusion` alone.
        network: Function that builds one of them but `encoder`, frozen, for evaluation, on the CPU.
        encoder: Function that copies the encoder's weights.
        notes: Notes on what was left out, computed or assumed, a sentence each.
        facts: Facts about its training run; JSON values.
        parts: The files of the model, if `path` is another program's folder.
    """

    path: Path
    dialect: str
    networks: tuple[str, ...]
    network: Callable[[str], Any]
    encoder: Callable[[], EncoderWeights]
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    parts: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of another program's model."""
        return self.parts or (self.path,)


def zoo_models() -> list[str]:
    """List the models that come with the project."""
    return sorted(path.parent.name for path in ZOO.glob("*/config.json"))


def load_generator(model: str | Path, device: str | torch.device = "cpu") -> Generator:
    """Open a generator, frozen and in evaluation mode.

    Args:
        model: Name of a shipped model, a model folder, a `.safetensors` file, a `.ckpt` of a
            training run (its averaged generator), or a file of another program: NVIDIA's pickles
            of PyTorch and TensorFlow, rosinality's, pSp's and e4e's checkpoints, state dicts under
            NVIDIA's names. The content decides, not the name. See docs/formats.md.
        device: Device of the generator.

    Returns:
        The generator in float32, with `digest` (SHA-256 of its weights) and `provenance`.

    Raises:
        UserError: If there is no such model or device, or its kind is unknown.
        BrokenCheckpoint: If the file is damaged.
        UnsafeCheckpoint: If the file asks for code to be run.
    """
    where = usable_device(device)  # first, since it is checked at once
    opened = open_model(model)
    return opened.network(usual_network(opened)).to(where)


def load_discriminator(model: str | Path, device: str | torch.device = "cpu") -> Discriminator:
    """Open the discriminator of a model; arguments and errors as in `load_generator`."""
    where = usable_device(device)
    return open_model(model).network("discriminator").to(where)


def load_editor(model: str | Path, device: str | torch.device = "cpu") -> LatentTransformer:
    """Open the latent transformer of a model; arguments and errors as in `load_generator`."""
    where = usable_device(device)
    return open_model(model).network("editor").to(where)


def load_training_generator(model: str | Path, device: str | torch.device = "cpu") -> Generator:
    """Open the generator as it was trained, not averaged, to continue training.

    Files that hold only the averaged one give that; arguments and errors as in `load_generator`.
    """
    where, source = usable_device(device), open_model(model)
    trained = "training_generator" in source.networks
    return source.network("training_generator" if trained else "generator").to(where)


def load_encoder_parts(model: str | Path) -> EncoderWeights:
    """Copy the encoder of a pSp or e4e file, or of the model folder it was imported into.

    Args:
        model: Model, as in `load_generator`.

    Returns:
        The encoder's weights under their own names, on the CPU, with its type and options.

    Raises:
        UserError: If the model has no encoder; else as in `load_generator`.
    """
    return open_model(model).encoder()


def open_model(model: str | Path, flag: str = "model") -> OpenedModel:
    """Open a model of any kind, as for `load_generator`; messages call it `flag`."""
    path = Path(model)
    if str(model) in zoo_models() and not os.path.exists(path):
        path = ZOO / str(model)
    if not os.path.exists(path):  # where Path.exists raises, for names that are too long
        names = ", ".join(zoo_models()) or "none shipped"
        raise UserError(f"{model}: no such file, folder or shipped model ({names})", flag)
    if path.is_dir():
        return _open_folder(path)
    openers = {".ckpt": _open_run, ".safetensors": _open_lone}
    return openers.get(path.suffix, _open_foreign)(path)


def _open_folder(path: Path) -> OpenedModel:
    if diffusion_folder.recognises(path):
        return OpenedModel(
            path, DIFFUSERS, (DIFFUSION,), partial(_diffusion, path), partial(_none, path)
        )
    if hub_folder.recognises(path):
        contents, file_bytes, parts = hub_folder.read(path)
        return replace(_foreign_model(path, contents, file_bytes), parts=parts)
    load, load_encoder = partial(load_network, path), partial(load_encoder_weights, path)
    return OpenedModel(path, MODEL_FOLDER, tuple(networks_in(path)), load, load_encoder)


def _diffusion(path: Path, kind: str) -> Any:
    if kind != DIFFUSION:
        raise UserError(f"{path}: a diffusion model, which has no StyleGAN2's {kind}")
    return diffusion_folder.load_diffusion(path)


def usual_network(model: OpenedModel) -> str:
    """Return the name of the network that draws a model's pictures."""
    return DIFFUSION if DIFFUSION in model.networks else "generator"


def load_prompted(model: OpenedModel, prompt: str) -> DiffusionGenerator:
    """Build a diffusion model whose pictures have a text.

    Raises:
        UserError: If the model has none; else as in `load_diffusion`.
    """
    if model.dialect != DIFFUSERS or not diffusion_folder.has_text(model.path):
        raise UserError(f"{prompt[:40]!r}: this model takes no text", "prompt")
    return diffusion_folder.load_diffusion(model.path, prompt)


def _open_lone(path: Path) -> OpenedModel:
    if not starts_as_safetensors(check_kind(path)):
        return _open_foreign(path)
    check_unfinished(path)
    networks = lone_network(path)
    if not networks:
        return _open_foreign(path)
    load = partial(load_network, path)
    return OpenedModel(path, "safetensors file", networks, load, partial(_none, path))


def _open_run(path: Path) -> OpenedModel:
    if not manifest_path(path).exists():
        return _open_other_run(path)
    check_whole(path)
    source = read_file(path)  # a manifest proves no origin: read as an untrusted file
    checkpoint = check_description(read_zip(source), path)
    facts, state = checkpoint["dragline"], checkpoint.get("state_dict")
    if not isinstance(state, dict) or not all(isinstance(t, StoredTensor) for t in state.values()):
        raise BrokenCheckpoint(f"{path}: a run checkpoint without weights")
    provenance = {"seen_images": plain(facts.get("seen_images"), str(path))}

    if "scheduler" in facts or "rank" in facts:
        raise UserError(
            f"{path}: of a diffusion model's training run; its network-* folders beside the"
            " checkpoints hold the model"
        )
    if "generator_digest" in facts:
        kind = "editor" if "transformer" in facts else "encoder"
        raise UserError(
            f"{path}: of an {kind}'s training run, which has no generator; its network-* folders "
            f"beside the checkpoints hold the model with its {kind}"
        )

    def network(kind: str) -> Any:
        prefix = _IN_RUN[kind]
        parts = {n[len(prefix) :]: t for n, t in state.items() if n.startswith(prefix)}
        tensors = NetworkParts({}, parts).read(str(path), len(source.data))
        family = kind.removeprefix("training_")
        module = build(family, facts.get(family), tensors, str(path))
        module.provenance = provenance  # type: ignore[assignment]
        return module

    networks = tuple(k for k, prefix in _IN_RUN.items() if any(n.startswith(prefix) for n in state))
    return OpenedModel(
        path, "training run", networks, network, partial(_none, path), facts=provenance
    )


def _open_other_run(path: Path) -> OpenedModel:
    """Open a `.ckpt` without a manifest: another program's, for our runs always write one."""
    source = read_file(path)
    try:
        value = unfold(source)
    except BrokenCheckpoint as error:
        name = manifest_path(path).name
        raise BrokenCheckpoint(f"{error} (and has no manifest {name} as a run's has)") from None
    if isinstance(value, dict) and "dragline" in value:
        raise UserError(
            f"{path}: has no manifest {manifest_path(path).name} beside it, as a run's checkpoint "
            "has; copy both"
        )
    return _foreign_model(path, read_value(value, str(path)), len(source.data))


def _open_foreign(path: Path) -> OpenedModel:
    return _foreign_model(path, *read_foreign(path))


def _foreign_model(path: Path, contents: Contents, file_bytes: int) -> OpenedModel:
    networks = (*contents.networks, *(["encoder"] if contents.encoder else []))
    return OpenedModel(
        path=path,
        dialect=contents.dialect,
        networks=networks,
        network=lambda kind: build_foreign(contents, kind, str(path), file_bytes),
        encoder=lambda: encoder_weights(contents, str(path), file_bytes),
        notes=contents.notes,
        facts=contents.provenance,
    )


def _none(path: Path) -> EncoderWeights:
    raise UserError(f"{path}: has no encoder")
