"""The style vectors of a generator: the outputs of its affine layers, which modulate the others."""

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.models.stylegan2 import Generator
from framework.models.stylegan2.layers import FullyConnectedLayer

_AT_ONCE = 500


def affines(generator: Generator) -> list[FullyConnectedLayer]:
    """Return the layers that make style vectors, one for each of `ws`.

    They are those of the convolutions and of the last colour layer; the other colour layers share
    their ws with the convolution that follows.
    """
    blocks = generator.synthesis.blocks
    layers = [
        layer
        for block in blocks
        for layer in ([block.conv1] if block.is_first else [block.conv0, block.conv1])
    ]
    return [layer.affine for layer in [*layers, blocks[-1].torgb]]


def style_vectors(generator: Generator, ws: Tensor) -> list[Tensor]:
    """Map styles (N, num_ws, w_dim) to vectors of the style space S, (N, C_i) for each layer.

    Wu et al. 2021, "StyleSpace analysis", without the colour layers except the last.
    """
    return [affine(ws[:, i]) for i, affine in enumerate(affines(generator))]


@torch.no_grad()
def style_directions(generator: Generator, w: Tensor) -> list[Tensor]:
    """Return the mean direction of random pictures' style vectors, for `losses.alignment_loss`.

    Args:
        generator: The generator.
        w: Outputs of its mapping for random latents, shape (M, w_dim); LSAP takes M = 100,000, but
            means of 10,000 differ by less than a hundredth.

    Returns:
        The mean unit vector of each layer, (C_i,), not longer than 1.
    """
    sums = [torch.zeros((), device=w.device) for _ in range(generator.num_ws)]
    for part in w.split(_AT_ONCE):
        styles = style_vectors(generator, part[:, None].expand(-1, generator.num_ws, -1))
        sums = [
            total + F.normalize(s, dim=1).sum(dim=0) for total, s in zip(sums, styles, strict=True)
        ]
    return [total / len(w) for total in sums]
