"""What a generator is worth: `python train.py validate`, and every N kimg during `fit`."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only

from framework.cli.terminal import ProgressLine
from framework.data import ImageDataset
from framework.errors import UserError
from framework.evaluation.generator.features import Networks
from framework.evaluation.generator.measure import (
    MetricSettings,
    Report,
    check_data,
    check_fit,
    measure,
)
from framework.evaluation.generator.models import choose_networks, note_opponent, seen_kimg
from framework.evaluation.generator.shares import Interrupted
from framework.files import append_line, json_line
from framework.formats import OpenedModel, open_model
from framework.formats.run_checkpoint import latest_whole, read_checkpoint
from framework.training.callbacks import KimgCallback, StopSignals
from framework.training.data import TrainingImages
from framework.training.run_folder import keep_until, lock_folder, reached
from framework.training.run_settings import RunSettings
from framework.training.wandb_logger import X_AXIS, open_logger

# ------------------------------------------------------------------------------------- validate


def validate(
    run: RunSettings, settings: MetricSettings, dataset: ImageDataset, device: torch.device
) -> None:
    """Measure one model in this process; prints one line of JSON, numbers and protocols.

    Args:
        run: Whose newest checkpoint is measured, unless `settings` names a model.
        settings: How.
        dataset: The real pictures.
        device: Where to compute.

    Raises:
        UserError: If there is nothing to measure, or it does not fit the pictures.
    """
    opened = _measured(run, settings)
    generator = opened.network("generator")
    name = settings.model or str(opened.path)
    check_fit(generator, dataset, name)
    networks = choose_networks(settings)
    line = ProgressLine()
    try:
        report = measure(generator, dataset, networks, settings, device, line.show)
    finally:
        line.close()
    note_opponent(report, networks, opened)
    seen = seen_kimg(generator.provenance)
    if settings.model is None and seen is not None:
        _log(run, report, seen)
    facts = {"model": name, "seen_kimg": seen, **report.flat(), "protocol": report.protocol}
    print(json_line(facts), flush=True)


def validate_encoder(
    run: RunSettings, module: Any, trainer: lightning.Trainer, data: TrainingImages
) -> None:
    """Measure how held-out pictures come out of a run's newest encoder; prints one line of JSON.

    Args:
        run: Whose newest checkpoint is measured.
        module: The encoder's training, with the settings of the run.
        trainer: Says where to compute.
        data: The pictures.

    Raises:
        UserError: If there is nothing to measure, or nothing is held out.
    """
    if data.held_out is None:
        raise UserError("--data.held_out 0: no pictures are kept out of training to measure with")
    path = latest_whole(run.dir)
    if path is None:
        raise UserError(f"--run.dir {run.dir}: holds no whole checkpoint to validate")
    module.restore(read_checkpoint(path), trainer, data)
    measures = module.measures(data.held_out)
    means = {name: round(values.mean().item(), 6) for name, values in measures.items()}
    protocol = {
        "pixel": "mean square error, pictures in [-1, 1], clamped, not rounded",
        "psnr": "of each picture, peak 2, mean",
        **module.facts(),
        "pictures": f"{len(data.held_out)} held out of {data.source}",
    }
    seen_kimg = module.seen_images / 1000
    facts = {"model": str(path), "seen_kimg": seen_kimg, **means, "protocol": protocol}
    print(json_line(facts), flush=True)


def _measured(run: RunSettings, settings: MetricSettings) -> OpenedModel:
    if settings.model is not None:
        return open_model(settings.model, "--metrics.model")
    checkpoint = latest_whole(run.dir)
    if checkpoint is None:
        raise UserError(
            f"--run.dir {run.dir}: holds no whole checkpoint to validate; "
            "--metrics.model measures any other model"
        )
    return open_model(checkpoint)


def _log(run: RunSettings, report: Report, seen_kimg: float) -> None:
    """Add the numbers to the run's dashboard, unless a training is writing to it."""
    try:
        with lock_folder(Path(run.dir)):
            logger = open_logger(run.dir, run.wandb, {}, reached(Path(run.dir)).images)
            if logger is not None:
                logger.log_metrics({**report.flat(), X_AXIS: seen_kimg})
                logger.close()
    except UserError as error:
        print(f"note: not logged to W&B ({error})", file=sys.stderr)


# ------------------------------------------------------------------------------------ during fit


class Metrics(KimgCallback):
    """Measures the averaged generator during a training, all processes together.

    Each process draws its share of the pictures, so none waits for another longer than for a
    batch; the last computations, from features that all of them hold, each does for itself. Nothing
    of the training is touched, so a run with metrics is bit-equal to one without.

    Args:
        run_dir: Run folder; gets a line in `metric-KIND.jsonl` for every kind of number.
        every_kimg: Between measurements.
        total_kimg: The end, which is measured, too.
        settings: How.
        signals: A measurement is left off when this process was asked to stop.
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
        """Look, before anything is written, whether all that is needed is there.

        Raises:
            UserError: Naming the flag.
        """
        if self.settings.model is not None:
            raise UserError("--metrics.model: only `validate` measures another model")
        check_data(dataset)
        # Processes do not know of each other yet: what a launcher told them decides.
        self.networks = choose_networks(self.settings, speaks=rank_zero_only.rank == 0)

    def facts(self) -> dict[str, Any]:
        """What a dashboard should know of the networks, where anything is measured."""
        if self.networks is None:
            return {}
        kinds = {"features": self.networks.features, "distance": self.networks.distance}
        return {"metric_networks": {k: n.protocol() for k, n in kinds.items() if n is not None}}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Forget what a session that was killed measured past its last checkpoint."""
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
    """Add a line to `metric-KIND.jsonl` for each kind; a full disk must not end a training."""
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
