"""ADA's image-space filtering and corruptions: amplified bands, noise, a hole."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from framework.training.stylegan2.ada.changes import Source
from framework.training.stylegan2.ada.lines import apply_lines, bands, fir_matrix

BAND_STD = 1.0  # of log2
BAND_POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)  # natural pictures: the spectrum falls as 1/f
NOISE_STD = 0.1  # of values in [-1, 1]
CUTOUT_SIDE = 1 / 2  # of the side

# Low-pass of the symlet with 2 vanishing moments (Daubechies 1992).
SYM2 = (-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025)


class Filter(nn.Module):
    """Amplifies four octaves of the spectrum: up to pi/8, pi/4, pi/2 and pi.

    Args:
        size: (H, W).
        multiplier: Share of the strength p.
    """

    rows: Tensor
    cols: Tensor
    power: Tensor

    def __init__(self, size: tuple[int, int], multiplier: float) -> None:
        super().__init__()
        self.share = multiplier
        stacks = [band_matrices(side) for side in size]
        self.bands = [bands(stack.abs().sum(dim=0)) for stack in stacks]
        for name, stack in zip(("rows", "cols"), stacks, strict=True):
            self.register_buffer(name, stack.float(), persistent=False)
        self.register_buffer("power", torch.tensor(BAND_POWER), persistent=False)

    def draw(self, source: Source) -> Tensor:
        """Draw the gain of each band, lowest first, shape (N, 4); the expected power stays."""
        gains = torch.ones(source.count, 4, device=self.power.device)
        for band in range(4):
            acts, gain = source.acts(source.p * self.share), source.lognormal(BAND_STD)
            change = torch.ones_like(gains)
            change[:, band] = gain
            change = change / (self.power * change.square()).sum(dim=1, keepdim=True).sqrt()
            gains = gains * torch.where(acts[:, None], change, 1.0)
        return gains

    def forward(self, images: Tensor, gains: Tensor) -> Tensor:
        """Filter rows and columns of pictures (N, C, H, W) alike."""
        rows, cols = (
            self._filters(stack.to(images.dtype), gains) for stack in (self.rows, self.cols)
        )
        return apply_lines(images, rows, cols, *self.bands)

    def _filters(self, stack: Tensor, gains: Tensor) -> Tensor:
        """Return (N, 1, side, side): the identity for gains of 1, as the bands add up to it."""
        identity = torch.eye(stack.shape[1], dtype=stack.dtype, device=stack.device)
        amplified = torch.einsum("nb,bij->nij", gains.to(stack.dtype) - 1, stack)
        return (identity + amplified)[:, None]


def band_filters() -> Tensor:
    """Return four filters that add up to the identity, lowest octave first, (4, 43), float64.

    A half-band low-pass, the wavelet's energy spectrum, and its complement split the spectrum; the
    low half is split again by the same filters spread by two, and again.
    """
    wavelet = torch.tensor(SYM2, dtype=torch.float64)
    low = _convolve(wavelet, wavelet.flip(0)) / 2
    rest, filters = torch.ones(1, dtype=torch.float64), []
    for octave in range(3):
        spread = torch.zeros((len(low) - 1) * 2**octave + 1, dtype=torch.float64)
        spread[:: 2**octave] = low
        lower = _convolve(rest, spread)
        filters.insert(0, _centred(rest, len(lower)) - lower)
        rest = lower
    return torch.stack([_centred(taps, len(rest)) for taps in (rest, *filters)])


def band_matrices(side: int) -> Tensor:
    """Return the band filters on a line with reflected ends, shape (4, side, side), float64."""
    filters = band_filters()
    reach = filters.shape[1] // 2
    starts = range(-reach, side - reach)
    return torch.stack([fir_matrix(taps.tolist(), side, 1, starts) for taps in filters])


def _convolve(a: Tensor, b: Tensor) -> Tensor:
    return nn.functional.conv1d(a[None], b.flip(0)[None, None], padding=len(b) - 1)[0]


def _centred(taps: Tensor, length: int) -> Tensor:
    missing = (length - len(taps)) // 2
    return nn.functional.pad(taps, (missing, missing))


class NoiseDraw(NamedTuple):
    """The noise to add: `sigma`, shape (N,), times `noise`, shape (N, C, H, W)."""

    sigma: Tensor
    noise: Tensor


class Noise(nn.Module):
    """Adds white noise to every channel, with a standard deviation of its own for each sample.

    Args:
        shape: (C, H, W).
        multiplier: Share of the strength p.
    """

    def __init__(self, shape: tuple[int, int, int], multiplier: float) -> None:
        super().__init__()
        self.shape, self.share = shape, multiplier

    def draw(self, source: Source) -> NoiseDraw:
        """Draw a half-normal sigma, 0 where noise does not act, and the noise."""
        sigma = source.acts(source.p * self.share) * source.normal(NOISE_STD).abs()
        size = (source.count, *self.shape)
        noise = torch.randn(size, device=source.p.device, generator=source.rng)
        return NoiseDraw(sigma, noise)

    def forward(self, images: Tensor, draw: NoiseDraw) -> Tensor:
        """Add the noise to pictures (N, C, H, W)."""
        return images + (draw.sigma[:, None, None, None] * draw.noise).to(images.dtype)


class CutoutDraw(NamedTuple):
    """Whether to cut, and the hole's centre in units of the sides, each of shape (N,)."""

    acts: Tensor
    x: Tensor
    y: Tensor


class Cutout(nn.Module):
    """Sets a rectangle of half the sides, as far as it lies inside, to 0 in every channel.

    Args:
        size: (H, W).
        multiplier: Share of the strength p.
    """

    rows: Tensor
    cols: Tensor

    def __init__(self, size: tuple[int, int], multiplier: float) -> None:
        super().__init__()
        self.share = multiplier
        for name, side in zip(("rows", "cols"), size, strict=True):
            self.register_buffer(name, (torch.arange(side) + 0.5) / side, persistent=False)

    def draw(self, source: Source) -> CutoutDraw:
        """Draw whether and where to cut."""
        acts = source.acts(source.p * self.share)
        return CutoutDraw(acts, source.uniform(), source.uniform())

    def forward(self, images: Tensor, draw: CutoutDraw) -> Tensor:
        """Cut the holes into pictures (N, C, H, W)."""
        inside_x = (self.cols - draw.x[:, None]).abs() < CUTOUT_SIDE / 2
        inside_y = (self.rows - draw.y[:, None]).abs() < CUTOUT_SIDE / 2
        hole = inside_y[:, :, None] & inside_x[:, None, :] & draw.acts[:, None, None]
        return images.masked_fill(hole[:, None], 0.0)
