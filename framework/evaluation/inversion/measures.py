"""The measures of a reconstruction, with one distance that no stage optimises."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from framework.evaluation.generator.features import SHIPPED, open_discriminator
from framework.evaluation.image_metrics import ms_ssim, mse01, mse_pm1, protocol, psnr, ssim
from framework.media.images import to_float, to_uint8
from framework.models.features.distance import DiscriminatorDistance, Distance, MultiscaleDistance

Numbers = dict[str, float]
HIGHER_IS_BETTER = frozenset({"psnr", "ssim", "ms_ssim"})
_IMAGE_METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    metric.__name__: metric for metric in (mse_pm1, mse01, psnr, ssim, ms_ssim)
}


class Measures:
    """All numbers of reconstructions, computed on pictures as in files: with 8 bits.

    Args:
        distance: The distance that the stages optimise, in a column of its own name.
        ruler: A second distance that no stage optimises, in the column `ruler_name`.
    """

    def __init__(self, distance: Distance, ruler: Distance, ruler_name: str) -> None:
        self.distance, self.ruler, self.ruler_name = distance, ruler, ruler_name
        self.names = (*_IMAGE_METRICS, distance.name, ruler_name)

    @torch.no_grad()
    def __call__(self, images: Tensor, photos: Tensor) -> list[Numbers]:
        """Numbers by column of each picture (N, C, H, W) in [-1, 1] against its photograph."""
        a, b = rounded(images), rounded(photos)
        columns = {name: metric(a, b) for name, metric in _IMAGE_METRICS.items()}
        columns |= {self.distance.name: self.distance(a, b), self.ruler_name: self.ruler(a, b)}
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def protocol(self, size: tuple[int, int]) -> dict[str, Any]:
        """How the numbers are computed for pictures of (H, W) px; JSON values."""
        return {
            **protocol(size),
            "values": "clamped to [-1, 1] and rounded to 8 bits, as the saved pictures are",
            self.distance.name: self.distance.protocol(),
            self.ruler_name: self.ruler.protocol(),
        }


def rounded(images: Tensor) -> Tensor:
    """Round pictures (N, C, H, W) in [-1, 1] to 8 bits, in [-1, 1] again."""
    return to_float(to_uint8(images)).to(images.device)


def choose_ruler(distance: Distance) -> tuple[str, Distance, str]:
    """Choose a second distance, other than the one that the stages optimise.

    The shipped discriminator `features64` compares with every other report that uses it. Where the
    stages optimise that very network, as for the model it was trained against, `multiscale` takes
    its place, which uses no network at all.

    Returns:
        Name of its column, the distance on the CPU, and a sentence if it is not the usual one.
    """
    ruler = DiscriminatorDistance(open_discriminator(SHIPPED).discriminator)
    if not isinstance(distance, DiscriminatorDistance) or distance.digest != ruler.digest:
        return SHIPPED, ruler, ""
    instead = MultiscaleDistance()
    note = (
        f"{SHIPPED} is this model's own discriminator, which the stages optimise; the "
        f"independent distance is {instead.name} instead"
    )
    return instead.name, instead, note
