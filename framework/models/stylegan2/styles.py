"""The style vectors of a generator: what its layers are modulated by, behind each one's affine."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framework.models.stylegan2 import Generator

_AT_ONCE = 500


def affines(generator: Generator) -> list[nn.Module]:
    """The layers that make style vectors, one for each of `ws`.

    Those of the convolutions, and of the last colour layer; the other colour layers share their ws
    with the convolution that follows.
    """
    blocks = generator.synthesis.blocks
    layers = [
        layer
        for block in blocks
        for layer in ([block.conv1] if block.is_first else [block.conv0, block.conv1])
    ]
    return [layer.affine for layer in [*layers, blocks[-1].torgb]]


def style_vectors(generator: Generator, ws: Tensor) -> list[Tensor]:
    """Styles (N, num_ws, w_dim) to the vectors of the style space S, (N, C_i) for each layer.

    Wu et al. 2021, "StyleSpace analysis", without the colour layers but the last.
    """
    return [affine(ws[:, i]) for i, affine in enumerate(affines(generator))]


@torch.no_grad()
def style_directions(generator: Generator, w: Tensor) -> list[Tensor]:
    """Where style vectors of random pictures point on average, for `losses.alignment_loss`.

    Args:
        generator: The generator.
        w: Outputs of its mapping for random latents, shape (M, w_dim); LSAP takes 100 000, means of
            10 000 differ by less than a hundredth.

    Returns:
        Mean of the unit vectors of each layer, (C_i,), not longer than 1.
    """
    sums = [torch.zeros((), device=w.device) for _ in range(generator.num_ws)]
    for part in w.split(_AT_ONCE):
        styles = style_vectors(generator, part[:, None].expand(-1, generator.num_ws, -1))
        sums = [
            total + F.normalize(s, dim=1).sum(dim=0) for total, s in zip(sums, styles, strict=True)
        ]
    return [total / len(w) for total in sums]
