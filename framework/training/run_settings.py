"""The `--run.*` options: where a run lives and when it does what."""

from dataclasses import dataclass
from typing import Literal

from framework.dashboard import WandbMode
from framework.errors import UserError

_MOST = 1_000_000_000  # thousands of images: a thousand GPUs for longer than there are any


@dataclass
class RunSettings:
    """Where a run lives and when it does what; everything is counted in thousands of images.

    Args:
        dir: Run folder; the same command in the same folder resumes.
        kimg: Length of the run.
        tick_kimg: From one status line to the next (also stats.jsonl and W&B).
        checkpoint_kimg: From one checkpoint to the next, for resuming.
        snapshot_kimg: From one sample grid and model folder to the next.
        metrics_kimg: From one measurement of the averaged generator (--metrics.*) to the next; 0
            for none.
        keep_checkpoints: Number of newest checkpoints to keep.
        keep_snapshots: Number of newest model folders to keep; 0 keeps all.
        resume: `auto` goes on if the folder holds a run, `never` refuses such a folder.
        wandb: `auto` is online if somebody is logged in, else offline; `disabled` for none.
        dry_run: Print settings, sizes and data facts, and stop; nothing is written.
    """

    dir: str = "runs/stylegan2"
    kimg: float = 25000
    tick_kimg: float = 4
    checkpoint_kimg: float = 20
    snapshot_kimg: float = 200
    metrics_kimg: float = 0.0
    keep_checkpoints: int = 2
    keep_snapshots: int = 0
    resume: Literal["auto", "never"] = "auto"
    wandb: WandbMode = "auto"
    dry_run: bool = False

    def check(self) -> None:
        """Check that every number is in its range.

        Raises:
            UserError: Naming the flag.
        """
        for name in ("kimg", "tick_kimg", "checkpoint_kimg", "snapshot_kimg", "keep_checkpoints"):
            if not 0 < getattr(self, name) <= _MOST:
                must = f"positive and at most {_MOST:,}"
                raise UserError(f"--run.{name} {getattr(self, name)}: must be {must}")
        if not 0 <= self.metrics_kimg <= _MOST:
            raise UserError(f"{self.metrics_kimg}: 0 for none", "run.metrics_kimg")
        if not 0 <= self.keep_snapshots <= _MOST:
            raise UserError(f"{self.keep_snapshots}: 0 keeps all", "run.keep_snapshots")
        if not self.dir.strip():
            raise UserError(": give the folder of the run", "run.dir")
