"""The colours of a style, without its textures."""

import numpy as np
import torch
from torch import Tensor

from framework.compositing.colours import colour_map


def in_colours_of(content: Tensor, style: Tensor, strength: float) -> Tensor:
    """Return a picture in the colours of another (`framework.compositing.colours`).

    Args:
        content: float32 (1, 3, H, W) in [-1, 1].
        style: The other, of any size.
        strength: Share of the way; more than 1 is 1.
    """
    of, to = (np.moveaxis((x[0].cpu().numpy() + 1) * 127.5, 0, 2) for x in (content, style))
    mapped = np.moveaxis(colour_map(of, to)(of) / 127.5 - 1, 2, 0)[None]
    goal = torch.from_numpy(mapped.astype(np.float32)).clamp(-1, 1)
    return torch.lerp(content, goal.to(content.device), min(1.0, strength))
