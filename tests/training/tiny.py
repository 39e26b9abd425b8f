"""The smallest training there is: 16 px, eight feature maps, a few pictures."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import torch

from framework.training.callbacks import StopAtKimg
from framework.training.checkpoint_io import WholeCheckpointIO
from framework.training.data import TrainingImages
from framework.training.settings import TrainingSettings
from framework.training.stylegan2.module import StyleGAN2Training
from framework.training.stylegan2.settings import StyleGAN2Settings
from framework.training.trainer import TRAINER_DEFAULTS

NETWORKS: dict[str, Any] = {
    "z_dim": 8,
    "w_dim": 8,
    "mapping_layers": 2,
    "channel_base": 128,
    "channel_max": 8,
    "r1_interval": 4,
    "low_precision": "none",
}


def in_groups(kind: type[TrainingSettings], **flat: Any) -> dict[str, Any]:
    """Arguments of a training module from names and values without groups."""
    default = kind().arguments()
    return {
        name: replace(default[name], **value) if isinstance(value, dict) else value
        for name, value in kind.grouped(flat).items()
    }


def tiny_module(**settings: Any) -> StyleGAN2Training:
    """A training module, its networks not built yet."""
    return StyleGAN2Training(**in_groups(StyleGAN2Settings, **{**NETWORKS, **settings}))


def tiny_data(batch_size: int = 4, **settings: Any) -> TrainingImages:
    """Two dozen toy cars."""
    return TrainingImages(
        **{"source": "toycars:24", "size": 16, "batch_size": batch_size, **settings}
    )


def train(
    module: StyleGAN2Training,
    images: int,
    data: TrainingImages | None = None,
    callbacks: tuple[lightning.Callback, ...] = (),
    checkpoint: Path | None = None,
    **trainer: Any,
) -> lightning.Trainer:
    """Train until `images` were seen; on the CPU and, unless told otherwise, in this process."""
    made = lightning.Trainer(
        **{
            **TRAINER_DEFAULTS,
            "accelerator": "cpu",
            "devices": 1,
            "limit_val_batches": 0,
            **trainer,
        },
        callbacks=[*callbacks, StopAtKimg(images / 1000)],
        plugins=[WholeCheckpointIO()],
    )
    made.fit(module, datamodule=data or tiny_data(), ckpt_path=checkpoint)
    return made


def weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of all parameters and buffers."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}
