"""A network that tells a mapping network's styles from an encoder's (Tov et al. 2021, e4e)."""

from itertools import pairwise

from torch import Tensor, nn


class LatentDiscriminator(nn.Module):
    """Four dense layers with leaky ReLUs of slope 0.2; sees one layer's style at a time."""

    def __init__(self, w_dim: int, width: int | None = None) -> None:
        super().__init__()
        width = width or w_dim
        features = [w_dim, width, width, width]
        layers = [
            layer for n, m in pairwise(features) for layer in (nn.Linear(n, m), nn.LeakyReLU(0.2))
        ]
        self.layers = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, w: Tensor) -> Tensor:
        """Map styles (..., w_dim) to logits (..., 1), large for a mapping network's."""
        return self.layers(w)
