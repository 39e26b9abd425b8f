"""Optical flow from the picture before the drag to the one now, by RAFT (Teed & Deng 2020).

The network is torchvision's, small or large as the weights are (`raft_small_C_T_V2-01064c6d.pth`,
`raft_large_C_T_SKHT_V2-ff5fadd5.pth`). Pan et al. 2023 compare with it. It was run here with random
weights alone: no published ones were at hand.
"""

from pathlib import Path

from torch import Tensor, nn
from torchvision.models.optical_flow import raft_large, raft_small

from framework.drag import tracker_networks as networks
from framework.drag.features import patches
from framework.drag.interface import Draggable, View
from framework.drag.settings import Sizes
from framework.drag.trackers.nearest import search

FILES = ("raft_large_C_T_SKHT_V2-ff5fadd5.pth", "raft_small_C_T_V2-01064c6d.pth")
LEAST_PX = 128  # RAFT halves an eighth of the picture three times


class Tracker:
    """A tracker by flow: nothing adds up from step to step."""

    def __init__(self, draggable: Draggable, view: View, handles: Tensor, sizes: Sizes) -> None:
        self._draggable, self._handles, self._sizes = draggable, handles, sizes
        self._templates = patches(view.features, handles, sizes.template_radius_px, sizes.img_size)
        self._network = networks.opened("raft", FILES, build, sizes, handles)
        self._first, self._factor = networks.picture(draggable, view, LEAST_PX)

    def follow(self, view: View, points: Tensor, moves: Tensor | None) -> tuple[Tensor, Tensor]:
        """Find the points by flow; return them and their drift."""
        if moves is not None:
            now, factor = networks.picture(self._draggable, view, LEAST_PX)
            flow = self._network(self._first, now)[-1].to(points.dtype)
            begin = networks.enlarged(self._handles, factor)
            there = begin + patches(flow, begin, 0, (flow.shape[2], flow.shape[3]))[..., 0, 0]
            points = networks.reduced(there, factor, self._sizes)
        return search(view.features, points, self._templates, 0, self._sizes.img_size)


def build(path: Path) -> nn.Module:
    """RAFT of the size that the file is of: the large one alone predicts how to enlarge."""
    large = path.stat().st_size > 10_000_000
    return networks.loaded((raft_large if large else raft_small)(weights=None), path)
