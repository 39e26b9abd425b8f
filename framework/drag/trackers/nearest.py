"""Point tracking: the nearest features are where a handle is now (Pan et al. 2023, eq. 2)."""

import torch
from torch import Tensor

from framework.drag.features import differences, inside, patches
from framework.drag.interface import Draggable, View
from framework.drag.settings import Sizes


class Tracker:
    """A search for each handle around its last place; by patches if the template has a radius."""

    def __init__(self, draggable: Draggable, view: View, handles: Tensor, sizes: Sizes) -> None:
        self._sizes = sizes
        self._templates = patches(view.features, handles, sizes.template_radius_px, sizes.img_size)

    def follow(self, view: View, points: Tensor, moves: Tensor | None) -> tuple[Tensor, Tensor]:
        """Find the points again; return them and their drift."""
        radius_px = 0 if moves is None else self._sizes.tracking_radius_px
        return search(view.features, points, self._templates, radius_px, self._sizes.img_size)


def search(
    features: Tensor,
    points: Tensor,
    templates: Tensor,
    radius_px: int,
    img_size: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Find each handle again: the nearest features, in L1, to those it had at the beginning.

    Args:
        features: Block's features now, shape (1, C, h, w).
        points: Handles (x, y) before the step, in image pixels, inside the image, shape (K, 2).
        templates: The handles' initial features, `patches(initial, handles, t)`, shape
            (K, C, 2t+1, 2t+1).
        radius_px: Half side r2 of the square searched, in whole-pixel moves from the old position.
            0 measures without moving.
        img_size: Image's (height, width); handles stay inside.

    Returns:
        The new points, shape (K, 2), and their drift, shape (K,): the mean absolute difference
        between the features there and the initial ones. Ties go to the place closest to the old
        position.
    """
    template_radius = templates.shape[-1] // 2
    window = patches(features, points, radius_px + template_radius, img_size)
    distances = differences(window, templates, 2 * radius_px + 1)
    distances = distances.masked_fill(~inside(points, radius_px, img_size), float("inf")).flatten(1)
    moves = _moves(radius_px, points.device)
    choice = distances[:, moves[:, 2]].argmin(dim=1)  # the first of those that are as near
    found = points + moves[choice, :2].to(points.dtype)
    # Measured there alone: in a window, the last bit depends on the place within it.
    there = patches(features, found, template_radius, img_size)
    return found, differences(there, templates, 1)[:, 0, 0]


def _moves(radius_px: int, device: torch.device) -> Tensor:
    """All moves in the square, shortest first: (dx, dy, index in the flattened square)."""
    reach = torch.arange(-radius_px, radius_px + 1, device=device)
    dy, dx = torch.meshgrid(reach, reach, indexing="ij")
    moves = torch.stack([dx.flatten(), dy.flatten(), torch.arange(dx.numel(), device=device)], 1)
    order = moves[:, :2].square().sum(dim=1).argsort(stable=True)
    return moves[order]
