"""A model opened once, its networks as they are needed, and the pictures it draws."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from framework.control.layers import FILE, LayerMap
from framework.errors import UserError, blame
from framework.formats.devices import usable_device
from framework.formats.opening import OpenedModel, load_prompted, open_model, usual_network
from framework.formats.text_file import MAKES_ENCODER, load_text_encoder, makes_one
from framework.formats.text_file import NAME as TEXT_FILE
from framework.inversion.embed import mean_ws
from framework.inversion.familiarity import Familiarity, familiarity
from framework.jobs.requests.pictures import MAX_SEED
from framework.media.images import to_float, to_uint8
from framework.models.diffusion.generator import DiffusionGenerator
from framework.models.digest import state_digest
from framework.models.editors.latent_transformer import LatentTransformer, fitting
from framework.models.encoders.loading import build_encoder
from framework.models.encoders.style_encoder import StyleEncoder
from framework.models.features.distance import DiscriminatorDistance
from framework.models.stylegan2 import Discriminator, Generator
from framework.models.stylegan2.work import synthesis_gflop
from framework.models.text.encoder import TextEncoder
from framework.ops.memory import tune_malloc
from framework.threads import use_threads

MAX_PSI = 100  # beyond this, networks return noise, and then infinity


def pick_device(device: str = "auto") -> torch.device:
    """Return the device of a name; "auto" takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        UserError: If the name is of no device, or of one that is missing.
    """
    if device == "auto":
        device = "cpu"
        if torch.cuda.is_available() or torch.mps.is_available():
            device = "cuda" if torch.cuda.is_available() else "mps"
    return usable_device(device)


def open_generator(model: str, device: str = "auto") -> Generator:
    """Load a generator for editing; see `Networks`."""
    return Networks(model, device).generator


@dataclass
class Networks:
    """A model's networks, frozen, on one device, each loaded on first use.

    Args:
        model: Zoo name, folder or file.
        device: auto, cpu, cuda, cuda:1 or mps.
        prompt: Text of the pictures, for diffusion models that have one.

    Raises:
        UserError: From every attribute: if model or device are missing, or a file is damaged.
    """

    model: str
    device: str = "auto"
    prompt: str | None = None

    @cached_property
    def where(self) -> torch.device:
        """The device."""
        return pick_device(self.device)

    @cached_property
    def opened(self) -> OpenedModel:
        """The opened model; the C allocator is tuned for its networks."""
        tune_malloc()
        with blame("model", self.model):
            return open_model(self.model)

    @cached_property
    def generator(self) -> Generator:
        """The averaged generator; torch gets as many threads as a step of it is worth on a CPU."""
        where = self.where  # first, as a missing device shows at once
        with blame("model", self.model):
            generator: Any
            if self.prompt:
                generator = load_prompted(self.opened, self.prompt).to(where)
            else:
                generator = self.opened.network(usual_network(self.opened)).to(where)
        if where.type == "cpu":
            of_diffusion = isinstance(generator, DiffusionGenerator)
            use_threads(generator.step_gflop if of_diffusion else synthesis_gflop(generator))
        return generator

    @property
    def diffuses(self) -> bool:
        """Whether the model is a diffusion model."""
        return isinstance(self.generator, DiffusionGenerator)

    @cached_property
    def digest(self) -> str:
        """The generator's digest, as files name it."""
        return state_digest(self.generator)

    @cached_property
    def layers(self) -> LayerMap:
        """The layers: as measured, if the model folder carries that, else by resolution."""
        file, generator = self.opened.path / FILE, self.layered
        with blame("model", self.model):
            if file.is_file():
                return LayerMap.read(file, generator, self.model)
        return LayerMap.of(generator)

    @property
    def layered(self) -> Generator:
        """The generator, of a model whose latents have layers and directions.

        Raises:
            UserError: If it is a diffusion model.
        """
        if self.diffuses:
            raise UserError(
                f"{self.model}: a diffusion model, whose latents have no layers", "model"
            )
        return self.generator

    def digest_of(self, generator: Generator) -> str:
        """Return the digest of a generator, this one or an inverted image's own."""
        return self.digest if generator is self.generator else state_digest(generator)

    @property
    def img_size(self) -> tuple[int, int]:
        """The pictures' (height, width)."""
        height, width = self.generator.img_size
        return height, width

    @cached_property
    def discriminator(self) -> Discriminator | None:
        """The generator's opponent, if the model has one."""
        if "discriminator" not in self.opened.networks:
            return None
        with blame("model", self.model):
            return self.opened.network("discriminator").to(self.where)

    @cached_property
    def editor(self) -> LatentTransformer | None:
        """The generator's latent transformer, if the model has one."""
        if "editor" not in self.opened.networks:
            return None
        with blame("model", self.model):
            editor = self.opened.network("editor").to(self.where)
        return fitting(editor, self.generator)

    @cached_property
    def encoder(self) -> StyleEncoder | None:
        """The encoder of photographs, if the model has one."""
        if "encoder" not in self.opened.networks:
            return None
        with blame("model", self.model):
            return build_encoder(self.opened.encoder(), self.generator)

    def text_encoder(self, file: str | None = None) -> TextEncoder:
        """The model's text encoder, from a file or folder; the model folder's own if None.

        Raises:
            UserError: Naming the command that makes what is missing.
        """
        encoder = self.encoder
        if encoder is None:
            raise UserError(
                f"{self.model}: has no encoder of pictures, which a text needs; {MAKES_ENCODER}"
                f" {self.model} trains one, give the model folder that it writes",
                "model",
            )
        path = self.opened.path / TEXT_FILE if file is None else Path(file)
        if file is None and not path.is_file():
            raise UserError(
                f"{self.model}: has no text encoder; {makes_one(self.model)} trains one, give"
                " what it writes as `text_encoder`",
                "model",
            )
        with blame("model" if file is None else "text_encoder", str(path)):
            loaded = load_text_encoder(path, self.digest, state_digest(encoder), self.model)
        return loaded.to(self.where)

    @cached_property
    def familiarity(self) -> Familiarity | None:
        """The measure of how like the model's own a picture is; None without a discriminator."""
        if self.discriminator is None:
            return None
        return familiarity(self.generator, DiscriminatorDistance(self.discriminator).to(self.where))

    def strangeness(self, picture: np.ndarray) -> float | None:
        """Return a picture's distance, uint8 (H, W, C), from the model's own, in units of theirs.

        None without a discriminator; beyond `framework.inversion.familiarity.FAMILIAR` the picture
        is probably of something else.
        """
        if self.familiarity is None:
            return None
        value = self.familiarity.strangeness(to_float(picture[None]).to(self.where)).item()
        return round(value, 3) if math.isfinite(value) else None


