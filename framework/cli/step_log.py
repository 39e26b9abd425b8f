"""What watches a stream of steps: a line on the terminal, stats.jsonl, W&B."""

import time
from pathlib import Path
from typing import Any, Self

from framework.cli.common import ProgressLine, json_line
from framework.dashboard import WandbMode, open_run
from framework.files import naming, open_in_place


class StepLog:
    """Passes steps on to whoever watches; used as a context, so that all of it is closed.

    Args:
        folder: Output folder; stats.jsonl and the W&B run are made in it.
        kind: W&B's job type.
        config: Resolved settings and facts, for W&B.
        wandb: W&B mode, see `framework.dashboard.resolve_mode`.
        group: W&B group of what one command does.
    """

    def __init__(
        self, folder: Path, kind: str, config: dict[str, Any], wandb: WandbMode, group: str | None
    ) -> None:
        self._run = open_run(folder, wandb, job_type=kind, config=config, group=group)
        self._path = folder / "stats.jsonl"
        self._stats = open(self._path, "w", encoding="utf-8", opener=open_in_place)
        self._line = ProgressLine()
        self._start_sec = time.monotonic()

    def __enter__(self) -> Self:
        """Start the clock."""
        self._start_sec = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the line, the file and the run, also after an interruption."""
        self._line.close()
        try:
            with naming(self._path):
                self._stats.close()
        finally:
            if self._run is not None:
                self._run.finish()

    @property
    def elapsed_sec(self) -> float:
        """Seconds since the clock was started."""
        return time.monotonic() - self._start_sec

    def record(self, facts: dict[str, Any], metrics: dict[str, float], step: int) -> None:
        """Write a line of stats.jsonl, flushed: what is killed leaves what it knew; log to W&B."""
        with naming(self._path):
            print(json_line(facts), file=self._stats, flush=True)
        if self._run is not None:
            self._run.log(metrics, step=step)

    def say(self, text: str) -> None:
        """Show what takes a while."""
        self._line.show(text, force=True)
