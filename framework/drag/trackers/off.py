"""No tracking: the points are believed to have moved as they were asked to (an ablation)."""

from torch import Tensor

from framework.drag.features import differences, patches
from framework.drag.interface import Draggable, View
from framework.drag.settings import Sizes


class Tracker:
    """Believes; the drift shows how wrongly."""

    def __init__(self, draggable: Draggable, view: View, handles: Tensor, sizes: Sizes) -> None:
        self._sizes = sizes
        self._templates = self._patches(view, handles)

    def follow(self, view: View, points: Tensor, asked: Tensor | None) -> tuple[Tensor, Tensor]:
        """Points one asked-for step further, and their drift."""
        points = points if asked is None else points + asked
        return points, differences(self._patches(view, points), self._templates, 1).flatten()

    def _patches(self, view: View, points: Tensor) -> Tensor:
        sizes = self._sizes
        return patches(view.features, points, sizes.template_radius_px, sizes.img_size)
