"""A latent transformer: from motions of points in a picture to a change of its latents.

After Endo 2022, "User-Controllable Latent Transformer for StyleGAN Image Layout Editing": an
encoder reads motion tokens (where a point goes, and the generator's features there), a decoder the
latents that move, and a head gives their change. Different here: tokens know their place, latents
and change are in standard deviations of w, and a zoom may be left open.
"""

from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framework.errors import UserError
from framework.models.stylegan2 import Generator

COUNTS = ("layers", "w_dim", "channels", "resolution", "width", "heads", "depth", "hidden")
SAMPLES = 8192
PSI = 0.7
MOTION = 4  # dx, dy, zoom, and whether the zoom is meant
GAIN = 0.3  # of the head: steps of Adam would else be long ones in standard deviations
UNITS = 16  # moves are counted in sixteenths of the picture's longer side


class LatentTransformer(nn.Module):
    """Predicts the change of the first latents that moves points as asked.

    Args:
        layers: First latents that move.
        w_dim: Length of a latent.
        channels: Channels of the generator's features.
        resolution: Nominal side of the block whose features are read.
        width: Width of the tokens.
        heads: Heads of attention; divides `width`.
        depth: Layers of the encoder, and of the decoder.
        hidden: Units of the feed-forward layers.

    Raises:
        UserError: If a count is below 1, or `heads` does not divide `width`.
    """

    w_avg: Tensor
    spread: Tensor
    scale: Tensor

    def __init__(
        self,
        layers: int,
        w_dim: int,
        channels: int,
        resolution: int,
        width: int = 128,
        heads: int = 4,
        depth: int = 3,
        hidden: int = 256,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "layers": layers, "w_dim": w_dim, "channels": channels, "resolution": resolution,
            "width": width, "heads": heads, "depth": depth, "hidden": hidden,
        }  # fmt: skip
        for name, value in self.config.items():
            if value < 1:
                raise UserError(f"{name} {value}: must be at least 1")
        if width % heads:
            raise UserError(f"heads {heads}: must divide width {width}")
        self.layers, self.w_dim, self.resolution = layers, w_dim, resolution
        self.register_buffer("w_avg", torch.zeros(w_dim))
        self.register_buffer("spread", torch.eye(w_dim))
        self.register_buffer("scale", torch.ones(channels))
        self.motion = nn.Linear(MOTION + 2, width)
        self.feature = nn.Linear(channels, width)
        self.token = nn.Linear(2 * width, width)
        self.latent = nn.Linear(w_dim, width)
        self.place = nn.Parameter(torch.zeros(layers, width))
        shape = (width, heads, hidden, 0.0, "gelu")
        how: dict[str, Any] = {"batch_first": True, "norm_first": True}
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(*shape, **how), depth, nn.LayerNorm(width),
            enable_nested_tensor=False,
        )  # fmt: skip
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(*shape, **how), depth, nn.LayerNorm(width)
        )
        self.head = nn.Linear(width, w_dim, bias=False)

    @classmethod
    def new(cls, generator: Generator, layers: int, resolution: int, **sizes: int) -> Self:
        """Make an untrained one that changes nothing, for a generator.

        Raises:
            UserError: If the generator has no such block or fewer latents.
        """
        synthesis = generator.synthesis
        if resolution not in synthesis.resolutions:
            choices = ", ".join(map(str, synthesis.resolutions))
            raise UserError(f"{resolution}: the generator has {choices}", "resolution")
        if layers > generator.num_ws:
            raise UserError(f"{layers}: the generator has {generator.num_ws}", "layers")
        channels = len(synthesis.blocks[synthesis.resolutions.index(resolution)].conv1.bias)
        model = cls(layers, generator.w_dim, channels, resolution, **sizes)
        nn.init.zeros_(model.head.weight)
        nn.init.normal_(model.place, std=0.02)
        return model

    @property
    def sizes(self) -> dict[str, int]:
        """The arguments of `new` that make this one again."""
        return {name: self.config[name] for name in COUNTS if name not in ("w_dim", "channels")}

    @torch.no_grad()
    def set_statistics(self, generator: Generator) -> None:
        """Measure the spread of w and of features, which are the units of what goes in and out."""
        device, rng = next(generator.parameters()).device, torch.Generator().manual_seed(0)
        z = torch.randn(SAMPLES, generator.z_dim, generator=rng).to(device)
        labels = None
        if generator.c_dim:
            rows = torch.arange(SAMPLES, device=device) % generator.c_dim
            labels = F.one_hot(rows, generator.c_dim).float()
        w = generator.mapping(z, labels)[:, 0]
        variances, axes = torch.linalg.eigh(torch.cov(w.T))
        self.spread.copy_(axes * variances.clamp(min=0).sqrt() @ axes.T)
        self.w_avg.copy_(w.mean(dim=0))
        few = (w[:32] * PSI + self.w_avg * (1 - PSI))[:, None].expand(-1, generator.num_ws, -1)
        x = generator.synthesis.partial(few, self.resolution, noise_mode="const").x.float()
        std = x.transpose(0, 1).flatten(1).std(dim=1)
        self.scale.copy_(1 / std.clamp(min=1e-6 * float(std.max()) + 1e-12))

    def forward(
        self,
        ws: Tensor,
        features: Tensor,
        places: Tensor,
        motions: Tensor,
        absent: Tensor | None = None,
    ) -> Tensor:
        """Return the change of the latents that move, in standard deviations of w.

        Args:
            ws: Latents of the pictures, shape (N, at least layers, w_dim).
            features: The generator's features at the points, shape (N, K, channels), see `at`.
            places: The points, shape (N, K, 2): (x, y) from -1 to 1 across the picture.
            motions: Shape (N, K, 4): moves (dx, dy) in sixteenths of the longer side, the log of
                the zoom about the point, and 1 where that zoom is meant, 0 where it is open.
            absent: True for points that are only there to fill the tensor, shape (N, K).

        Returns:
            Shape (N, layers, w_dim); times `spread` it is a change of `ws`.
        """
        turned = motions * motions.new_tensor([-1, -1, -1, 1])
        there, back = (
            self._decoded(ws, features, places, each, absent) for each in (motions, turned)
        )
        return GAIN * self.head(there - back)

    def _decoded(
        self, ws: Tensor, features: Tensor, places: Tensor, motions: Tensor, absent: Tensor | None
    ) -> Tensor:
        read = self.feature(features * self.scale)
        asked = self.motion(torch.cat([motions, places], dim=2))
        tokens = self.token(F.relu(torch.cat([asked, read], dim=2)))
        heard = self.encoder(tokens, src_key_padding_mask=absent)
        latents = (ws[:, : self.layers] - self.w_avg) / self.spread.norm(dim=0).clamp(min=1e-8)
        return self.decoder(
            self.latent(latents) + self.place, heard, memory_key_padding_mask=absent
        )

    def update(
        self,
        ws: Tensor,
        features: Tensor,
        points: Tensor,
        moves: Tensor,
        img_size: tuple[int, int],
    ) -> Tensor:
        """Return the change of `ws` that moves points of one picture, in one forward pass.

        Args:
            ws: Latents, shape (1, at least layers, w_dim).
            features: The generator's features at block `resolution`, shape (1, C, h, w).
            points: Points (x, y) in pixels, shape (K, 2).
            moves: Where they go from there, in pixels, shape (K, 2); zero holds a point; or shape
                (K, 3), with the log of the zoom about it.
            img_size: Picture's (height, width).

        Returns:
            Shape (1, layers, w_dim).
        """
        motions = motion_tokens(moves[None], img_size)
        read = at(features, points[None], img_size)
        return self(ws, read, places(points[None], img_size), motions) @ self.spread


