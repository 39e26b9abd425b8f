"""Style that stays a photograph: the optimisation may change colours, and smoothly, but no edge.

Luan et al. 2017 (Deep photo style transfer): the loss of `gatys` and the energy of the
photograph's matting Laplacian. What is left of texture is dropped: the result is the photograph's
own colours, through smooth affine maps.
"""

from collections.abc import Iterator

from torch import Tensor

from framework.compositing.filling import FillStep
from framework.style.matting import MattingLaplacian
from framework.style.methods.gatys import Extra, optimised
from framework.style.settings import StyleNetworks, StyleSettings

KEEPS_EDGES = True
_WEIGHT = 100.0  # of the mean square error beside the style


def run(
    content: Tensor, style: Tensor, networks: StyleNetworks, settings: StyleSettings
) -> Iterator[FillStep]:
    """Optimise from the coarsest picture to the finest."""
    return optimised(content, style, networks, settings, _photographic)


def _photographic(content: Tensor) -> Extra:
    laplacian = MattingLaplacian(content)
    return lambda picture: _WEIGHT * laplacian.mean(picture)
