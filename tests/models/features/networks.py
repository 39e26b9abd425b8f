"""Small networks, and random weights of backbones under published names."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from framework.models.features.distance import BACKBONES
from framework.models.stylegan2 import Discriminator


def discriminator(seed: int = 0, **changes: Any) -> Discriminator:
    """An untrained 16 px discriminator of eight feature maps."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Discriminator(**{"img_size": 16, "channel_base": 128, "channel_max": 8, **changes})


def random_pictures(count: int, side: int, seed: int = 0, channels: int = 3) -> Tensor:
    """Uniform noise in [-1, 1], (count, channels, side, side)."""
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(count, channels, side, side, generator=rng) * 2 - 1


def trunk_of(backbone: str) -> nn.Sequential:
    """The convolutions of a backbone, with random weights: LPIPS needs no more."""
    from torchvision.models import alexnet, squeezenet1_1, vgg16

    make = {"vgg": vgg16, "alex": alexnet, "squeeze": squeezenet1_1}[backbone]
    # Classifiers, nine tenths of VGG16 and AlexNet, are not worth filling.
    with torch.device("meta"):
        trunk = make(weights=None).features
    trunk.to_empty(device="cpu")
    rng = torch.Generator().manual_seed(0)
    for tensor in trunk.state_dict().values():
        spread = (2 / max(1, tensor[0].numel())) ** 0.5 if tensor.ndim == 4 else 0.1
        tensor.normal_(0, spread, generator=rng)
    return trunk


def save_trunk(backbone: str, folder: Path) -> tuple[nn.Sequential, Path]:
    """A file of weights under the published name, as VGG16's in the format of 2017."""
    trunk, path = trunk_of(backbone), folder / BACKBONES[backbone][0].file
    tensors = {f"features.{name}": tensor for name, tensor in trunk.state_dict().items()}
    torch.save(tensors, path, _use_new_zipfile_serialization=backbone != "vgg")
    return trunk, path
