"""What watches a drag: a line on the terminal, stats.jsonl, W&B."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.cli.step_log import StepLog
from framework.dashboard import WandbMode

if TYPE_CHECKING:
    import numpy as np

    from framework.drag.step import DragStep


def drag_metrics(step: "DragStep") -> dict[str, float]:
    """Return the numbers of a step under the names they have in W&B."""
    metrics = {
        "Drag/step": float(step.step),
        "Drag/motion_loss": step.motion_loss,
        "Drag/mask_loss": step.mask_loss,
        "Drag/distance_px_mean": step.mean_distance_px,
        "Drag/distance_px_max": step.max_distance_px,
        "Drag/drift_mean": step.mean_drift,
    }
    for index, drift in enumerate(step.drift):
        metrics[f"Drag/drift/point_{index}"] = drift
    if step.min_confidence is not None:
        metrics["Drag/confidence_min"] = step.min_confidence
    return metrics


def step_record(step: "DragStep", elapsed_sec: float) -> dict[str, Any]:
    """Return a step as one line of stats.jsonl; lists run over the points."""
    return {
        "step": step.step,
        "elapsed_sec": round(elapsed_sec, 4),
        "status": step.status,
        "motion_loss": step.motion_loss,
        "mask_loss": step.mask_loss,
        "distance_px": list(step.distance_px),
        "distance_px_mean": step.mean_distance_px,
        "distance_px_max": step.max_distance_px,
        "drift": list(step.drift),
        "drift_mean": step.mean_drift,
        "confidence": list(step.confidence) or None,
        "lost": step.lost,
        "doubtful": step.doubtful,
        "points": step.points.tolist(),
    }


class DragLog(StepLog):
    """What watches a drag.

    Args:
        folder: Output folder; stats.jsonl and the W&B run are made in it.
        config: Resolved settings and facts of the edit, for W&B.
        wandb: W&B mode.
        last_step: Where the drag ends at the latest, for the progress line.
        group: W&B group of the drags of one task file.
    """

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        wandb: WandbMode,
        last_step: int,
        group: str | None = None,
    ) -> None:
        super().__init__(folder, "drag", config, wandb, group)
        self._last_step = last_step

    def step(self, step: "DragStep") -> None:
        """Record one step everywhere."""
        self.record(step_record(step, self.elapsed_sec), drag_metrics(step), step.step)
        self._line.show(
            f"step {step.step}/{self._last_step}  distance {step.mean_distance_px:.2f} px"
            f" (max {step.max_distance_px:.2f})  motion loss {step.motion_loss:.4f}"
            f"  drift {step.mean_drift:.3f}"
        )

    def pictures(self, pictures: "dict[str, np.ndarray]", clip: Path | None) -> None:
        """Send the pictures, by name, and the clip to W&B."""
        if self._run is None:
            return
        import wandb

        media: dict[str, Any] = {
            f"Drag/{name}": wandb.Image(picture) for name, picture in pictures.items()
        }
        if clip is not None:
            media["Drag/video"] = wandb.Video(str(clip))
        self._run.log(media)

    def summary(self, facts: dict[str, Any]) -> None:
        """Set the outcome beside the last values of the metrics in W&B."""
        if self._run is not None:
            self._run.summary.update({f"Drag/{name}": value for name, value in facts.items()})
