"""The smallest encoder training there is: a generator of 16x32 px with styles of length 6."""

from pathlib import Path
from typing import Any

import torch

from framework.formats import save_model_folder
from framework.models.stylegan2 import Discriminator, Generator
from framework.training.data import TrainingImages
from framework.training.encoder.module import EncoderTraining
from framework.training.encoder.settings import EncoderSettings
from tests.training.tiny import in_groups, tiny_data

SIZE = (16, 32)
CPU = torch.device("cpu")
NETWORKS: dict[str, Any] = {
    "channel_base": 128,
    "channel_max": 16,
    "map_channels": 8,
    "head_features": 16,
    "width": 16,
}
EVERYTHING: dict[str, Any] = {
    "adv_image": 0.1,
    "adv_image_kimg": (0.008, 0.02),
    "r1_interval": 2,
    "adv_latent": 0.1,
    "latent_lr": 1e-3,
    "latent_r1_interval": 3,
    "delta": 2e-4,
    "w_norm": 0.005,
    "nscd": 0.5,
    "synthetic_kimg": 0.004,
    "synthetic_share": 0.3,
    "progressive_kimg": (0.012, 0.004),
    "lr_final": 1e-4,
    "lr_kimg": 0.1,
    "mirror": True,
}


def tiny_model(folder: Path, seed: int = 0, opponent: bool = True, **sizes: Any) -> Path:
    """A model folder with a generator, and its opponent, that were never trained."""
    torch.manual_seed(seed)
    described = {"z_dim": 5, "w_dim": sizes.pop("w_dim", 6), "mapping_layers": 2}
    common: dict[str, Any] = {"img_size": SIZE, "channel_base": 128, "channel_max": 8, **sizes}
    generator = Generator(**described, **common).eval().requires_grad_(False)
    generator.mapping.w_avg.normal_(std=0.1)
    return save_model_folder(folder, generator, Discriminator(**common) if opponent else None)


def tiny_encoder(model: Path, **settings: Any) -> EncoderTraining:
    """A training module, its networks not built yet."""
    exact = {"low_precision": "none"}  # the same on every machine
    arguments = {"generator": str(model), **NETWORKS, **exact, **settings}
    return EncoderTraining(**in_groups(EncoderSettings, **arguments))


def tiny_pictures(batch_size: int = 4, **settings: Any) -> TrainingImages:
    """Two dozen toy cars of the generator's size."""
    return tiny_data(batch_size, **{"size": SIZE, **settings})


def built(model: Path, batch: int = 4, **settings: Any) -> EncoderTraining:
    """A training module with its networks."""
    module = tiny_encoder(model, **settings)
    module.assemble(SIZE, 3, 0, CPU, batch)
    return module
