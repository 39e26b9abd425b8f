"""Self-attention shared between pictures of a batch: reference-latent control.

Mutual self-attention (Cao et al. 2023, MasaCtrl), as DragDiffusion uses it (Shi et al. 2024,
section 3.4): the edited picture asks with its own queries and is answered with the keys and values
of the picture before the edit.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

DEPTH = 10 / 16  # share of the attention layers before the first that is shared: SD's tenth of 16


def self_attentions(unet: nn.Module) -> list[nn.Module]:
    """Return the U-Net's self-attention layers in the order in which they are passed."""
    found: list[nn.Module] = []
    for part in ("down_blocks", "mid_block", "up_blocks"):
        block = getattr(unet, part, None)
        if block is None:
            continue
        for module in block.modules():
            attends = all(hasattr(module, name) for name in ("to_q", "to_k", "to_v"))
            if attends and not getattr(module, "is_cross_attention", False):
                found.append(module)
    return found


def shared_layers(unet: nn.Module, depth: float = DEPTH) -> list[nn.Module]:
    """Return the layers from a share of the depth on."""
    layers = self_attentions(unet)
    return layers[ceil(len(layers) * depth - 1e-6) :]


@contextmanager
def answered_by_the_first(layers: list[nn.Module]) -> Iterator[None]:
    """Let the second half of every batch attend to the keys and values of the first half."""

    def first_half_twice(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        half = len(output) // 2
        return torch.cat([output[:half], output[:half]])

    with ExitStack() as stack:
        for layer in layers:
            for name in ("to_k", "to_v"):
                handle = getattr(layer, name).register_forward_hook(first_half_twice)
                stack.callback(handle.remove)
        yield
