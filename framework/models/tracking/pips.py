"""Persistent Independent Particles (Harley et al. 2022, "Particle Video Revisited"), for inference.

Written from the paper and the names and shapes of the published network's tensors, so that the
authors' reference model opens (stride 4, 8 pictures). It was run with random weights alone: no
published ones were at hand, and no position was compared with the authors' program.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PICTURES = 8  # S: of one window
STRIDE = 4  # pixels of a picture per place of its map
CHANNELS = 128  # of maps and contents
LEVELS, RADIUS = 4, 3  # of the correlations: maps of halved sizes, half side of the square
WAVES = 64  # values that encode each coordinate
WIDTH, DEPTH, EXPANSION = 512, 12, 4  # of the mixer
ITERATIONS = 6


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut, as in RAFT's encoder; norms have no weights."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        shortcut = [nn.Conv2d(inputs, outputs, 1, stride), nn.InstanceNorm2d(outputs)]
        self.downsample = nn.Sequential(*shortcut) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        y = F.relu(F.instance_norm(self.conv1(x)))
        y = F.relu(F.instance_norm(self.conv2(y)))
        return F.relu(self.downsample(x) + y)


class Encoder(nn.Module):
    """Pictures to maps: the stages of a residual network, laid over each other at one size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3)
        widths = (64, 64, 96, 128, CHANNELS)
        for index, (inputs, outputs) in enumerate(pairwise(widths), 1):
            blocks = [
                Residual(inputs, outputs, 1 if index == 1 else 2),
                Residual(outputs, outputs, 1),
            ]
            self.add_module(f"layer{index}", nn.Sequential(*blocks))
        self.conv2 = nn.Conv2d(sum(widths[1:]), 2 * CHANNELS, 3, padding=1)
        self.conv3 = nn.Conv2d(2 * CHANNELS, CHANNELS, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Map (N, 3, H, W), in [-1, 1], to (N, CHANNELS, H / STRIDE, W / STRIDE)."""
        size = pictures.shape[2] // STRIDE, pictures.shape[3] // STRIDE
        x, stages = F.relu(F.instance_norm(self.conv1(pictures))), []
        for index in range(1, 5):
            x = self.get_submodule(f"layer{index}")(x)
            stages.append(F.interpolate(x, size, mode="bilinear", align_corners=True))
        return self.conv3(F.relu(F.instance_norm(self.conv2(torch.cat(stages, dim=1)))))


class Mixed(nn.Module):
    """A two-layer perceptron beside a shortcut; over the pictures or over the channels."""

    def __init__(self, over_pictures: bool) -> None:
        super().__init__()
        size = PICTURES if over_pictures else WIDTH
        wide = size * EXPANSION
        if over_pictures:
            layers = [nn.Conv1d(size, wide, 1), nn.Conv1d(wide, size, 1)]
        else:
            layers = [nn.Linear(size, wide), nn.Linear(wide, size)]
        self.fn = nn.Sequential(layers[0], nn.GELU(), nn.Identity(), layers[1])
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (K, PICTURES, WIDTH)."""
        return x + self.fn(self.norm(x))


class MeanOverPictures(nn.Module):
    """A layer without weights: it has a number among the published names."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (K, PICTURES, WIDTH) to (K, WIDTH)."""
        return x.mean(dim=1)


class DeltaBlock(nn.Module):
    """The mixer that corrects a whole way (Tolstikhin et al. 2021)."""

    def __init__(self) -> None:
        super().__init__()
        inputs = CHANNELS + LEVELS * (2 * RADIUS + 1) ** 2 + 3 * WAVES + 3
        self.to_delta = nn.Sequential(
            nn.Linear(inputs, WIDTH),
            *(nn.Sequential(Mixed(True), Mixed(False)) for _ in range(DEPTH)),
            nn.LayerNorm(WIDTH),
            MeanOverPictures(),
            nn.Linear(WIDTH, PICTURES * (2 + CHANNELS)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (K, PICTURES, inputs) to moves and changes of content, 2 + CHANNELS numbers each."""
        return self.to_delta(x).unflatten(1, (PICTURES, 2 + CHANNELS))


class Pips(nn.Module):
    """Ways of points through a window of pictures, each point on its own."""

    def __init__(self) -> None:
        super().__init__()
        self.fnet = Encoder()
        self.delta_block = DeltaBlock()
        self.norm = nn.GroupNorm(1, CHANNELS)
        self.ffeat_updater = nn.Sequential(nn.Linear(CHANNELS, CHANNELS), nn.GELU())
        self.vis_predictor = nn.Sequential(nn.Linear(CHANNELS, 1))  # of the checkpoint; not used

    def forward(self, maps: Tensor, places: Tensor, content: Tensor) -> Tensor:
        """Correct the points' ways; the first place of each is kept.

        Args:
            maps: What `fnet` makes of the window's pictures, shape (PICTURES, CHANNELS, h, w).
            places: Where the points are expected, (x, y) in places of the maps (pixels / STRIDE),
                shape (PICTURES, K, 2).
            content: What the points look like, shape (K, CHANNELS).

        Returns:
            The places, shape (PICTURES, K, 2).
        """
        pyramid = [maps]
        for _ in range(LEVELS - 1):
            pyramid.append(F.avg_pool2d(pyramid[-1], 2))
        contents, first = content.expand(PICTURES, -1, -1), places[:1]
        times = torch.linspace(0, PICTURES, PICTURES).to(places)[:, None, None]
        for _ in range(ITERATIONS):
            seen = [correlations(m, places / 2**i, contents) for i, m in enumerate(pyramid)]
            way = torch.cat([places - first, times.expand(-1, places.shape[1], -1)], dim=2)
            inputs = torch.cat([contents, *seen, encoded(way), way], dim=2).transpose(0, 1)
            moves, changes = self.delta_block(inputs).transpose(0, 1).split([2, CHANNELS], dim=2)
            update = self.ffeat_updater(self.norm(changes.flatten(0, 1)))
            contents = contents + update.view_as(contents)
            places = torch.cat([first, (places + moves)[1:]])
        return places


def correlations(maps: Tensor, places: Tensor, contents: Tensor) -> Tensor:
    """Likeness of each content to the maps about its places; outside of them it is 0.

    Args:
        maps: Shape (S, C, h, w).
        places: (x, y), shape (S, K, 2).
        contents: Shape (S, K, C).

    Returns:
        Shape (S, K, (2 · RADIUS + 1)²), x before y.
    """
    reach = torch.arange(-RADIUS, RADIUS + 1).to(places)
    offsets = torch.stack(torch.meshgrid(reach, reach, indexing="ij"), dim=-1).flatten(0, 1)
    last = places.new_tensor([maps.shape[3] - 1, maps.shape[2] - 1])
    grid = (places[:, :, None] + offsets) / last * 2 - 1
    around = F.grid_sample(maps, grid, align_corners=True)  # (S, C, K, n)
    return torch.einsum("sckn,skc->skn", around, contents) / maps.shape[1] ** 0.5


def encoded(way: Tensor) -> Tensor:
    """Sines and cosines in turns of each coordinate of (S, K, 3): (S, K, 3 · WAVES)."""
    frequencies = torch.arange(0, WAVES, 2).to(way) * (1000.0 / WAVES)
    angles = way[..., None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(2)
