"""Motions whose truth is known: what trackers and correspondences are measured against."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

OVERSAMPLING = 4  # each pixel is the mean of 4 x 4 samples: a motion does not show as aliasing


@dataclass(frozen=True, eq=False)
class Motion:
    """An affine motion of a picture's content: x' = matrix (x - centre) + centre + shift.

    Args:
        matrix: Shape (2, 2); the identity for a translation.
        shift_px: (x, y) in pixels, shape (2,).
        img_size: The picture's (height, width), whose middle is the centre.
    """

    matrix: Tensor
    shift_px: Tensor
    img_size: tuple[int, int]

    @property
    def centre(self) -> Tensor:
        """The middle of the picture, (x, y) in pixels."""
        height, width = self.img_size
        return self.shift_px.new_tensor([(width - 1) / 2, (height - 1) / 2])

    def points(self, points: Tensor) -> Tensor:
        """Where points (x, y), shape (..., 2), of the content are after the motion."""
        return (points - self.centre) @ self.matrix.T + self.centre + self.shift_px

    def sources(self, places: Tensor) -> Tensor:
        """Where the content at places (x, y), shape (..., 2), was before the motion."""
        inverse = torch.linalg.inv(self.matrix)
        return (places - self.centre - self.shift_px) @ inverse.T + self.centre

    def part(self, share: float) -> "Motion":
        """The motion on its way: `share` of it, from 0 (none) to 1 (all)."""
        matrix = torch.lerp(torch.eye(2).to(self.matrix), self.matrix, share)
        return Motion(matrix, share * self.shift_px, self.img_size)

    def picture(self, original: Tensor) -> Tensor:
        """Render a picture after the motion.

        Args:
            original: A picture of any size, shape (1, C, H, W), in [-1, 1], the finer the better:
                it is seen in `img_size`, and mirrored beyond its border.

        Returns:
            Shape (1, C, height, width) of `img_size`, in [-1, 1].
        """
        height, width = self.img_size
        fine = self.warped(original, (height * OVERSAMPLING, width * OVERSAMPLING))
        return F.avg_pool2d(fine, OVERSAMPLING).clamp(-1, 1)

    def warped(self, values: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Pictures or feature maps (1, C, h, w) after the motion, sampled at the cells of `size`.

        `size` is (rows, columns) and their own if None. They cover the picture, whatever their
        size; without a motion, values of their own size are unchanged.
        """
        rows, columns = size or values.shape[2:]
        extent = self.shift_px.new_tensor([self.img_size[1], self.img_size[0]])
        cells = [torch.arange(count).to(extent) + 0.5 for count in (columns, rows)]
        grid = torch.stack(torch.meshgrid(*cells, indexing="xy"), dim=-1)
        places = grid * extent / extent.new_tensor([columns, rows]) - 0.5
        sources = ((self.sources(places) + 0.5) / extent * 2 - 1)[None].to(values)
        return F.grid_sample(
            values, sources, mode="bicubic", padding_mode="reflection", align_corners=False
        )


def still(img_size: tuple[int, int]) -> Motion:
    """No motion at all."""
    return Motion(torch.eye(2), torch.zeros(2), img_size)


def random_motion(
    img_size: tuple[int, int],
    rng: torch.Generator,
    shift_px: float,
    turn_degrees: float = 0.0,
    stretch: float = 0.0,
) -> Motion:
    """Draw a motion uniformly.

    Args:
        img_size: The picture's (height, width).
        rng: Where the numbers come from.
        shift_px: Largest shift along each axis.
        turn_degrees: Largest rotation either way.
        stretch: Largest logarithm of the scale, and largest shear.
    """
    dx, dy, turn, scale, shear = (2 * torch.rand(5, generator=rng) - 1).tolist()
    angle, size = math.radians(turn_degrees) * turn, math.exp(stretch * scale)
    cos, sin = size * math.cos(angle), size * math.sin(angle)
    sheared = torch.tensor([[1.0, stretch * shear], [0.0, 1.0]])
    matrix = torch.tensor([[cos, -sin], [sin, cos]]) @ sheared
    return Motion(matrix, shift_px * torch.tensor([dx, dy]), img_size)


def relit(picture: Tensor, rng: torch.Generator, strength: float = 0.2) -> Tensor:
    """A picture (1, C, H, W) in other light: each channel scaled, all shifted, a little noise."""
    gain = 1 + strength * (2 * torch.rand(1, picture.shape[1], 1, 1, generator=rng) - 1)
    shift = strength * (2 * torch.rand(1, generator=rng) - 1)
    noise = 0.15 * strength * torch.randn(picture.shape, generator=rng)
    return (picture * gain + shift + noise).clamp(-1, 1)
