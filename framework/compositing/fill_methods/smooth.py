"""A smooth transition from border to border, without texture: the plain thing to compare with."""

from collections.abc import Iterator

from torch import Tensor

from framework.compositing.filling import FillSettings, FillStep
from framework.compositing.scales import Holed, membrane_in


def run(picture: Tensor, hole: Tensor, settings: FillSettings) -> Iterator[FillStep]:
    """Fill in one step."""
    yield FillStep(membrane_in(Holed(picture, hole)), "smooth", 1, 1)