def fitting(editor: LatentTransformer, generator: Generator) -> LatentTransformer:
    """Return an editor that fits a generator.

    Raises:
        UserError: If it is another generator's.
    """
    like = LatentTransformer.new(generator, **editor.sizes)
    if like.config != editor.config:
        raise UserError("editor: belongs to another generator")
    return editor


def motion_tokens(moves: Tensor, img_size: tuple[int, int]) -> Tensor:
    """Moves in pixels, (N, K, 2), or with a zoom, (N, K, 3), as `LatentTransformer` takes them."""
    unit = max(img_size) / UNITS
    has_zoom = moves.shape[2] == 3
    zooms = moves[..., 2:] if has_zoom else torch.zeros_like(moves[..., :1])
    return torch.cat([moves[..., :2] / unit, zooms, torch.full_like(zooms, has_zoom)], dim=2)


def places(points: Tensor, img_size: tuple[int, int]) -> Tensor:
    """Points (x, y) in pixels, (N, K, 2), as places from -1 to 1."""
    return (points + 0.5) / points.new_tensor([img_size[1], img_size[0]]) * 2 - 1


def at(features: Tensor, points: Tensor, img_size: tuple[int, int]) -> Tensor:
    """Features (N, C, h, w) at points (x, y) in the picture's pixels, (N, K, 2): (N, K, C)."""
    read = F.grid_sample(
        features, places(points, img_size)[:, :, None], padding_mode="border", align_corners=False
    )
    return read[..., 0].transpose(1, 2)
