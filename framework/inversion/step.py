"""The value that each step of an inversion yields."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from framework.inversion.deltas import WeightDeltas

Stage = Literal["embed", "refine", "tune"]
Status = Literal["running", "done", "max_steps", "max_seconds", "diverged"]


@dataclass(frozen=True, eq=False)
class InversionStep:
    """A stage after `step` updates, with the best so far of each picture.

    Args:
        stage: Name of the stage.
        step: Number of updates since the stage began; 0 is the start.
        status: "running", or why this is the last step: "done" (every picture within the stop
            distance, or nothing left to do), "max_steps", "max_seconds", or "diverged" (numbers
            that are not finite; the best is from before).
        ws: Latents of the best, shape (N, num_ws, w_dim), on the model's device.
        noise: Noise maps of the best by buffer name ("synthesis.b8.conv0.noise_const"), each
            (N, 1, h, w); empty for the generator's own.
        deltas: Changed weights of the best, one set for all pictures; None for the generator's own.
        loss: Weighted loss of this step, shape (N,); a finished picture keeps its last.
        best_loss: Loss of the best, shape (N,); it never rises.
        best_step: Step of the best, shape (N,).
        finished: Whether a picture is finished, shape (N,).
        terms: Parts of `loss` by name ("pixel", "perceptual", …), without their weights, (N,) each.
        images: Pictures of the best, shape (N, C, H, W), about [-1, 1].
    """

    stage: Stage
    step: int
    status: Status
    ws: Tensor
    noise: dict[str, Tensor]
    deltas: WeightDeltas | None
    loss: Tensor
    best_loss: Tensor
    best_step: Tensor
    finished: Tensor
    terms: dict[str, Tensor]
    images: Tensor | None

    def noise_of(self, row: int) -> dict[str, Tensor]:
        """Return one picture's noise maps, (h, w) each, in the form for `deltas.personal`."""
        return {name: maps[row, 0] for name, maps in self.noise.items()}