def seed_latents(
    generator: Generator, seed: int, psi: float = 0.7, class_index: int | None = None
) -> Tensor:
    """Return the latents (1, num_ws, w_dim) that the field means by a seed.

    That is `numpy.random.RandomState(seed).randn(1, z_dim)` through the mapping network, truncated
    by `psi`: the same picture as NVIDIA's tools draw from the same weights.

    Raises:
        UserError: For a seed out of range, or a class that the model does not have or needs.
    """
    if not 0 <= seed <= MAX_SEED:
        raise UserError(f"{seed}: give a number from 0 to {MAX_SEED}", "seed")
    check_psi(psi)
    device = next(generator.parameters()).device
    z = torch.from_numpy(np.random.RandomState(seed).randn(1, generator.z_dim)).float()
    label = _label(generator, class_index)
    with torch.no_grad():
        return generator.mapping(
            z.to(device), None if label is None else label.to(device), truncation_psi=psi
        )


def any_ws(generator: Generator) -> Tensor:
    """Return latents (1, num_ws, w_dim) that the model takes, to check something with."""
    if isinstance(generator, DiffusionGenerator):
        return torch.zeros(1, generator.num_ws, generator.w_dim)
    return mean_ws(generator)


def check_psi(psi: float) -> None:
    """Refuse a truncation with which networks return noise.

    Raises:
        UserError: Naming the field.
    """
    if not abs(psi) <= MAX_PSI:
        raise UserError(f"{psi:g}: give a number up to {MAX_PSI}, usually 0.5 to 1", "psi")


def render(generator: Generator, ws: Tensor) -> np.ndarray:
    """Return the picture (H, W, C), uint8, of one latent (1, num_ws, w_dim) on any device."""
    ws = ws.to(next(generator.parameters()).device)
    with torch.no_grad():
        return to_uint8(generator.synthesis(ws, noise_mode="const"))[0]


def portable_name(model: str) -> str:
    """Return a model's name for a file that may be opened from elsewhere: paths are made whole."""
    return str(Path(model).resolve()) if Path(model).exists() else model


def _label(generator: Generator, class_index: int | None) -> Tensor | None:
    classes = generator.c_dim
    if classes == 0:
        if class_index is not None:
            raise UserError(f"{class_index}: this model has no classes", "class_")
        return None
    if class_index is None or not 0 <= class_index < classes:
        raise UserError(f": this model needs one, from 0 to {classes - 1}", "class_")
    return torch.nn.functional.one_hot(torch.tensor([class_index]), classes).float()
