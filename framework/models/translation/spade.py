"""The generator of SPADE (Park et al. 2019): normalisation whose scale and shift a map decides."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

from framework.errors import UserError

_START_PX = 4
_NARROWEST = 16


class SpadeNorm(nn.Module):
    """Normalise, then scale and shift each place by what the map says of it (eq. 1).

    Args:
        channels: Channels of the activations.
        map_channels: Channels of the maps.
        hidden: Channels between the map and its scales and shifts.
    """

    def __init__(self, channels: int, map_channels: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.shared = nn.Conv2d(map_channels, hidden, 3, padding=1)
        self.scale_shift = nn.Conv2d(hidden, 2 * channels, 3, padding=1)

    def forward(self, x: Tensor, maps: Tensor) -> Tensor:
        """Return activations (N, channels, h, w), modulated by maps (N, map_channels, H, W)."""
        seen = F.interpolate(maps, (x.shape[2], x.shape[3]))
        scale, shift = self.scale_shift(F.relu(self.shared(seen))).chunk(2, dim=1)
        return self.norm(x) * (1 + scale) + shift


class SpadeBlock(nn.Module):
    """A residual block with a `SpadeNorm` before each convolution (figure 4, left)."""

    def __init__(self, before: int, after: int, map_channels: int, hidden: int) -> None:
        super().__init__()
        between = min(before, after)
        self.norms = nn.ModuleList(
            SpadeNorm(count, map_channels, hidden) for count in (before, between)
        )
        self.convolutions = nn.ModuleList(
            (
                spectral_norm(nn.Conv2d(before, between, 3, padding=1)),
                spectral_norm(nn.Conv2d(between, after, 3, padding=1)),
            )
        )
        self.skip = None
        if before != after:
            self.norms.append(SpadeNorm(before, map_channels, hidden))
            self.skip = spectral_norm(nn.Conv2d(before, after, 1, bias=False))

    def forward(self, x: Tensor, maps: Tensor) -> Tensor:
        """Return activations (N, after, h, w)."""
        y = x
        for norm, convolution in zip(self.norms, self.convolutions, strict=False):
            y = convolution(F.leaky_relu(norm(y, maps), 0.2))
        return y + (x if self.skip is None else self.skip(self.norms[2](x, maps)))


class SpadeGenerator(nn.Module):
    """From a map of labels, and a style drawn or read from a picture, to a picture.

    The last size has a `SpadeNorm` alone in place of a block, which saves half of all operations.

    Args:
        in_channels: Channels of the maps: the number of labels.
        img_channels: Channels of the pictures.
        width: Channels at the smallest size; they halve from 16 px on, down to 16.
        img_size: (H, W) of the pictures: 4 px, doubled some times.
        z_dim: Length of a style.
        hidden: Channels between a map and its scales and shifts.
    """

    def __init__(
        self,
        in_channels: int,
        img_channels: int = 3,
        width: int = 96,
        img_size: Sequence[int] = (64, 64),
        z_dim: int = 32,
        hidden: int = 24,
    ) -> None:
        super().__init__()
        side = max(img_size)
        if min(img_size) != side or side < 2 * _START_PX or side & (side - 1):
            raise UserError(
                f"{img_size[0]}x{img_size[1]}: must be a square of 8, 16, 32, 64 px or so",
                "data.size",
            )
        self.config: dict[str, Any] = {
            "in_channels": in_channels, "img_channels": img_channels, "width": width,
            "img_size": [side, side], "z_dim": z_dim, "hidden": hidden,
        }  # fmt: skip
        self.multiple, self.z_dim = side, z_dim
        sizes = [_START_PX << i for i in range((side // _START_PX).bit_length())]
        counts = [width, *(max(_NARROWEST, width * 8 // max(8, size)) for size in sizes[:-1])]
        self.start = nn.Linear(z_dim, width * _START_PX**2)
        self.blocks = nn.ModuleList(
            SpadeBlock(a, b, in_channels, hidden) for a, b in pairwise(counts)
        )
        self.norm = SpadeNorm(counts[-1], in_channels, hidden)
        self.out = nn.Conv2d(counts[-1], img_channels, 3, padding=1)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "SpadeGenerator":
        """Make the untrained network of a `config`, its weights plain as a file has them."""
        network = cls(**config)
        for module in network.modules():
            if is_parametrized(module, "weight"):
                remove_parametrizations(module, "weight")
        return network

    def plain_state(self) -> dict[str, Tensor]:
        """Return the state dict with every spectrally normalised weight as its value."""
        state = self.state_dict()
        for name, module in self.named_modules():
            if is_parametrized(module, "weight"):
                stored = f"{name}.parametrizations.weight."
                state = {key: value for key, value in state.items() if not key.startswith(stored)}
                state[f"{name}.weight"] = module.weight.detach()  # type: ignore[union-attr]
        return state

    def draw(self, count: int, rng: torch.Generator | None, device: torch.device) -> Tensor:
        """Draw styles (count, z_dim); zeros without a source of draws."""
        if rng is None:
            return torch.zeros(count, self.z_dim, device=device)
        return torch.randn(count, self.z_dim, device=device, generator=rng)

    def forward(
        self, conditions: Tensor, rng: torch.Generator | None = None, style: Tensor | None = None
    ) -> Tensor:
        """Return pictures (N, img_channels, H, W) in [-1, 1] of maps (N, in_channels, H, W).

        Args:
            conditions: Maps, one-hot.
            rng: Source of the styles, on the maps' device; None takes zero.
            style: Styles (N, z_dim) in place of drawn ones.
        """
        z = self.draw(len(conditions), rng, conditions.device) if style is None else style
        x = self.start(z).unflatten(1, (-1, _START_PX, _START_PX))
        for block in self.blocks:
            x = F.interpolate(block(x, conditions), scale_factor=2)
        return self.out(F.leaky_relu(self.norm(x, conditions), 0.2)).tanh()


class StyleReader(nn.Module):
    """Reads a picture's style as a normal distribution (Park et al. 2019, appendix A).

    Args:
        img_channels: Channels of the pictures.
        width: Channels after the first layer.
        z_dim: Length of a style.
    """

    def __init__(self, img_channels: int = 3, width: int = 16, z_dim: int = 32) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "img_channels": img_channels, "width": width, "z_dim": z_dim,
        }  # fmt: skip
        counts = [img_channels, width, 2 * width, 4 * width, 4 * width]
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(counts)
        )
        self.heads = nn.Linear(counts[-1], 2 * z_dim)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "StyleReader":
        """Make the untrained network of a `config`."""
        return cls(**config)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance, each (N, z_dim), of the styles of pictures in [-1, 1]."""
        x = pictures
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
        mean, log_variance = self.heads(x.mean(dim=(2, 3))).chunk(2, dim=1)
        return mean, log_variance
