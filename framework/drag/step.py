"""One step of a drag, as the caller sees it."""

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from framework.drag.interface import Draggable, View
from framework.drag.likeness import LEAST_CONFIDENCE, SURE_CONFIDENCE
from framework.models.frozen import Adam, gradients

Status = Literal[
    "moving", "arrived", "lost", "held", "stuck", "max_steps", "max_seconds", "diverged"
]


class Picture:
    """How to make a step's picture: from its view, as long as that is kept."""

    def __init__(self, draggable: Draggable, view: View | None = None) -> None:
        self._draggable = draggable
        self._view = view

    def make(self, state: Any) -> Tensor:
        """The picture of a state, shape (1, C, H, W), in [-1, 1] but for overshoot."""
        with gradients(False):
            return self._draggable.picture(state, self._view)

    def forget(self) -> None:
        """Let go of the view: it holds a whole graph, and steps get collected."""
        self._view = None


@dataclass(frozen=True, eq=False)
class DragStep:
    """A drag after `step` updates; state, points, losses and picture all belong together.

    Args:
        step: Updates made since the drag began; 0 is the picture as it was.
        status: "moving", or why this is the last step: "arrived" (every handle within the stop
            distance), "lost" (so it seems, but a point no longer shows what was taken hold of),
            "held" (the steps are used up, and the mask took most of the pull), "stuck" (no step
            brings the points nearer without losing them or what looks real), "max_steps",
            "max_seconds", or "diverged" (this update gave numbers that are not finite; everything
            here is as it was before it).
        state: What was dragged, on the model's device; of a StyleGAN2 that is `ws`.
        points: Where the handles are now, (x, y) in image pixels, shape (K, 2), on the CPU.
        targets: Where they should go, shape (K, 2), on the CPU.
        motion_loss: Motion supervision, summed over the points.
        mask_loss: Mean change outside the mask (`framework.drag.mask.mask_loss`), without its
            weight; 0 without a mask.
        distance_px: Distance of each point to its target, in image pixels.
        drift: Of each point, the mean absolute difference between its features and those of its
            handle before the drag; 0 at the beginning. What tracking could not find again is high.
        confidence: Of each point, how sure it is that it shows what its handle showed before the
            drag (`framework.drag.likeness.confidence`); empty where that was not asked: a step is
            looked at when it is the last.
        pull_length: With a mask, how long the points' gradient usually is.
        settled: With a mask, how many steps the handles have been at their targets.
        optimizer: What Adam remembers; with it a later drag goes on as if it had not stopped.
        picture: How `image` makes the picture.
    """

    step: int
    status: Status
    state: Any
    points: Tensor
    targets: Tensor
    motion_loss: float
    mask_loss: float
    distance_px: tuple[float, ...]
    drift: tuple[float, ...]
    optimizer: Adam | None
    picture: Picture
    confidence: tuple[float, ...] = ()
    pull_length: float = 0.0
    settled: int = 0

    @property
    def ws(self) -> Tensor:
        """The latents of a StyleGAN2, shape (1, num_ws, w_dim)."""
        return self.state

    @property
    def mean_distance_px(self) -> float:
        """Mean distance of the points to their targets, in image pixels."""
        return sum(self.distance_px) / len(self.distance_px)

    @property
    def max_distance_px(self) -> float:
        """Distance of the point that is farthest from its target, in image pixels."""
        return max(self.distance_px)

    @property
    def mean_drift(self) -> float:
        """Mean of `drift` over the points."""
        return sum(self.drift) / len(self.drift)

    @property
    def arrived(self) -> bool:
        """Whether every point is within the stop distance of its target, and none is lost."""
        return self.status == "arrived"

    @property
    def lost(self) -> bool:
        """Whether a point no longer shows what was taken hold of, wherever it is."""
        return min(self.confidence, default=1.0) < LEAST_CONFIDENCE

    @property
    def doubtful(self) -> bool:
        """Whether a point may not show what was taken hold of; what is lost is doubtful, too."""
        return min(self.confidence, default=1.0) < SURE_CONFIDENCE

    @property
    def min_confidence(self) -> float | None:
        """Confidence of the least sure point; None where it was not asked."""
        return min(self.confidence, default=None)

    def image(self) -> Tensor:
        """The picture of `state`, shape (1, C, H, W), in [-1, 1] but for overshoot.

        Made when asked for: while the drag waits at this step, by finishing what it already
        began; later, from the state again (the same picture).
        """
        return self.picture.make(self.state)
