"""What a U-Net works on: cells of pixels, or the latents of an autoencoder with a text."""

from typing import Any

from torch import Tensor, nn

from framework.models.diffusion.unet import to_cells, to_pictures


class Pixels(nn.Module):
    """Pictures cut into cells.

    Args:
        cell_px: Side of a cell.
    """

    clips = True  # what is estimated are colours in [-1, 1]
    strength = 0.7  # usual share of DDIM's steps between a picture and its latents

    def __init__(self, cell_px: int) -> None:
        super().__init__()
        self.factor = cell_px

    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures (N, C, H, W) in [-1, 1] as the U-Net takes them."""
        return to_cells(pictures, self.factor)

    def decode(self, x0: Tensor) -> Tensor:
        """The pictures again."""
        return to_pictures(x0, self.factor)

    def sketch(self, x0: Tensor) -> Tensor:
        """What shows roughly the picture of x0, (N, 3, h, w), and costs nothing."""
        return self.decode(x0)

    def condition(self, count: int) -> dict[str, Any]:
        """Arguments of the U-Net beside picture and time: none."""
        return {}


class Latents(nn.Module):
    """Latents of an autoencoder, and the embedding of one text that all pictures have.

    Args:
        autoencoder: A frozen `AutoencoderKL` of diffusers.
        text: Embedding of the text, shape (1, L, D).
    """

    clips = False
    strength = 0.7  # as published (DragDiffusion)
    text: Tensor

    def __init__(self, autoencoder: nn.Module, text: Tensor) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        config: Any = autoencoder.config
        self.scale = float(config.scaling_factor)
        self.factor = 2 ** (len(config.block_out_channels) - 1)
        self.register_buffer("text", text)

    def encode(self, pictures: Tensor) -> Tensor:
        """The mean latents of pictures (N, 3, H, W) in [-1, 1]."""
        autoencoder: Any = self.autoencoder
        return autoencoder.encode(pictures).latent_dist.mean * self.scale

    def decode(self, x0: Tensor) -> Tensor:
        """The pictures of latents."""
        autoencoder: Any = self.autoencoder
        return autoencoder.decode(x0 / self.scale).sample

    def sketch(self, x0: Tensor) -> Tensor:
        """What shows roughly the picture of x0: three of its channels, about in [-1, 1]."""
        return x0[:, :3] / 3

    def condition(self, count: int) -> dict[str, Any]:
        """The text's embedding for so many pictures."""
        return {"encoder_hidden_states": self.text.expand(count, -1, -1)}
