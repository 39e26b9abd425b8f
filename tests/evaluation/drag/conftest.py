"""A generator whose truth is known: a drawing of a car that its latents shift."""

from dataclasses import dataclass
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from framework.data.toycars import ToyCars
from framework.drag.settings import DragSettings
from framework.evaluation.drag.lab import Lab
from framework.jobs.models import Networks, seed_latents
from framework.media.images import to_float

GAIN_PX = 20.0
SETTINGS = DragSettings(
    motion_radius_px=3, tracking_radius_px=2, template_radius_px=1, learning_rate=0.02, max_steps=60
)


@dataclass(frozen=True)
class Partial:
    x: torch.Tensor
    img: None = None


class Shifted(nn.Module):
    """A picture moved by GAIN_PX times the mean of ws[..., :2]; its features are the picture."""

    resolutions = (4, 8, 16, 32, 64)

    def __init__(self, picture):
        super().__init__()
        self.picture = nn.Parameter(picture, requires_grad=False)
        self.blocks = nn.ModuleList([nn.Identity()])

    def forward(self, ws, noise_mode="const"):
        shift = GAIN_PX * self.blocks[0](ws)[:, :, :2].mean(dim=1)[:, None, None]
        axis = torch.arange(64.0)
        place = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=2)
        grid = ((place - shift) * 2 + 1) / 64 - 1
        pictures = self.picture.expand(len(ws), -1, -1, -1)
        return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)

    def block_size(self, resolution):
        return 64, 64

    def partial(self, ws, resolution, noise_mode="const"):
        return Partial(self(ws))

    def finish(self, partial, ws, noise_mode="const"):
        return partial.x


class ShiftedCar(nn.Module):
    img_size, num_ws, w_dim, z_dim, c_dim, digest = (64, 64), 4, 2, 2, 0, "d" * 64

    def __init__(self, picture):
        super().__init__()
        self.synthesis = Shifted(picture)


def shifts(seed: int) -> torch.Tensor:
    """Latents of a seed: a shift by up to 5 px."""
    random = torch.Generator().manual_seed(seed)
    w = (torch.rand(2, generator=random) * 2 - 1) * 5 / GAIN_PX
    return w.expand(1, 4, 2).clone()


@pytest.fixture(scope="session")
def car():
    return ToyCars(64, count=2, seed=41)[1]


@pytest.fixture(scope="session")
def shifted_car(car):
    return ShiftedCar(to_float(car.image[None]))


@pytest.fixture
def lab(shifted_car):
    return Lab(shifted_car, None, shifts, first_seed=7000)


@pytest.fixture(scope="session")
def toycars() -> Lab:
    """The lab of the shipped toy cars."""
    networks = Networks("toycars64", "cpu")
    latents = partial(seed_latents, networks.generator, psi=0.7)
    return Lab(networks.generator, networks.discriminator, latents, first_seed=7000)
