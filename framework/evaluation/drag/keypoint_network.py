"""A small convolutional network that finds key points: heat maps, and points read from them.

Heat maps of key points follow Newell et al. 2016 (a coarse path and a fine one, summed); reading a
point as the mean of its heat map follows Nibali et al. 2018, here within a window about the peak,
so that a second, weaker peak elsewhere cannot pull the point into the middle.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CELL_PX = 2
"""Side of a heat map's cell in picture pixels."""
WINDOW_CELLS = 3
"""Half side of the window about the peak."""


class KeypointNetwork(nn.Module):
    """A network from pictures to a heat map per key point; `widths` are its channels by scale."""

    def __init__(
        self, num_points: int, widths: tuple[int, int, int, int] = (16, 32, 48, 64)
    ) -> None:
        super().__init__()
        full, half, quarter, eighth = widths
        self.at_full = _layer(3, full)
        self.at_half = nn.Sequential(_layer(full, half, stride=2), _layer(half, half))
        self.at_quarter = nn.Sequential(_layer(half, quarter, stride=2), _layer(quarter, quarter))
        self.at_eighth = nn.Sequential(
            _layer(quarter, eighth, stride=2), _layer(eighth, eighth), _layer(eighth, eighth)
        )
        self.to_quarter = _layer(eighth, quarter, kernel=1)
        self.fuse_quarter = _layer(quarter, quarter)
        self.to_half = _layer(quarter, half, kernel=1)
        self.fuse_half = _layer(half, half)
        self.heat = nn.Conv2d(half, num_points, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits (N, K, H / 2, W / 2) of pictures (N, 3, H, W) in [-1, 1], sides 8 n.

        The softmax over a map's cells is the probability of its point's place.
        """
        half = self.at_half(self.at_full(images))
        quarter = self.at_quarter(half)
        eighth = self.at_eighth(quarter)
        quarter = self.fuse_quarter(_twice(self.to_quarter(eighth)) + quarter)
        half = self.fuse_half(_twice(self.to_half(quarter)) + half)
        return self.heat(half)


def read_points(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Read points from heat maps (N, K, h, w): the mean within a window about the peak.

    Returns:
        Points (x, y) in picture pixels, (N, K, 2), and the share of the heat within the window,
        (N, K), in (0, 1]: how sure the network is.
    """
    n, k, h, w = logits.shape
    heat = logits.flatten(2).softmax(dim=2).view(n, k, h, w)
    peak = heat.detach().flatten(2).argmax(dim=2)
    rows = torch.arange(h, device=heat.device)
    columns = torch.arange(w, device=heat.device)
    near_y = (rows - (peak // w)[..., None]).abs() <= WINDOW_CELLS
    near_x = (columns - (peak % w)[..., None]).abs() <= WINDOW_CELLS
    heat = heat * near_y[..., :, None] * near_x[..., None, :]
    mass = heat.sum(dim=(2, 3))
    x = (heat.sum(dim=2) * cell_centers(w, heat)).sum(dim=2) / mass
    y = (heat.sum(dim=3) * cell_centers(h, heat)).sum(dim=2) / mass
    return torch.stack([x, y], dim=2), mass


def cell_centers(count: int, like: Tensor) -> Tensor:
    """Centres of the cells along one axis, in picture pixels, shape (count,)."""
    return torch.arange(count, dtype=like.dtype, device=like.device) * CELL_PX + (CELL_PX - 1) / 2


def _layer(fan_in: int, fan_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(fan_in, fan_out, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(fan_out),
        nn.ReLU(),
    )


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear")
