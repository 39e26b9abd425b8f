"""Where a drag stands between two steps, and what is measured there."""

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from framework.drag.interface import Drag, Draggable
from framework.drag.step import DragStep, Picture, Status
from framework.models.frozen import Adam


@dataclass(frozen=True, eq=False)
class Measurements:
    """The numbers of a step, all of one type.

    Args:
        health: Finite if state and features are, a scalar.
        motion_loss: Scalar.
        mask_loss: Scalar.
        pull_length: How long the points' gradient usually is, a scalar.
        distance_px: Of each point to its target, shape (K,).
        drift: Shape (K,).
        points: (x, y) in image pixels, shape (K, 2).
        targets: Likewise.
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
        """The same on the CPU, without graphs: one wait for the device, not eight."""
        tensors = self._tensors()
        parts = self._together().cpu().split([tensor.numel() for tensor in tensors])
        return Measurements(
            *(part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True))
        )

    @property
    def farthest_px(self) -> float:
        """Distance of the farthest point to its target."""
        return max(self.distance_px.tolist())

    @property
    def finite(self) -> bool:
        """Whether every number is."""
        return bool(self._together().isfinite().all())

    def _tensors(self) -> list[Tensor]:
        return [getattr(self, field.name).detach() for field in fields(self)]

    def _together(self) -> Tensor:
        return torch.cat([tensor.flatten() for tensor in self._tensors()])


@dataclass(frozen=True, eq=False)
class Progress:
    """What goes from one step to the next; tensors are the drag's own.

    Args:
        step: Updates made since the drag began.
        state: After them, see `Draggable`.
        points: Where the points were before the last of them, shape (K, 2).
        optimizer: What Adam remembers.
        usual_pull: How long the points' gradient usually is, a scalar; 0 at the beginning.
        settled: How many steps the points have been at their targets.
        asked: What the points were asked to do in the last step, shape (K, 2); None before.
    """

    step: int
    state: Any
    points: Tensor
    optimizer: Adam
    usual_pull: Tensor
    settled: int = 0
    asked: Tensor | None = None

    @classmethod
    def beginning(
        cls, draggable: Draggable, drag: Drag, resume_from: DragStep | None
    ) -> "Progress":
        """Of a new drag, or where an earlier one stopped."""
        handles, optimizer = drag.handles, Adam.new(draggable.trainable(drag.start))
        if resume_from is None:
            return cls(0, drag.start, handles, optimizer, handles.new_zeros(()))
        known = resume_from.optimizer
        if known is not None and known.mean.shape == optimizer.mean.shape:
            mean, square = (t.to(handles, copy=True) for t in (known.mean, known.square))
            optimizer = Adam(known.count, mean, square)
        same_targets = torch.equal(resume_from.targets.to(handles), drag.targets)
        return cls(
            step=resume_from.step,
            state=draggable.own(resume_from.state),
            points=resume_from.points.to(handles, copy=True),
            optimizer=optimizer,
            usual_pull=handles.new_tensor(resume_from.pull_length),
            settled=resume_from.settled if same_targets else 0,
        )

    def seen(
        self,
        measured: Measurements,
        status: Status,
        confidence: tuple[float, ...],
        picture: Picture,
    ) -> DragStep:
        """The step as the caller sees it; measurements are on the CPU."""
        return DragStep(
            step=self.step,
            status=status,
            state=self.state,
            points=measured.points,
            targets=measured.targets,
            motion_loss=measured.motion_loss.item(),
            mask_loss=measured.mask_loss.item(),
            distance_px=tuple(measured.distance_px.tolist()),
            drift=tuple(measured.drift.tolist()),
            optimizer=self.optimizer,
            picture=picture,
            confidence=confidence,
            pull_length=measured.pull_length.item(),
            settled=self.settled,
        )
