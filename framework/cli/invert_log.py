"""What watches an inversion: a line on the terminal, stats.jsonl, W&B."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.cli.step_log import StepLog
from framework.dashboard import WandbMode

if TYPE_CHECKING:
    import numpy as np

    from framework.inversion.settings import InversionSettings
    from framework.inversion.step import InversionStep


def invert_metrics(step: "InversionStep") -> dict[str, float]:
    """Return the numbers of a step under the names they have in W&B."""
    metrics = {name: terms.mean().item() for name, terms in step.terms.items()}
    metrics |= {"loss": step.loss.mean().item(), "best_loss": step.best_loss.mean().item()}
    return {f"Invert/{step.stage}/{name}": value for name, value in metrics.items()}


def invert_record(step: "InversionStep", elapsed_sec: float) -> dict[str, Any]:
    """Return a step of one photograph as one line of stats.jsonl."""
    return {
        "stage": step.stage,
        "step": step.step,
        "elapsed_sec": round(elapsed_sec, 4),
        "status": step.status,
        "loss": step.loss[0].item(),
        "best_loss": step.best_loss[0].item(),
        "best_step": int(step.best_step[0]),
        **{name: terms.mean().item() for name, terms in step.terms.items()},
    }


class InvertLog(StepLog):
    """What watches an inversion.

    Args:
        folder: Output folder; stats.jsonl and the W&B run are made in it.
        config: Resolved settings and facts, for W&B.
        settings: Say how many steps there are, for the progress line.
        wandb: W&B mode.
        group: W&B group of the photographs of one command.
    """

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        settings: "InversionSettings",
        wandb: WandbMode,
        group: str | None = None,
    ) -> None:
        super().__init__(folder, "invert", config, wandb, group)
        self._settings = settings
        self._count = 0

    def step(self, step: "InversionStep") -> None:
        """Record one step everywhere."""
        facts = invert_record(step, self.elapsed_sec)
        self.record(facts, invert_metrics(step), self._count)
        self._count += 1
        last = getattr(getattr(self._settings, step.stage), "steps", step.step)
        terms = "  ".join(f"{name} {value.mean().item():.4f}" for name, value in step.terms.items())
        self._line.show(
            f"{step.stage} {step.step}/{last}  loss {facts['loss']:.4f}"
            f" (best {facts['best_loss']:.4f})  {terms}"
        )

    def done(self, pictures: "dict[str, np.ndarray]", facts: dict[str, Any]) -> None:
        """Send the pictures, by name, and the outcome to W&B."""
        if self._run is None:
            return
        import wandb

        self._run.log({f"Invert/{name}": wandb.Image(array) for name, array in pictures.items()})
        self._run.summary.update({f"Invert/{name}": value for name, value in facts.items()})
