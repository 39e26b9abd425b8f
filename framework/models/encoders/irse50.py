"""The encoders of pSp and e4e, under their own names for every tensor: IR-SE50 and style heads.

Published checkpoints are loaded into them (`loading.py`), and they can be trained. Sizes are
parameters; published encoders have 64 feature maps in the stem and styles of length 512.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framework.errors import UserError
from framework.models.encoders.style_encoder import Norm, StyleEncoder, normalisation
from framework.models.stylegan2.layers import FullyConnectedLayer
from framework.models.stylegan2.statistics import StyleStatistics

UNITS = (3, 4, 14, 3)  # residual units of each stage of IR-50 (Deng et al. 2019, ArcFace)
_TAPS = (6, 20, 23)  # last units of the last three stages, which the heads read
_SQUEEZE = 16
COARSE_LAYERS, MIDDLE_LAYERS = 3, 7  # heads before these read the coarse, the middle map
_HALVINGS = (4, 5, 6)  # from the maps of 16, 32 and 64 px (at 256 px) to a single position
INPUT_SIDE = 256  # the longer side, in pixels, of a published encoder's input


def style_map(layer: int) -> int:
    """Return the map that head `layer` reads: 0 coarse, 1 middle, 2 fine, counted as pSp does."""
    return (layer >= COARSE_LAYERS) + (layer >= MIDDLE_LAYERS)


def seen_size(img_size: Sequence[int]) -> tuple[int, int]:
    """Return the input size (H, W) for pictures of `img_size`: their own, 256 px at most.

    Published encoders see 256 px whatever the generator makes; small pictures are not enlarged.
    """
    shrink = min(1.0, INPUT_SIDE / max(img_size))
    height, width = (max(1, round(side * shrink)) for side in img_size)
    return height, width


class IRSE50Encoder(StyleEncoder):
    """A backbone, a pyramid and a stack of convolutions for every layer (Richardson et al. 2021).

    Args:
        num_ws: Number of the generator's layers.
        w_dim: Length of its styles.
        in_channels: Channels of the pictures.
        img_size: (H, W) that the network sees; 256x256 as published, 192x256 for cars.
        width: Feature maps of the stem, a multiple of 16; the last stage has eight times as many.
        norm: `batch`, as published, or `group`.
        residual: Whether it sees a reconstruction beside the picture and corrects its styles
            (ReStyle).

    Raises:
        UserError: If the sizes are impossible.
    """

    latent_avg: Tensor

    def __init__(
        self,
        num_ws: int,
        w_dim: int,
        in_channels: int = 3,
        *,
        img_size: Sequence[int] = (INPUT_SIDE, INPUT_SIDE),
        width: int = 64,
        norm: Norm = "batch",
        residual: bool = False,
    ) -> None:
        config = dict(
            num_ws=num_ws, w_dim=w_dim, in_channels=in_channels, img_size=img_size, width=width,
            norm=norm, residual=residual,
        )  # fmt: skip
        super().__init__(config, ("num_ws", "w_dim", "in_channels", "width"))
        if width % _SQUEEZE or not 1 <= min(img_size) <= max(img_size) <= INPUT_SIDE:
            raise UserError(
                f"width {width}, img_size {tuple(img_size)}: the width must be a multiple of "
                f"{_SQUEEZE}, the sides at most {INPUT_SIDE}"
            )
        self.input_layer = nn.Sequential(
            nn.Conv2d(self.seen_channels, width, 3, padding=1, bias=False),
            normalisation(norm, width),
            nn.PReLU(width),
        )
        self.body = nn.Sequential(*_body(width, norm))
        self.styles = nn.ModuleList(
            StyleHead(8 * width, w_dim, _HALVINGS[style_map(layer)]) for layer in range(num_ws)
        )
        self.latlayer1 = nn.Conv2d(4 * width, 8 * width, 1)
        self.latlayer2 = nn.Conv2d(2 * width, 8 * width, 1)
        self.register_buffer("latent_avg", torch.zeros(num_ws, w_dim))

    def maps(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return coarse, middle and fine features: the last three stages' outputs, summed down."""
        x, stages = self.input_layer(pictures), []
        for number, unit in enumerate(self.body):
            x = unit(x)
            if number in _TAPS:
                stages.append(x)
        fine, middle, coarse = stages
        middle = _enlarged(coarse, middle) + self.latlayer1(middle)
        return coarse, middle, _enlarged(middle, fine) + self.latlayer2(fine)

    def heads(self, pictures: Tensor) -> Tensor:
        """The outputs of all layers' heads, (N, num_ws, w_dim)."""
        maps = self.maps(pictures)
        styles = [head(maps[style_map(layer)]) for layer, head in enumerate(self.styles)]
        return torch.stack(styles, dim=1)

    def placed(self, offsets: Tensor, ws: Tensor | None) -> Tensor:
        """Styles as in `StyleEncoder`: offsets are in w's own units."""
        return (self.latent_avg if ws is None else ws) + offsets

    def set_statistics(self, statistics: StyleStatistics) -> None:
        """Let outputs start at a generator's mean style."""
        self.latent_avg.copy_(statistics.w_avg)


