"""What a frozen network sees of a picture."""

from dataclasses import dataclass

from torch import Tensor

from framework.models.features.blocks import suited

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class View:
    """A network's input: its side, mean and deviation of the channels on [0, 1].

    The network sees the part `box` of a picture: (left, top, right, bottom), shares of its sides.
    """

    side_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    box: Box = (0.0, 0.0, 1.0, 1.0)

    def __call__(self, images: Tensor) -> Tensor:
        """Convert pictures (N, C, H, W) in [-1, 1] to (N, 3, side_px, side_px)."""
        height, width = images.shape[2:]
        left, top, right, bottom = self.box
        images = images[
            :,
            :,
            round(top * height) : round(bottom * height),
            round(left * width) : round(right * width),
        ]
        images = (suited(images.float(), (self.side_px, self.side_px), 3) + 1) / 2
        mean, std = (images.new_tensor(x)[:, None, None] for x in (self.mean, self.std))
        return (images - mean) / std
