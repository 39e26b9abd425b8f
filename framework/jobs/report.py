"""The report of how well a model inverts photographs that its encoder never saw."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from framework.data import ImageDataset, open_dataset
from framework.data.holdout import split
from framework.drag.settings import DEFAULT_PRESET, DragSettings
from framework.errors import UserError, blame
from framework.evaluation.inversion.baselines import StageRunner
from framework.evaluation.inversion.measures import Measures, choose_ruler
from framework.evaluation.inversion.pages import write_pages
from framework.evaluation.inversion.protocol import (
    generator_quality,
    honest_notes,
    identity,
)
from framework.evaluation.inversion.record import DRAG_STEPS, FORM, ReportSettings
from framework.evaluation.inversion.report import InversionReport
from framework.evaluation.inversion.tables import Tables
from framework.evaluation.report_folder import ReportFolder
from framework.evaluation.session import session_facts
from framework.files import check_place
from framework.jobs.models import Networks
from framework.jobs.requests.invert import InvertReportRequest
from framework.jobs.settings import base_settings
from framework.jobs.stages import Inverter
from framework.jobs.watcher import SILENT, Watcher
from framework.models.features.blocks import in_float32


@dataclass(frozen=True)
class ReportOutcome:
    """A report.

    Args:
        folder: Folder of the report.
        files: Names of the files in it.
        planned: Number of photographs of the whole report.
        done: Number of photographs that are done.
        numbers: Counts and the table of reconstructions.
        stop: The interruption that ended it early; the same request goes on.
    """

    folder: Path
    files: list[str]
    planned: int
    done: int
    numbers: dict[str, Any]
    stop: KeyboardInterrupt | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome for scripts, ready for JSON."""
        return {**self.numbers, "files": [str(self.folder / name) for name in self.files]}


def report(request: InvertReportRequest, watcher: Watcher = SILENT) -> ReportOutcome:
    """Measure, saving each result as it comes, and write the pages of all results.

    Raises:
        UserError: Naming the field, if anything does not fit.
    """
    base_settings(request)
    if check_place(request.out).is_file():
        raise UserError(f"{request.out}: is a file; give a new folder", "out")
    inverter = Inverter(Networks(request.model, request.device), request)
    if inverter.networks.diffuses:
        raise UserError(f"{request.model}: reports are for StyleGAN2; this diffuses", "model")
    inverter.prepare()
    questions = _questions(request, inverter, _open_parts(request, inverter, watcher), watcher)
    return _run(request, questions, inverter, watcher)


def _open_parts(
    request: InvertReportRequest, inverter: Inverter, watcher: Watcher
) -> tuple[ImageDataset, ImageDataset | None]:
    """Return the photographs that are held out, and those that are not."""
    generator = inverter.networks.generator
    with blame("data", request.data):
        dataset = open_dataset(
            request.data, generator.img_size, generator.img_channels, crop=request.crop,
            progress=lambda done, total: watcher.progress(f"looking at {done} of {total} pictures"),
        )  # fmt: skip
    if request.held_out == 0:
        return dataset, None
    others, held_out = split(dataset, request.held_out, "`held_out`")
    return held_out, others


def _questions(
    request: InvertReportRequest,
    inverter: Inverter,
    parts: tuple[ImageDataset, ImageDataset | None],
    watcher: Watcher,
) -> InversionReport:
    generator, distance = inverter.networks.generator, inverter.distance
    ruler_name, ruler, note = choose_ruler(distance)
    if note:
        watcher.note(note)
    drag = DragSettings.preset(DEFAULT_PRESET)
    has_features = drag.feature_resolution in generator.synthesis.resolutions
    drag = replace(
        drag,
        max_steps=DRAG_STEPS,
        feature_resolution=drag.feature_resolution if has_features else None,
    )
    judge = inverter.networks.discriminator if generator.c_dim == 0 else None
    return InversionReport(
        runner=StageRunner(
            generator, distance, inverter.settings, inverter.statistics, inverter.encoder
        ),
        measures=Measures(distance, ruler.to(inverter.networks.where), ruler_name),
        held_out=parts[0],
        gallery=parts[1],
        settings=ReportSettings(
            count=request.count, editability=request.editability, drag=drag, seed=request.seed
        ),
        discriminator=None if judge is None else in_float32(judge),
    )


def _run(
    request: InvertReportRequest, report: InversionReport, inverter: Inverter, watcher: Watcher
) -> ReportOutcome:
    stop = None
    made_by = identity(report, request.model, request.held_out)
    session = session_facts(inverter.networks.where)
    with ReportFolder(request.out, FORM, made_by, session) as folder:
        if folder.done:
            watcher.say(f"{folder.path}: going on, {len(folder.done)} answers are there")
        try:
            for record in report.records(folder.done, watcher.progress):
                folder.keep(record)
                if record.kind == "picture":
                    watcher.say(_line(record.index, record.facts, report))
        except KeyboardInterrupt as interruption:
            stop = interruption
        tables = Tables(
            folder.records, report.measures.names, report.runner.methods,
            report.measures.ruler_name, inverter.usual or math.inf, report.settings.seed,
        )  # fmt: skip
        files = _write(folder, tables, report, inverter, made_by, request.held_out)
    numbers = {name: tables.to_dict()[name] for name in ("counts", "reconstruction")}
    done = tables.counts().get("picture", 0)
    return ReportOutcome(folder.path, files, report.count, done, numbers, stop)


def _write(
    folder: ReportFolder,
    tables: Tables,
    report: InversionReport,
    inverter: Inverter,
    made_by: dict[str, Any],
    held_out: float,
) -> list[str]:
    """Write the pages; return their names."""
    generator = report.runner.generator
    provenance = getattr(generator, "provenance", {})
    quality = generator_quality(Path(inverter.networks.opened.path), provenance)
    protocol = {
        **made_by,
        "generator_quality": quality or None,
        "generator_provenance": provenance,
        "counts": tables.counts(),
        "perceptual": report.measures.distance.name,
        "ruler": report.measures.ruler_name,
        "usual_deviations": inverter.usual,
        "sessions": folder.sessions,
        "notes": honest_notes(report, quality, held_out),
    }
    return write_pages(folder, tables, protocol, generator.img_channels)


def _line(index: int, facts: dict[str, Any], report: InversionReport) -> str:
    """Describe the results of one photograph in a line."""
    rows = {row["method"]: row for row in facts["rows"]}
    name = report.measures.distance.name
    numbers = ", ".join(
        f"{method} mse {rows[method]['mse01']:.4f} {name} {rows[method][name]:.4f}"
        for method in report.runner.methods
    )
    seconds = rows[report.runner.methods[-1]]["seconds"]
    return f"{index + 1}/{report.count} {facts['picture']}: {numbers}, {seconds:.1f} s"
