"""Validation: one measurement of a run's newest checkpoint, or of any model."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from framework.errors import UserError
from framework.evaluation.generator.measure import MetricSettings, Report, check_fit, measure
from framework.evaluation.generator.models import choose_networks, note_opponent, seen_kimg
from framework.formats import OpenedModel, open_model
from framework.formats.run_checkpoint import latest_whole, read_checkpoint
from framework.training.data import TrainingImages
from framework.training.encoder.module import EncoderTraining
from framework.training.run_folder import lock_folder, reached
from framework.training.run_settings import RunSettings
from framework.training.wandb_logger import X_AXIS, open_logger


@dataclass(frozen=True)
class Validation:
    """The result of a validation.

    Attributes:
        facts: Model, thousands of images seen, numbers and protocols; JSON values.
        notes: Notes for the user.
    """

    facts: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def validate_generator(
    run: RunSettings,
    settings: MetricSettings,
    data: TrainingImages,
    device: torch.device,
    watch: Callable[[str], None],
) -> Validation:
    """Measure one generator in this process, and add the numbers to its run's dashboard.

    Args:
        run: The run whose newest checkpoint is measured, unless `settings` names a model.
        settings: Settings of the measurement.
        data: The real pictures; of the model's size if theirs was left open.
        device: Device of the computation.
        watch: Function that gets texts of progress.

    Raises:
        UserError: If there is no model to measure, or it does not fit the pictures.
    """
    opened = _open_model(run, settings)
    generator = opened.network("generator")
    name = settings.model or str(opened.path)
    if data.size is None:
        data.size = generator.img_size
    check_fit(generator, data.dataset, name)
    networks = choose_networks(settings)
    report = measure(generator, data.dataset, networks, settings, device, watch)
    note_opponent(report, networks, opened)
    kimg = seen_kimg(generator.provenance)
    notes = [] if settings.model or kimg is None else _log(run, report, kimg)
    facts = {"model": name, "seen_kimg": kimg, **report.flat(), "protocol": report.protocol}
    return Validation(facts, notes)


def validate_encoder(
    run: RunSettings, module: EncoderTraining, trainer: Any, data: TrainingImages
) -> Validation:
    """Measure the reconstructions of held-out pictures by a run's newest encoder.

    Args:
        run: The run whose newest checkpoint is measured.
        module: Training module with the settings of the run.
        trainer: Lightning's trainer, with the device.
        data: The pictures.

    Raises:
        UserError: If there is nothing to measure, or nothing is held out.
    """
    if data.held_out is None:
        raise UserError("0: no pictures are kept out of training to measure with", "data.held_out")
    path = latest_whole(run.dir)
    if path is None:
        raise UserError(f"{run.dir}: holds no whole checkpoint to validate", "run.dir")
    module.restore(read_checkpoint(path), trainer, data)
    measures = module.measures(data.held_out)
    means = {name: round(values.mean().item(), 6) for name, values in measures.items()}
    protocol = {
        "pixel": "mean square error, pictures in [-1, 1], clamped, not rounded",
        "psnr": "of each picture, peak 2, mean",
        **module.facts(),
        "pictures": f"{len(data.held_out)} held out of {data.source}",
    }
    kimg = module.seen_images / 1000
    return Validation({"model": str(path), "seen_kimg": kimg, **means, "protocol": protocol})


def _open_model(run: RunSettings, settings: MetricSettings) -> OpenedModel:
    if settings.model is not None:
        return open_model(settings.model, "metrics.model")
    checkpoint = latest_whole(run.dir)
    if checkpoint is None:
        raise UserError(
            f"{run.dir}: holds no whole checkpoint to validate; metrics.model=MODEL measures any "
            "other one",
            "run.dir",
        )
    return open_model(checkpoint)


def _log(run: RunSettings, report: Report, seen_kimg: float) -> list[str]:
    """Add the numbers to the run's dashboard, unless a run is writing to it; return notes."""
    try:
        with lock_folder(Path(run.dir)):
            logger = open_logger(run.dir, run.wandb, {}, reached(Path(run.dir)).images)
            if logger is not None:
                logger.log_metrics({**report.flat(), X_AXIS: seen_kimg})
                logger.close()
    except UserError as error:
        return [f"not logged to W&B ({error})"]
    return []
