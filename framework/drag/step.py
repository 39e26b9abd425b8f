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
    """A step's picture, made on demand: from its view as long as that is in memory."""

    def __init__(self, draggable: Draggable, view: View | None = None) -> None:
        self._draggable = draggable
        self._view = view

    def make(self, state: Any) -> Tensor:
        """The picture of a state, shape (1, C, H, W), in [-1, 1] but for overshoot."""
        with gradients(False):
            return self._draggable.picture(state, self._view)

    def coarse(self) -> Tensor | None:
        """The unfinished picture of the view, (1, C, h, w); None without a view, or it has none."""
        if self._view is None:
            return None
        sketch = self._view.running if self._view.sketch is None else self._view.sketch
        return None if sketch is None else sketch.detach()

    def forget(self) -> None:
        """Release the view: it holds a whole graph, and callers collect steps."""
        self._view = None


@dataclass(frozen=True, eq=False)
class DragStep:
    """A drag after `step` updates; state, points, losses and picture belong together.

    Args:
        step: Updates since the drag began; 0 is the original picture.
        status: "moving", or why this is the last step: "arrived" (every handle within the stop
            distance), "lost" (so it seems, but a point no longer shows what its handle showed),
            "held" (the steps are used up, and the mask took most of the pull), "stuck" (no step
            brings the points nearer without losing them or what looks real), "max_steps",
            "max_seconds", or "diverged" (this update gave numbers that are not finite; everything
            here is as it was before it).
        state: State of the model, on its device; for a StyleGAN2 that is `ws`.
        points: Where the handles are now, (x, y) in pixels, shape (K, 2), on the CPU.
        targets: Where the handles should go, shape (K, 2), on the CPU.
        motion_loss: Motion supervision loss, summed over the points.
        mask_loss: Mean change outside the mask (`framework.drag.mask.mask_loss`), without its
            weight; 0 without a mask.
        distance_px: Distance of each point to its target, in pixels.
        drift: Mean absolute difference between each point's features and those of its handle before
            the drag; 0 at the beginning, high where tracking did not find the point again.
        confidence: How sure it is that each point shows what its handle showed before the drag
            (`framework.drag.likeness.confidence`); only the last step has it, others are empty.
        pull_length: With a mask, the usual length of the points' gradient.
        settled: With a mask, for how many steps the handles have been at their targets.
        optimizer: Adam's state; with it a later drag continues as if it had not stopped.
        picture: Makes the picture for `image`.
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
        """Mean distance of the points to their targets, in pixels."""
        return sum(self.distance_px) / len(self.distance_px)

    @property
    def max_distance_px(self) -> float:
        """Distance of the point that is farthest from its target, in pixels."""
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
        """Whether a point no longer shows what its handle showed, wherever it is."""
        return min(self.confidence, default=1.0) < LEAST_CONFIDENCE

    @property
    def doubtful(self) -> bool:
        """Whether a point may not show what its handle showed; lost points are doubtful, too."""
        return min(self.confidence, default=1.0) < SURE_CONFIDENCE

    @property
    def min_confidence(self) -> float | None:
        """Confidence of the least sure point; None before the last step."""
        return min(self.confidence, default=None)

    def image(self) -> Tensor:
        """The picture of `state`, shape (1, C, H, W), in [-1, 1] but for overshoot.

        It is made on demand: while the drag waits at this step, by finishing the step's own
        synthesis; later, from the state again (the same picture).
        """
        return self.picture.make(self.state)

    def coarse_image(self) -> Tensor | None:
        """The unfinished picture at the features' block, (1, C, h, w), which costs nothing.

        None where the model has none, and as soon as the drag goes on.
        """
        return self.picture.coarse()
