"""Measurements of a generator, every N kimg during `fit`."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import lightning
from lightning.fabric.utilities.rank_zero import rank_zero_only

from framework.cli.terminal import ProgressLine
from framework.data import ImageDataset
from framework.errors import UserError
from framework.evaluation.generator.features import Networks
from framework.evaluation.generator.measure import MetricSettings, Report, check_data, measure
from framework.evaluation.generator.models import choose_networks
from framework.evaluation.generator.shares import Interrupted
from framework.files import append_line
from framework.training.callbacks import KimgCallback, StopSignals
from framework.training.run_folder import keep_until
from framework.training.wandb_logger import X_AXIS


class Metrics(KimgCallback):
    """Measures the averaged generator during a run, all processes together.

    Each process draws its share of the pictures, so none waits for another longer than for a
    batch; each does the last computations, from features that all of them have, for itself. The
    state of the run is not touched, so a run with metrics is bit-equal to one without.

    Args:
        run_dir: Run folder; gets a line in `metric-KIND.jsonl` for every kind of number.
        every_kimg: Thousands of images from one measurement to the next.
        total_kimg: Thousands of images at the end, which is measured, too.
        settings: Settings of the measurement.
        signals: Signals that stop the run, and a measurement with it.
    """

    def __init__(
        self,
        run_dir: str | Path,
        every_kimg: float,
        total_kimg: float,
        settings: MetricSettings,
        signals: StopSignals,
    ) -> None:
        super().__init__(every_kimg, total_kimg)
        self.run_dir, self.settings, self.signals = Path(run_dir), settings, signals
        self.networks: Networks | None = None

    def prepare(self, dataset: ImageDataset) -> None:
        """Check, before anything is written, that all that is needed is there.

        Raises:
            UserError: Naming the flag.
        """
        if self.settings.model is not None:
            raise UserError("--metrics.model: only `validate` measures another model")
        check_data(dataset)
        # Processes do not know of each other yet: the launcher's environment decides.
        self.networks = choose_networks(self.settings, speaks=rank_zero_only.rank == 0)

    def facts(self) -> dict[str, Any]:
        """Return facts about the networks for a dashboard; empty if nothing is measured."""
        if self.networks is None:
            return {}
        kinds = {"features": self.networks.features, "distance": self.networks.distance}
        return {"metric_networks": {k: n.protocol() for k, n in kinds.items() if n is not None}}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Remove what a killed session measured past its last checkpoint."""
        super().on_train_start(trainer, pl_module)
        if trainer.is_global_zero:
            forget_after(self.run_dir, pl_module.seen_images / 1000)

    def at_mark(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Measure, write, print, log."""
        assert self.networks is not None, "prepare() comes first"
        start, kimg = time.monotonic(), pl_module.seen_images / 1000
        line = ProgressLine() if trainer.is_global_zero else None

        def watch(text: str) -> None:
            if trainer.strategy.reduce_boolean_decision(bool(self.signals.received), all=False):
                raise Interrupted
            if line is not None:
                line.show(f"kimg {kimg:g}: {text}")

        data = trainer.datamodule  # type: ignore[attr-defined]
        device = pl_module.device
        try:
            report = measure(
                pl_module.generator_ema, data.dataset, self.networks, self.settings, device, watch
            )
        except Interrupted:
            return
        finally:
            if line is not None:
                line.close()
        if trainer.is_global_zero:
            self._tell(trainer, report, kimg, time.monotonic() - start)

    def _tell(
        self, trainer: lightning.Trainer, report: Report, kimg: float, total_sec: float
    ) -> None:
        write_report(self.run_dir, report, kimg, total_sec)
        numbers = [f"{n.removeprefix('Metrics/')} {v:.4g}" for n, v in report.flat().items()]
        clear = "\r\033[K" if sys.stdout.isatty() else ""
        print(
            f"{clear}metrics kimg {kimg:<8g} {' '.join(numbers)} in {total_sec:.0f} s", flush=True
        )
        for logger in trainer.loggers:
            logger.log_metrics({**report.flat(), X_AXIS: kimg})


def write_report(run_dir: Path, report: Report, kimg: float, total_sec: float) -> None:
    """Add a line to `metric-KIND.jsonl` for each kind; a full disk must not end a run."""
    for kind, numbers in report.numbers.items():
        facts = {
            "metric": kind,
            "results": numbers,
            "seen_kimg": kimg,
            "total_sec": round(total_sec, 1),
            "timestamp": time.time(),
            "protocol": report.protocol[kind],
        }
        path = run_dir / f"metric-{kind}.jsonl"
        try:
            append_line(path, json.dumps(facts))
        except OSError as error:
            print(f"note: {path}: {error.strerror}", file=sys.stderr)


def forget_after(run_dir: Path, seen_kimg: float) -> None:
    """Remove what was measured beyond `seen_kimg`, and broken lines, from `metric-*.jsonl`."""
    for path in run_dir.glob("metric-*.jsonl"):
        keep_until(path, seen_kimg, lambda line: line["seen_kimg"])
