"""The outputs of a discriminator's blocks, as features of a picture."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.models.stylegan2 import Discriminator


def in_float32(network: Any) -> Any:
    """Let every block of a generator or discriminator compute in float32; returns the network.

    Numbers then do not depend on what a machine trains fastest in, and steps as small as the path
    length's are not lost in rounding.
    """
    for module in network.modules():
        if isinstance(getattr(module, "dtype", None), torch.dtype):
            module.dtype = torch.float32
        if isinstance(getattr(module, "memory_format", None), torch.memory_format):
            module.memory_format = torch.channels_last
    return network


def block_features(discriminator: Discriminator, images: Tensor) -> list[Tensor]:
    """Return every residual block's output, of unit mean square over channels at each position.

    The epilogue is left out: its minibatch statistics depend on a picture's neighbours in the
    batch, and its dense layers on one opponent's mistakes more than on pictures. Pictures (N,
    C, H, W) are in [-1, 1] and of the discriminator's size; it is in float32.

    Returns:
        Features (N, C_l, h_l, w_l), finest first.
    """
    outputs, x = [], images
    for resolution in discriminator.resolutions[:-1]:
        x = discriminator.get_submodule(f"b{resolution}")(x, discriminator.memory_format)
        outputs.append(x * x.square().mean(dim=1, keepdim=True).add(1e-8).rsqrt())
    return outputs


def block_protocol(discriminator: Discriminator, digest: str) -> dict[str, Any]:
    """State the network (by `state_digest`) and the resizing of pictures, in JSON values."""
    height, width = discriminator.img_size
    return {
        "network": "StyleGAN2 discriminator",
        "sha256_of_weights": digest,
        "resize": f"to {width}x{height}, bilinear with antialiasing, where it differs",
    }


def suited(images: Tensor, size: tuple[int, int], channels: int) -> Tensor:
    """Convert pictures (N, C, H, W) to a network's size and number of channels.

    Grey is repeated, transparency is left out, everything else is averaged over channels; sizes
    are changed by bilinear interpolation with antialiasing, proportions are not kept.
    """
    if images.shape[1] == 4 and channels == 3:
        images = images[:, :3]
    if images.shape[1] != channels:
        images = images.mean(dim=1, keepdim=True).expand(-1, channels, -1, -1)
    if tuple(images.shape[2:]) == tuple(size):
        return images
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
