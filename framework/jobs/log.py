"""The records of a job's steps: stats.jsonl and a W&B run."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from torch import Tensor

from framework.dashboard import WandbMode, log_media, log_table, open_run
from framework.drag.step import DragStep
from framework.files import append_line, json_line, naming, open_in_place
from framework.inversion.step import InversionStep

STATS, RESULTS = "stats.jsonl", "results.jsonl"


class StepLog:
    """Logs every step; used as a context, so that everything is closed.

    Args:
        folder: Output folder; stats.jsonl and the W&B run are made in it.
        kind: W&B's job type, "drag" or "invert"; capitalised, the beginning of its keys.
        config: Resolved settings and facts, for W&B.
        wandb: W&B mode, see `framework.dashboard.resolve_mode`.
        group: W&B group of one request.
    """

    def __init__(
        self,
        folder: Path,
        kind: str,
        config: dict[str, Any],
        wandb: WandbMode,
        group: str | None = None,
    ) -> None:
        self._kind = kind.capitalize()
        self._run = open_run(folder, wandb, job_type=kind, config=config, group=group)
        self._path = folder / STATS
        self._stats = open(self._path, "w", encoding="utf-8", opener=open_in_place)
        self._count = 0
        self._state: Tensor | None = None  # of the step before
        self._start_sec = time.monotonic()

    def __enter__(self) -> Self:
        """Start the clock."""
        self._start_sec = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        """Close everything, also after an interruption."""
        self.close()

    def close(self) -> None:
        """Close the file and the run."""
        try:
            with naming(self._path):
                self._stats.close()
        finally:
            if self._run is not None:
                self._run.finish()

    @property
    def shows_pictures(self) -> bool:
        """Whether pictures go anywhere: some are made for W&B alone."""
        return self._run is not None

    @property
    def elapsed_sec(self) -> float:
        """Seconds since the clock was started."""
        return time.monotonic() - self._start_sec

    def step(self, step: DragStep | InversionStep) -> None:
        """Write a line of stats.jsonl, flushed, so that a killed job leaves it; log to W&B."""
        elapsed_sec = round(self.elapsed_sec, 4)
        if isinstance(step, DragStep):
            size = {} if self._state is None else {"step_size": step_size(self._state, step.state)}
            self._state = step.state
            facts, number = drag_record(step, elapsed_sec) | size, step.step
            metrics = drag_metrics(step) | size
        else:
            facts, metrics = inversion_record(step, elapsed_sec), inversion_metrics(step)
            number = self._count
        with naming(self._path):
            self._stats.write(f"{json_line(facts)}\n")
            self._stats.flush()
        self._count += 1
        if self._run is not None:
            self._run.log(self._named(metrics), step=number)

    def pictures(self, pictures: dict[str, np.ndarray], clip: Path | None = None) -> None:
        """Send the pictures, by name, and the clip to W&B."""
        if self._run is not None:
            log_media(self._run, self._kind, pictures, clip)

    def summary(self, facts: dict[str, Any]) -> None:
        """Set the outcome beside the last values of the metrics in W&B."""
        if self._run is not None:
            self._run.summary.update(self._named(facts))

    def _named(self, values: dict[str, Any]) -> dict[str, Any]:
        return {f"{self._kind}/{name}": value for name, value in values.items()}


def step_size(before: Tensor, now: Tensor) -> float:
    """How far an update moved the latents: its length (L2 norm over all of them)."""
    return (now - before).norm().item()


def drag_metrics(step: DragStep) -> dict[str, float]:
    """Return the numbers of a step as W&B draws them."""
    metrics = {
        "step": float(step.step),
        "motion_loss": step.motion_loss,
        "mask_loss": step.mask_loss,
        "distance_px_mean": step.mean_distance_px,
        "distance_px_max": step.max_distance_px,
        "drift_mean": step.mean_drift,
    }
    metrics |= {f"drift/point_{index}": drift for index, drift in enumerate(step.drift)}
    if step.min_confidence is not None:
        metrics["confidence_min"] = step.min_confidence
    return metrics


def drag_record(step: DragStep, elapsed_sec: float) -> dict[str, Any]:
    """Return a step as one line of stats.jsonl; lists run over the points."""
    return {
        "step": step.step,
        "elapsed_sec": elapsed_sec,
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


def inversion_metrics(step: InversionStep) -> dict[str, float]:
    """Return the numbers of a step as W&B draws them, by stage."""
    metrics = {name: terms.mean().item() for name, terms in step.terms.items()}
    metrics |= {"loss": step.loss.mean().item(), "best_loss": step.best_loss.mean().item()}
    return {f"{step.stage}/{name}": value for name, value in metrics.items()}


def inversion_record(step: InversionStep, elapsed_sec: float) -> dict[str, Any]:
    """Return a step of one photograph as one line of stats.jsonl."""
    return {
        "stage": step.stage,
        "step": step.step,
        "elapsed_sec": elapsed_sec,
        "status": step.status,
        "loss": step.loss[0].item(),
        "best_loss": step.best_loss[0].item(),
        "best_step": int(step.best_step[0]),
        **{name: terms.mean().item() for name, terms in step.terms.items()},
    }


def log_batch(
    folder: Path,
    config: dict[str, Any],
    wandb: WandbMode,
    rows: Sequence[dict[str, Any]],
    summary: dict[str, Any],
) -> None:
    """Send the results of many drags to a W&B run of their own: a table, and what they come to.

    Args:
        folder: Output folder of the batch, whose name is the W&B group of its drags.
        config: What the drags have in common.
        wandb: W&B mode.
        rows: A row for each drag; files and what is nested in it are left out.
        summary: Numbers over all drags.
    """
    group = folder.resolve().name
    run = open_run(folder, wandb, job_type="batch", config=config, group=group)
    if run is None:
        return
    plain = (bool, int, float, str, type(None))
    log_table(
        run, "Batch/drags", [{k: v for k, v in r.items() if isinstance(v, plain)} for r in rows]
    )
    run.summary.update({f"Batch/{name}": v for name, v in summary.items() if isinstance(v, plain)})
    run.finish()


class Results:
    """The results of many, a line of a file each, written once the folder exists."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[str] = []
        self.rows: list[dict[str, Any]] = []

    def add(self, facts: dict[str, Any]) -> None:
        """Write a line; it waits until there is a folder."""
        self.rows.append(facts)
        self._waiting.append(json_line(facts))
        if self._path.parent.exists():
            append_line(self._path, "\n".join(self._waiting))
            self._waiting = []
