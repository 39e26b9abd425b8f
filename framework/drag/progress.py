"""The progress of a drag between two steps, and what is measured there."""

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from framework.drag.interface import Drag, Draggable, View
from framework.drag.likeness import LEAST_CONFIDENCE, last_look
from framework.drag.mask import Pulls, usual_length
from framework.drag.step import DragStep, Picture, Status
from framework.models.frozen import Adam, adam_update, gradients


@dataclass(frozen=True, eq=False)
class Measurements:
    """The numbers of a step, all of one dtype.

    Args:
        health: A sum that is finite if state and features are, a scalar.
        motion_loss: Motion loss, a scalar.
        mask_loss: Mask loss, a scalar.
        pull_length: Usual length of the points' gradient, a scalar.
        distance_px: Distance of each point to its target, shape (K,).
        drift: Drift of each point, shape (K,).
        points: Points (x, y) in pixels, shape (K, 2).
        targets: Targets (x, y) in pixels, shape (K, 2).
    """

    health: Tensor
    motion_loss: Tensor
    mask_loss: Tensor
    pull_length: Tensor
    distance_px: Tensor
    drift: Tensor
    points: Tensor
    targets: Tensor

    def to_cpu(self) -> "Measurements":
        """Copy all to the CPU, without graphs: one wait for the device, not eight."""
        tensors = self._tensors()
        parts = self._concatenated().cpu().split([tensor.numel() for tensor in tensors])
        return Measurements(
            *(part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True))
        )

    @property
    def farthest_px(self) -> float:
        """Distance of the farthest point to its target."""
        return max(self.distance_px.tolist())

    @property
    def finite(self) -> bool:
        """Whether every number is finite."""
        return bool(self._concatenated().isfinite().all())

    def _tensors(self) -> list[Tensor]:
        return [getattr(self, field.name).detach() for field in fields(self)]

    def _concatenated(self) -> Tensor:
        return torch.cat([tensor.flatten() for tensor in self._tensors()])


@dataclass(frozen=True, eq=False)
class Progress:
    """What one step hands to the next; the tensors are the drag's own.

    Args:
        step: Updates made since the drag began.
        state: State after these updates, see `Draggable`.
        points: Where the points were before the last update, shape (K, 2).
        optimizer: Adam's state.
        usual_pull: Usual length of the points' gradient, a scalar; 0 at the beginning.
        settled: Steps during which the points have been at their targets.
        moves: Moves that the points should make in the last update, shape (K, 2); None before.
    """

    step: int
    state: Any
    points: Tensor
    optimizer: Adam
    usual_pull: Tensor
    settled: int = 0
    moves: Tensor | None = None

    @classmethod
    def beginning(
        cls, draggable: Draggable, drag: Drag, resume_from: DragStep | None
    ) -> "Progress":
        """The progress at the start of a drag, new or continued."""
        handles, optimizer = drag.handles, Adam.new(draggable.trainable(drag.start))
        if resume_from is None:
            return cls(0, drag.start, handles, optimizer, handles.new_zeros(()))
        adam = resume_from.optimizer
        if adam is not None and adam.mean.shape == optimizer.mean.shape:
            mean, square = (t.to(handles, copy=True) for t in (adam.mean, adam.square))
            optimizer = Adam(adam.count, mean, square)
        same_targets = torch.equal(resume_from.targets.to(handles), drag.targets)
        return cls(
            step=resume_from.step,
            state=draggable.own(resume_from.state),
            points=resume_from.points.to(handles, copy=True),
            optimizer=optimizer,
            usual_pull=handles.new_tensor(resume_from.pull_length),
            settled=resume_from.settled if same_targets else 0,
        )

    def moved(
        self,
        draggable: Draggable,
        pulls: Pulls,
        learning_rate: float,
        arrived: bool,
        points: Tensor,
        moves: Tensor | None = None,
        in_common: bool = False,
    ) -> "Progress":
        """The progress after a step of Adam along the pulls, whose graph is used up.

        The mask pulls as hard as the points do now; once they have arrived, as they used to.
        """
        usual = self.usual_pull
        balance = pulls.together(usual if arrived else torch.zeros_like(usual))
        with gradients(False):
            optimizer, update = adam_update(
                self.optimizer, balance.gradient, learning_rate, in_common
            )
            state = draggable.moved(self.state, update)
            usual = usual if arrived else usual_length(usual, balance.pull_length)
        settled = self.settled + arrived
        return Progress(self.step + 1, state, points, optimizer, usual, settled, moves)

    def measured(
        self,
        draggable: Draggable,
        drag: Drag,
        view: View,
        pulls: Pulls,
        points: Tensor,
        drift: Tensor,
    ) -> Measurements:
        """The numbers of this step, on the CPU."""
        return Measurements(
            health=draggable.trainable(self.state).sum() + view.features.detach().sum(),
            motion_loss=pulls.motion,
            mask_loss=pulls.change,
            pull_length=self.usual_pull,
            distance_px=(drag.targets - points).norm(dim=1),
            drift=drift,
            points=points,
            targets=drag.targets,
        ).to_cpu()

    def seen(
        self,
        draggable: Draggable,
        drag: Drag,
        numbers: Measurements,
        status: Status,
        before: View,
        view: View,
    ) -> DragStep:
        """The step as the caller sees it; the last one asks whether the points are still there.

        Args:
            draggable: The model.
            drag: What is asked for.
            numbers: From `measured`.
            status: How the drag stands; "arrived" becomes "lost" where a point does not show what
                its handle showed.
            before: View of the state before the drag.
            view: View of this state.
        """
        confidence: tuple[float, ...] = ()
        if status != "moving":
            points = numbers.points.to(drag.handles)
            confidence = last_look(draggable, before, view, drag.handles, points)
        if status == "arrived" and min(confidence) < LEAST_CONFIDENCE:
            status = "lost"
        return DragStep(
            step=self.step,
            status=status,
            state=self.state,
            points=numbers.points,
            targets=numbers.targets,
            motion_loss=numbers.motion_loss.item(),
            mask_loss=numbers.mask_loss.item(),
            distance_px=tuple(numbers.distance_px.tolist()),
            drift=tuple(numbers.drift.tolist()),
            optimizer=self.optimizer,
            picture=Picture(draggable, view),
            confidence=confidence,
            pull_length=numbers.pull_length.item(),
            settled=self.settled,
        )