class Encoder4Editing(IRSE50Encoder):
    """The encoder of e4e (Tov et al. 2021): one style, and every layer's distance from it."""

    def codes(self, pictures: Tensor) -> Tensor:
        """Codes as in `StyleEncoder`; pictures (N, C, *img_size), reconstruction included."""
        return self.heads(pictures)


class GradualStyleEncoder(IRSE50Encoder):
    """The encoder of pSp (Richardson et al. 2021): a style for every layer."""

    def codes(self, pictures: Tensor) -> Tensor:
        """Codes as in `StyleEncoder`; the heads give styles, so the first one is subtracted."""
        styles = self.heads(pictures)
        return torch.cat([styles[:, :1], styles[:, 1:] - styles[:, :1]], dim=1)


class StyleHead(nn.Module):
    """Convolutions that halve a map until one position is left, then a dense layer."""

    def __init__(self, in_channels: int, w_dim: int, halvings: int) -> None:
        super().__init__()
        self.w_dim = w_dim
        layers: list[nn.Module] = []
        for number in range(halvings):
            width = w_dim if number else in_channels
            layers += [nn.Conv2d(width, w_dim, 3, stride=2, padding=1), nn.LeakyReLU(0.01)]
        self.convs = nn.Sequential(*layers)
        self.linear = FullyConnectedLayer(w_dim, w_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, in_channels, h, w), at most 2^halvings a side, to styles (N, w_dim)."""
        return self.linear(self.convs(x).flatten(1))


class SqueezeExcite(nn.Module):
    """A weight for each channel, computed from its mean over the picture (Hu et al. 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // _SQUEEZE, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // _SQUEEZE, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Weight the channels of features (N, channels, h, w), shape kept."""
        return x * self.fc2(F.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))).sigmoid()


class Unit(nn.Module):
    """A residual unit of IR-SE50: normalise, convolve twice, normalise, squeeze and excite."""

    def __init__(self, width: int, out: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.stride = stride
        if width != out:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(width, out, 1, stride, bias=False), normalisation(norm, out)
            )
        else:
            self.shortcut_layer = nn.MaxPool2d(1, stride)  # takes every stride-th value
        self.res_layer = nn.Sequential(
            normalisation(norm, width),
            nn.Conv2d(width, out, 3, padding=1, bias=False),
            nn.PReLU(out),
            nn.Conv2d(out, out, 3, stride, padding=1, bias=False),
            normalisation(norm, out),
            SqueezeExcite(out),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, width, h, w) to (N, out, h / stride, w / stride)."""
        return self.shortcut_layer(x) + self.res_layer(x)


def _body(width: int, norm: Norm) -> Iterator[Unit]:
    """The units of all stages; the first of each halves the picture."""
    below = width
    for stage, units in enumerate(UNITS):
        out = width << stage
        for number in range(units):
            yield Unit(below, out, 1 if number else 2, norm)
            below = out


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=True)
