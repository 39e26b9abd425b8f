"""U-Nets of pixels, by diffusers, and the cells of pixels that they may work on.

diffusers is imported when a network is built.
"""

import importlib
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from framework.errors import UserError


def library(name: str) -> Any:
    """Import one of the libraries of the extra `diffusion`, which take seconds.

    Raises:
        UserError: If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(
            f"a diffusion model needs {name}: pip install 'dragline[diffusion]'"
        ) from None


def check_diffusers() -> None:
    """Refuse to go on without diffusers.

    Raises:
        UserError: Saying what to install.
    """
    library("diffusers")


def pixel_unet(
    img_size: tuple[int, int],
    img_channels: int,
    cell_px: int,
    channels: Sequence[int],
    layers: int,
    attention_px: int,
    head_width: int,
) -> nn.Module:
    """Build a `UNet2DModel` of pictures that are cut into cells, drawn from torch's generator.

    Args:
        img_size: Pictures' (height, width), a multiple of `cell_px` and of the halvings.
        img_channels: Colours.
        cell_px: Side of the cells; each is one place with `img_channels * cell_px²` channels.
        channels: Channels at each resolution, from the finest; each a multiple of 16.
        layers: Residual blocks at each resolution on the way down; one more on the way up.
        attention_px: Largest side, in places, at which places attend to each other on the way up;
            on the way down only the smallest does.
        head_width: Channels of a head.
    """
    sides = [max(img_size) // cell_px // 2**i for i in range(len(channels))]
    attending = [side <= attention_px for side in sides]
    down = ["DownBlock2D"] * len(sides)
    if attending[-1]:
        down[-1] = "AttnDownBlock2D"
    up = ["AttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(attending)]
    places = (img_size[0] // cell_px, img_size[1] // cell_px)
    return library("diffusers").UNet2DModel(
        sample_size=places[0] if places[0] == places[1] else places,
        in_channels=img_channels * cell_px**2,
        out_channels=img_channels * cell_px**2,
        block_out_channels=tuple(channels),
        down_block_types=tuple(down),
        up_block_types=tuple(up),
        layers_per_block=layers,
        attention_head_dim=head_width,
        norm_num_groups=16,
    )


def config_of(unet: nn.Module) -> dict[str, Any]:
    """Return a U-Net's configuration as its `config.json` has it."""
    config: Any = unet.config
    return {name: list(v) if isinstance(v, tuple) else v for name, v in dict(config).items()}


def cell_side(in_channels: int, img_channels: int = 3) -> int | None:
    """Return the side of the cells of a U-Net of pixels; None if its channels are no cells'."""
    side = round((in_channels / img_channels) ** 0.5)
    return side if side >= 1 and img_channels * side**2 == in_channels else None


def to_cells(pictures: Tensor, cell_px: int) -> Tensor:
    """Cut pictures (N, C, H, W) into cells: (N, C·cell², H/cell, W/cell)."""
    return F.pixel_unshuffle(pictures, cell_px)


def to_pictures(cells: Tensor, cell_px: int) -> Tensor:
    """Put cells together again."""
    return F.pixel_shuffle(cells, cell_px)
