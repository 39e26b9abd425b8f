"""Point tracking by a patch, to a fraction of a pixel: a search, then Lucas & Kanade (1981)."""

from torch import Tensor

from framework.drag.interface import Draggable, View
from framework.drag.settings import Sizes
from framework.drag.statistics import scales_of
from framework.drag.template import Template

LEAST_RADIUS_PX = 2  # a smaller patch cannot be located


class Tracker:
    """A tracker of discs of features and, where there is one, of the running picture."""

    def __init__(self, draggable: Draggable, view: View, handles: Tensor, sizes: Sizes) -> None:
        maps = _maps(view)
        radius_px = max(LEAST_RADIUS_PX, sizes.template_radius_px)
        self._reach_px = sizes.tracking_radius_px
        self._template = Template(maps, scales_of(maps), handles, radius_px, sizes.img_size)

    def follow(self, view: View, points: Tensor, moves: Tensor | None) -> tuple[Tensor, Tensor]:
        """Find the points again; return them and their drift as a share of the patch."""
        maps = _maps(view)
        if moves is not None:
            points = self._template.find(maps, points, self._reach_px)
        return points, self._template.drift(maps, points)


def _maps(view: View) -> list[Tensor]:
    maps = [view.features.detach()]
    return maps if view.running is None else [*maps, view.running.detach()]
