"""A generator whose truth is known: moving its latents moves its picture, and nothing else."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

WAVES = 48


@dataclass(frozen=True)
class Partial:
    x: Tensor
    img: Tensor
    resolution: int


class ShiftSynthesis(nn.Module):
    """Waves that do not repeat within the picture, shifted by gain · mean of ws[..., :2] pixels.

    Features of any block are the same picture seen at that block's size. With `sway`, ws[..., 2:4]
    move the left half on top of that: with them a mask can hold it.
    """

    def __init__(self, img_size, num_ws, channels, gain, seed, sway=0.0):
        super().__init__()
        self.img_size, self.num_ws, self.gain, self.sway = img_size, num_ws, gain, sway
        count = int(math.log2(max(img_size) // 4)) + 1
        self.resolutions = tuple(4 * 2**k for k in range(count))
        rng = torch.Generator().manual_seed(seed)
        wavelengths = 6 + 20 * torch.rand(WAVES, 1, generator=rng)
        angles = 2 * math.pi * torch.rand(WAVES, generator=rng)
        directions = torch.stack([angles.cos(), angles.sin()], dim=1)
        self.frequencies = nn.Parameter(2 * math.pi * directions / wavelengths)
        self.phases = nn.Parameter(2 * math.pi * torch.rand(WAVES, generator=rng))
        self.mix = nn.Parameter(torch.randn(channels, WAVES, generator=rng) / math.sqrt(WAVES))
        self.calls = []

    def block_size(self, resolution):
        scale = resolution / self.resolutions[-1]
        return tuple(max(1, round(side * scale)) for side in self.img_size)

    def look(self, ws, size):
        """The moving picture at `size`, sampled at the pixel centres of that size."""
        height, width = size
        y = (torch.arange(height) + 0.5) * self.img_size[0] / height - 0.5
        x = (torch.arange(width) + 0.5) * self.img_size[1] / width - 0.5
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).to(ws)
        shift = self.gain * ws[:, :, :2].mean(dim=1)
        moved = grid - shift[0]
        if self.sway:
            left = (grid[..., :1] < self.img_size[1] / 2).to(ws)
            moved = moved - left * self.sway * self.gain * ws[0, :, 2:4].mean(dim=0)
        waves = torch.sin(moved @ self.frequencies.T + self.phases)
        return (waves @ self.mix.T).permute(2, 0, 1)[None]

    def partial(self, ws, resolution, noise_mode="const"):
        self.calls.append(("partial", resolution, noise_mode))
        x = self.look(ws, self.block_size(resolution))
        return Partial(x=x, img=x[:, :3], resolution=resolution)

    def finish(self, partial, ws, noise_mode="const"):
        self.calls.append(("finish", partial.resolution, noise_mode))
        return self.look(ws, self.img_size)[:, :3]

    def forward(self, ws, noise_mode="const"):
        self.calls.append(("full", self.resolutions[-1], noise_mode))
        return self.look(ws, self.img_size)[:, :3]


class ShiftGenerator(nn.Module):
    """Looks like a generator to the drag room. `gain`: pixels by which a latent of 1 shifts."""

    def __init__(
        self, img_size=(64, 64), num_ws=8, w_dim=4, channels=16, gain=50.0, seed=0, sway=0.0
    ):
        super().__init__()
        self.img_size, self.num_ws, self.w_dim = img_size, num_ws, w_dim
        self.synthesis = ShiftSynthesis(img_size, num_ws, channels, gain, seed, sway)

    def ws(self):
        return torch.zeros(1, self.num_ws, self.w_dim)

    def shift(self, ws):
        """The true shift (x, y) of the picture in pixels."""
        return self.synthesis.gain * ws[0, :, :2].mean(dim=0)
