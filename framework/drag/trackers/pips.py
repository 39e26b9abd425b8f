"""A way through the last eight pictures, by PIPs (Harley et al. 2022).

Pan et al. 2023 compare with it. The network is `framework.models.tracking.pips`; its weights are
the authors' reference model, as `tracker_weights` or `pips.pth`. It was run here with random
weights alone: no published ones were at hand.
"""

from collections import deque
from pathlib import Path

import torch
from torch import Tensor, nn

from framework.drag import tracker_networks as networks
from framework.drag.features import patches
from framework.drag.interface import Draggable, View
from framework.drag.settings import Sizes
from framework.drag.trackers.nearest import search
from framework.models.tracking.pips import PICTURES, STRIDE, Pips

FILES = ("pips.pth",)
LEAST_PX = 256  # it was trained on 368 by 512


class Tracker:
    """A tracker by what handles looked like before the drag, along their ways since."""

    def __init__(self, draggable: Draggable, view: View, handles: Tensor, sizes: Sizes) -> None:
        self._draggable, self._sizes = draggable, sizes
        self._templates = patches(view.features, handles, sizes.template_radius_px, sizes.img_size)
        self._network = networks.opened("pips", FILES, build, sizes, handles)
        maps = self._look(view)
        self._content = patches(maps, self._placed(handles), 0, (maps.shape[2], maps.shape[3]))
        self._seen = deque([(maps, self._placed(handles))], maxlen=PICTURES - 1)

    def follow(self, view: View, points: Tensor, moves: Tensor | None) -> tuple[Tensor, Tensor]:
        """Find the points in this picture after those before; return them and their drift."""
        maps, places = self._look(view), self._placed(points)
        if moves is None:
            self._seen.clear()
        else:
            missing = PICTURES - len(self._seen)  # the picture now stands for those to come
            window = [m for m, _ in self._seen] + [maps] * missing
            expected = [p for _, p in self._seen] + [places] * missing
            content = self._content[..., 0, 0]
            places = self._network(torch.cat(window), torch.stack(expected), content)[-1]
            there = (places * STRIDE).to(points.dtype)
            points = networks.reduced(there, self._factor, self._sizes)
        self._seen.append((maps, self._placed(points)))
        return search(view.features, points, self._templates, 0, self._sizes.img_size)

    def _look(self, view: View) -> Tensor:
        picture, self._factor = networks.picture(self._draggable, view, LEAST_PX)
        return self._network.get_submodule("fnet")(picture)

    def _placed(self, points: Tensor) -> Tensor:
        return networks.enlarged(points, self._factor).float() / STRIDE


def build(path: Path) -> nn.Module:
    """PIPs with the weights of a training checkpoint, or of a plain state dict."""
    return networks.loaded(Pips(), path, inside="model_state_dict")
