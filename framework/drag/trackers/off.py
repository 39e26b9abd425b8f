"""No tracking: the points are assumed to have moved as they should (an ablation)."""

from torch import Tensor

from framework.drag.features import differences, patches
from framework.drag.interface import Draggable, View
from framework.drag.settings import Sizes


class Tracker:
    """A tracker that assumes every move succeeded; the drift shows how wrong that is."""

    def __init__(self, draggable: Draggable, view: View, handles: Tensor, sizes: Sizes) -> None:
        self._sizes = sizes
        self._templates = self._patches(view, handles)

    def follow(self, view: View, points: Tensor, moves: Tensor | None) -> tuple[Tensor, Tensor]:
        """The points after the moves they should have made, and their drift."""
        points = points if moves is None else points + moves
        return points, differences(self._patches(view, points), self._templates, 1).flatten()

    def _patches(self, view: View, points: Tensor) -> Tensor:
        sizes = self._sizes
        return patches(view.features, points, sizes.template_radius_px, sizes.img_size)
