"""A small network that fills holes, and the one that judges what it made."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from framework.errors import UserError
from framework.models.filling.attention import contextual_attention

CELL_PX = 4  # pixels a side of the places at which it works in depth
_DILATIONS = (1, 2, 4, 8)


class HoleFiller(nn.Module):
    """Fills holes: a wide view by dilated convolutions, then patches by contextual attention.

    Iizuka et al. 2017 (section 3.2) with the attention of Yu et al. 2018 beside the dilated path.
    Any size that is a multiple of `CELL_PX` will do.

    Args:
        img_channels: Channels of the pictures.
        width: Channels at full depth, a multiple of 4.
        img_size: (H, W) of the pictures that it is trained on.
    """

    def __init__(
        self, img_channels: int = 3, width: int = 48, img_size: Sequence[int] = (64, 64)
    ) -> None:
        super().__init__()
        if width < 4 or width % 4:
            raise UserError(f"{width}: give a multiple of 4", "width")
        self.img_size = int(img_size[0]), int(img_size[1])
        self.config: dict[str, Any] = {
            "img_channels": img_channels, "width": width, "img_size": list(self.img_size),
        }  # fmt: skip
        half = width // 2
        self.stem = nn.Conv2d((img_channels + 1) * 4, half, 3, padding=1)
        self.down = nn.Conv2d(half, width, 4, stride=2, padding=1)
        self.wide = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=d, dilation=d) for d in _DILATIONS
        )
        self.match = nn.Conv2d(width, width, 3, padding=1)
        self.merge = nn.Conv2d(2 * width, width, 3, padding=1)
        self.up = nn.Conv2d(width, 4 * half, 3, padding=1)
        self.last = nn.Conv2d(2 * half, half, 3, padding=1)
        self.out = nn.Conv2d(half, img_channels * 4, 3, padding=1)
        nn.init.zeros_(self.out.weight)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "HoleFiller":
        """Make the untrained network of a `config`."""
        return cls(**config)

    def forward(self, pictures: Tensor, holes: Tensor) -> Tensor:
        """Fill holes.

        Args:
            pictures: Pictures (N, C, H, W) in [-1, 1]; what they show in the hole does not count.
            holes: (N, 1, H, W), 1 in the hole.

        Returns:
            The pictures, filled: outside the hole as they were.
        """
        known = 1 - holes
        blank = pictures * known
        x = F.leaky_relu(self.stem(F.pixel_unshuffle(torch.cat([blank, holes], dim=1), 2)), 0.2)
        deep = F.leaky_relu(self.down(x), 0.2)
        for layer in self.wide:
            deep = deep + F.leaky_relu(layer(deep), 0.2)
        small = F.max_pool2d(holes, CELL_PX)
        copied = contextual_attention(F.leaky_relu(self.match(deep), 0.2), small)
        deep = F.leaky_relu(self.merge(torch.cat([deep, copied], dim=1)), 0.2)
        y = F.pixel_shuffle(F.leaky_relu(self.up(deep), 0.2), 2)
        y = F.leaky_relu(self.last(torch.cat([x, y], dim=1)), 0.2)
        made = _mean_of_known(blank, known) + F.pixel_shuffle(self.out(y), 2)
        return blank + made * holes


class HoleJudge(nn.Module):
    """Tells filled pictures from whole ones, patch by patch (Yu et al. 2019, SN-PatchGAN).

    Args:
        img_channels: Channels of the pictures.
        width: Channels of its widest layer.
    """

    def __init__(self, img_channels: int = 3, width: int = 48) -> None:
        super().__init__()
        counts = [img_channels + 1, width // 2, width, width]
        layers: list[nn.Module] = []
        for before, after in pairwise(counts):
            layers += [spectral_norm(nn.Conv2d(before, after, 4, 2, 1)), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(width, 1, 3, padding=1)))

    def forward(self, pictures: Tensor, holes: Tensor) -> Tensor:
        """Return logits (N, 1, H / 8, W / 8) of pictures whose holes (N, 1, H, W) were filled."""
        return self.layers(torch.cat([pictures, holes], dim=1))


def _mean_of_known(blank: Tensor, known: Tensor) -> Tensor:
    """Return the mean colour outside the hole, (N, C, 1, 1)."""
    total = known.sum(dim=(2, 3), keepdim=True).clamp_min(1)
    return blank.sum(dim=(2, 3), keepdim=True) / total
