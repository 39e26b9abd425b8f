"""DragDiffusion's latent optimisation (Shi et al. 2024, section 3.3): its losses, without faults.

The loop is DragGAN's. Unlike in the public code, a handle keeps its fraction of a pixel, the patch
and its shifted copy are cut alike at the picture's rim, points that have arrived are still held,
and without a mask everything may change.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from framework.drag.features import inside, patches
from framework.drag.interface import Drag, Draggable, View
from framework.drag.mask import Pulls, mask_loss
from framework.drag.methods import draggan
from framework.drag.settings import DragSettings
from framework.drag.step import DragStep

LAMBDA = 0.1  # of the sum of what changes outside the mask
USUAL_WEIGHT = 0.5  # of `DragSettings.mask_weight`, which scales λ


def run(
    draggable: Draggable, drag: Drag, settings: DragSettings, resume_from: DragStep | None = None
) -> Iterator[DragStep]:
    """Pull the features, hold the noisy picture of the level below outside the mask; repeat."""
    return draggan.run(draggable, drag, settings, resume_from, square_loss, NoisyHold)


def square_loss(
    features: Tensor, points: Tensor, steps: Tensor, radius_px: int, img_size: tuple[int, int]
) -> Tensor:
    """Sum over the square of ‖F(q + d) - sg(F(q))‖₁, the channels' mean: eq. 3, as published code.

    Args:
        features: Features, shape (1, C, h, w).
        points: Handles (x, y) in image pixels, shape (K, 2).
        steps: The steps d, shape (K, 2).
        radius_px: Half side of the square.
        img_size: Image's (height, width); pixels beyond it, before or after the step, do not count.

    Returns:
        Loss of each handle, shape (K,); one at the rim counts as much as any other.
    """
    here = patches(features.detach(), points, radius_px, img_size)
    ahead = patches(features, points + steps, radius_px, img_size)
    used = inside(points, radius_px, img_size) & inside(points + steps, radius_px, img_size)
    difference = (ahead - here).abs().mean(dim=1) * used
    return difference.sum(dim=(1, 2)) / used.sum(dim=(1, 2)) * (2 * radius_px + 1) ** 2


class NoisyHold:
    """What a mask asks for: λ ‖(x_{t-1} - x⁰_{t-1}) (1 - M)‖₁ (eq. 3).

    Args:
        draggable: The model, whose views have the noisy picture of the level below.
        mask: The mask, shape (H, W), 1 = may change, or None.
        before: View of the state before the drag.
        settings: The mask's weight.
    """

    settle_steps = 0

    def __init__(
        self, draggable: Draggable, mask: Tensor | None, before: View, settings: DragSettings
    ) -> None:
        self._draggable, self._before = draggable, _noisy(before).detach()
        self._fixed: Tensor | None = None
        if mask is not None:
            size = (self._before.shape[2], self._before.shape[3])
            self._fixed = torch.nn.functional.adaptive_avg_pool2d(1 - mask[None, None], size)
        self._weight = LAMBDA * settings.mask_weight / USUAL_WEIGHT

    def pulls(self, view: View, motion: Tensor) -> Pulls:
        """The pull of both losses together."""
        change = motion.new_zeros(())
        if self._fixed is not None:
            below = _noisy(view)
            held = ((below - self._before) * self._fixed).abs().sum()
            motion = motion + self._weight * held
            total = self._fixed.sum().clamp(min=1)
            change = mask_loss([below], [self._before], self._fixed / total).detach()
        return Pulls(self._draggable, view, motion, change, weight=0.0)


def _noisy(view: View) -> Tensor:
    """The noisy picture of the level below; a model without one is held by its features."""
    return view.features if view.running is None else view.running
