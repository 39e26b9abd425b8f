"""Many small pictures of latents, for sheets."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from framework.media.draw import rgb
from framework.media.images import to_uint8
from framework.models.frozen import NOISE_MODE
from framework.models.stylegan2 import Generator

_LARGEST_PX = 128
_AT_ONCE = 16


@torch.no_grad()
def tiles(generator: Generator, ws: Tensor) -> list[np.ndarray]:
    """Draw latents (N, num_ws, w_dim) as uint8 (h, w, 3), at most 128 px a side."""
    found: list[np.ndarray] = []
    device = next(generator.parameters()).device
    for part in ws.split(_AT_ONCE):
        pictures = to_uint8(generator.synthesis(part.to(device), noise_mode=NOISE_MODE))
        found += [_small(rgb(np.ascontiguousarray(picture))) for picture in pictures]
    return found


def _small(picture: np.ndarray) -> np.ndarray:
    factor = -(-max(picture.shape[:2]) // _LARGEST_PX)
    return picture if factor == 1 else np.array(Image.fromarray(picture).reduce(factor))
