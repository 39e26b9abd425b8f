"""The opponent of a translation: PatchGAN (Isola et al. 2017, section 3.2.2), at several scales."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

_MOST = 4  # times the width


class PatchJudge(nn.Module):
    """Judges overlapping patches of a picture, its condition beside it where there is one.

    Args:
        in_channels: Channels of what is judged.
        width: Channels of the first layer.
        layers: Halvings; 3 see patches of 70 px, 2 of 34 px, 1 of 16 px.
        scales: Judges, each for pictures of half the size of the last's (Wang et al. 2018).
        spectral: Normalise the weights spectrally (Miyato et al. 2018).
    """

    def __init__(
        self,
        in_channels: int,
        width: int = 32,
        layers: int = 2,
        scales: int = 1,
        spectral: bool = False,
    ) -> None:
        super().__init__()
        counts = [in_channels, *(width * min(2**i, _MOST) for i in range(layers + 1))]
        pairs = list(pairwise(counts))

        def convolution(before: int, after: int, stride: int) -> nn.Module:
            layer = nn.Conv2d(before, after, 4, stride, 1)
            return spectral_norm(layer) if spectral else layer

        self.scales = nn.ModuleList(
            nn.ModuleList(
                [
                    *(convolution(a, b, 2 if i < layers else 1) for i, (a, b) in enumerate(pairs)),
                    nn.Conv2d(counts[-1], 1, 4, 1, 1),
                ]
            )
            for _ in range(scales)
        )

    def forward(self, pictures: Tensor) -> list[list[Tensor]]:
        """Return each scale's features, finest first, the logits (N, 1, h, w) last."""
        outcomes = []
        for scale, layers in enumerate(self.scales):
            x = pictures if scale == 0 else F.avg_pool2d(pictures, 2**scale)
            features: list[Tensor] = []
            for i, layer in enumerate(layers):  # type: ignore[arg-type]
                x = layer(x)
                if 0 < i < len(layers) - 1:  # type: ignore[arg-type]
                    x = F.instance_norm(x)
                x = x if i == len(layers) - 1 else F.leaky_relu(x, 0.2)  # type: ignore[arg-type]
                features.append(x)
            outcomes.append(features)
        return outcomes
