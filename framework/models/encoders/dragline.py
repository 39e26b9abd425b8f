"""The project's own encoder: small, any size, trained from scratch."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framework.models.encoders.style_encoder import Norm, StyleEncoder, normalisation
from framework.models.stylegan2.layers import channels_at, pyramid
from framework.models.stylegan2.statistics import StyleStatistics

SLOPE = 0.2  # of the leaky ReLUs
HEAD_SIDE = 4  # maps are pooled to this many rows and columns before a head
COUNTS = (
    "in_channels", "num_ws", "w_dim", "channel_base", "channel_max", "blocks", "map_channels",
    "head_features",
)  # fmt: skip
_FIRST_STEP = 0.01  # spread of an untrained encoder's offsets, in standard deviations of w


def layer_maps(num_ws: int) -> list[int]:
    """Return the feature map that each layer's style is read from: 0 coarse, 1 middle, 2 fine.

    Coarse serves layers up to 8 px, middle 16 and 32 px, fine the rest; at 1024 px this is the
    split 3, 7 of pSp (Richardson et al. 2021). Resolutions are nominal, as the blocks' names are.
    """
    last = 4 << max(0, num_ws // 2 - 1)
    resolutions = [min(4 << ((layer + 1) // 2), last) for layer in range(num_ws)]
    return [(resolution > 8) + (resolution > 32) for resolution in resolutions]


class Encoder(StyleEncoder):
    """The project's own encoder: a residual trunk, a feature pyramid, heads that layers share.

    Where pSp and e4e have a stack of convolutions for every layer (121 of 152 million parameters
    at 64 px), layers that read the same map share all but a linear map.

    Args:
        img_size: (H, W) of the pictures, a size that a generator can have.
        in_channels: Channels of the pictures: 3 for colours, 1 for sketches, k for label maps.
        num_ws: Number of the generator's layers.
        w_dim: Length of its styles.
        channel_base: Feature maps times nominal resolution, up to the maximum.
        channel_max: Largest number of feature maps.
        blocks: Residual blocks of each resolution.
        map_channels: Width of the feature pyramid.
        head_features: Units of each head's hidden layer.
        norm: `group` (the same in training and use, at any batch size) or `batch`.
        residual: Whether it sees a reconstruction beside the picture and corrects its styles
            (ReStyle).

    Raises:
        UserError: If the sizes are impossible.
    """

    w_avg: Tensor
    w_std: Tensor

    def __init__(
        self,
        img_size: Sequence[int],
        in_channels: int,
        num_ws: int,
        w_dim: int,
        *,
        channel_base: int = 1024,
        channel_max: int = 192,
        blocks: int = 1,
        map_channels: int = 64,
        head_features: int = 256,
        norm: Norm = "group",
        residual: bool = False,
    ) -> None:
        config = dict(
            img_size=img_size, in_channels=in_channels, num_ws=num_ws, w_dim=w_dim,
            channel_base=channel_base, channel_max=channel_max, blocks=blocks,
            map_channels=map_channels, head_features=head_features, norm=norm, residual=residual,
        )  # fmt: skip
        super().__init__(config, COUNTS)
        self.memory_format = torch.channels_last
        resolutions = pyramid(img_size)[1][-2::-1]  # from half the picture's down to 4
        widths = [channels_at(r, channel_base, channel_max) for r in resolutions]
        self.stem = nn.Conv2d(4 * self.seen_channels, widths[0], 3, padding=1)
        self.trunk = nn.ModuleList(
            _level(widths[max(0, i - 1)], width, blocks, norm, down=i > 0)
            for i, width in enumerate(widths)
        )
        readers = [min(m, len(widths) - 1) for m in layer_maps(num_ws)]
        maps = max(readers) + 1
        self.laterals = nn.ModuleList(
            nn.Sequential(_Activation(width, norm), nn.Conv2d(width, map_channels, 1))
            for width in widths[: -maps - 1 : -1]
        )
        self.heads = nn.ModuleList(
            Head(map_channels, head_features, readers.count(m), w_dim, norm) for m in range(maps)
        )
        self.register_buffer("w_avg", torch.zeros(w_dim))
        self.register_buffer("w_std", torch.ones(w_dim))

    def codes(self, pictures: Tensor) -> Tensor:
        """Codes as in `StyleEncoder`; pictures (N, C, *img_size), reconstruction included."""
        x = pictures.contiguous(memory_format=self.memory_format)
        x = self.stem(F.pixel_unshuffle(x, 2).contiguous(memory_format=self.memory_format))
        levels = []
        for level in self.trunk:
            x = level(x)
            levels.append(x)
        styles, above = [], None
        for lateral, head, x in zip(self.laterals, self.heads, reversed(levels), strict=False):
            features = lateral(x)
            if above is not None:
                features = features + F.interpolate(above, scale_factor=2.0, mode="nearest")
            styles.append(head(features))
            above = features
        return torch.cat(styles, dim=1)

    def placed(self, offsets: Tensor, ws: Tensor | None) -> Tensor:
        """Styles as in `StyleEncoder`: offsets are standard deviations of w."""
        return (self.w_avg if ws is None else ws) + self.w_std * offsets

    def set_statistics(self, statistics: StyleStatistics) -> None:
        """Let outputs start at a generator's mean style, in units of its spread."""
        self.w_avg.copy_(statistics.w_avg)
        self.w_std.copy_(statistics.w_std)


class Head(nn.Module):
    """A network from one map's features to the codes of the layers that read it."""

    def __init__(self, channels: int, features: int, layers: int, w_dim: int, norm: Norm) -> None:
        super().__init__()
        self.layers, self.w_dim = layers, w_dim
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.activation = _Activation(channels, norm)
        self.hidden = nn.Linear(channels * HEAD_SIDE**2, features)
        self.styles = nn.Linear(features, layers * w_dim)
        nn.init.kaiming_normal_(self.hidden.weight, SLOPE)
        nn.init.zeros_(self.hidden.bias)
        nn.init.normal_(self.styles.weight, std=_FIRST_STEP / math.sqrt(features))
        nn.init.zeros_(self.styles.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, channels, h, w) to codes (N, layers, w_dim)."""
        x = F.adaptive_avg_pool2d(self.activation(self.conv(x)), HEAD_SIDE)
        x = F.leaky_relu(self.hidden(x.flatten(1)), SLOPE)
        return self.styles(x).unflatten(1, (self.layers, self.w_dim))


class _Activation(nn.Module):
    """Normalisation, then a leaky ReLU."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.norm = normalisation(norm, channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(x), SLOPE)


class _Block(nn.Module):
    """A residual block, normalised before each convolution (He et al. 2016); halves if `down`."""

    def __init__(self, width: int, out: int, norm: Norm, down: bool) -> None:
        super().__init__()
        self.down = down
        self.before0, self.before1 = _Activation(width, norm), _Activation(out, norm)
        self.conv0 = nn.Conv2d(width, out, 3, stride=2 if down else 1, padding=1)
        self.conv1 = nn.Conv2d(out, out, 3, padding=1)
        self.shortcut = nn.Conv2d(width, out, 1) if width != out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        change = self.conv1(self.before1(self.conv0(self.before0(x))))
        return self.shortcut(F.avg_pool2d(x, 2) if self.down else x) + change


def _level(width: int, out: int, blocks: int, norm: Norm, down: bool) -> nn.Sequential:
    """The blocks of one resolution."""
    first = _Block(width, out, norm, down)
    return nn.Sequential(first, *(_Block(out, out, norm, False) for _ in range(blocks - 1)))
