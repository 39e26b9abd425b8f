"""`edit.py invert-report`: how well a model inverts photographs that its encoder never saw."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.cli.invert import Crop, Perceptual
from framework.cli.invert_settings import InversionChoice
from framework.errors import UserError, blame
from framework.files import check_place

if TYPE_CHECKING:
    from framework.cli.inverter import Inverter
    from framework.data import ImageDataset
    from framework.evaluation.inversion.log import ReportFolder
    from framework.evaluation.inversion.report import InversionReport
    from framework.evaluation.inversion.tables import Tables

_LARGEST_SHARE = 0.5


def invert_report(
    data: str,
    model: str,
    out: str,
    held_out: float = 0.1,
    count: int = 20,
    stages: str | None = None,
    editability: bool = True,
    crop: Crop = "center",
    perceptual: Perceptual = "auto",
    perceptual_weights: str | None = None,
    refine_steps: int | None = None,
    tune_steps: int | None = None,
    config: str | None = None,
    seed: int = 0,
    json: bool = False,
    device: str = "auto",
) -> None:
    """Measure inversion on photographs held out of training, against baselines of equal time.

    Writes into OUT: report.md (the page to read), report.json (all numbers, protocol first),
    per_image.csv, grid.png, worst.png, edited.png and the pictures of every method. What is done is
    kept as it comes: after Ctrl-C the same command goes on, and with a larger --count it adds
    photographs.

    Examples::

      python edit.py invert-report --data my_cars --model vehicles64 --out out/report
      python edit.py invert-report --data toycars:2000 --model toycars64 --count 8 --out out/toys

    Args:
        data: Folder or zip of the photographs that the encoder was trained on, or toycars.
        model: Zoo name, model folder or file: .safetensors, run .ckpt, another program's .pkl or
            .pt.
        out: New or empty folder, or one of the same report to go on with.
        held_out: Share of the photographs that the encoder's training did not see, as its
            --data.held_out said; 0 if it saw none of them.
        count: Held-out photographs that go through all stages and baselines.
        stages: Of embed,refine,tune, in this order; all by default.
        editability: Also drag results there and back and edit them at random.
        crop: How photographs get the model's shape, as in the encoder's training.
        perceptual: How pictures are compared beside their pixels; see invert.
        perceptual_weights: File of lpips' weights, or the folder they are in.
        refine_steps: Updates of the latents; by default 200, or 400 without an encoder.
        tune_steps: Updates of the weights; by default 100.
        config: YAML file with the settings of the stages.
        seed: Of every choice.
        json: End with one line of JSON: counts, reconstruction, files.
        device: auto, cpu, cuda, cuda:1 or mps.
    """
    if not 0 <= held_out <= _LARGEST_SHARE:
        raise UserError(f"--held-out {held_out:g}: give a share from 0 to {_LARGEST_SHARE:g}")
    if count < 1:
        raise UserError(f"--count {count}: give at least 1")
    choice = InversionChoice(config, stages, refine_steps, tune_steps, None, seed)
    choice.base()
    if check_place(out).is_file():
        raise UserError(f"--out {out}: is a file; give a new folder")
    from framework.cli.inverter import Inverter
    from framework.cli.networks import Networks

    inverter = Inverter(Networks(model, device), choice, perceptual, perceptual_weights)
    inverter.prepare()
    parts = _open_parts(data, inverter, held_out, crop)
    report = _questions(inverter, parts, count, editability, seed)
    _run(report, inverter, model, out, held_out, json)


def _open_parts(
    data: str, inverter: "Inverter", held_out: float, crop: Crop
) -> "tuple[ImageDataset, ImageDataset | None]":
    """The photographs that are held out, and those that are not."""
    from framework.cli.common import ProgressLine
    from framework.data import open_dataset
    from framework.data.holdout import split

    generator, line = inverter.networks.generator, ProgressLine()
    try:
        with blame("--data", data):
            dataset = open_dataset(
                data, generator.img_size, generator.img_channels, crop=crop,
                progress=lambda done, total: line.show(f"looking at {done} of {total} pictures"),
            )  # fmt: skip
    finally:
        line.close()
    if held_out == 0:
        return dataset, None
    kept, out = split(dataset, held_out, "--held-out")
    return out, kept


def _questions(
    inverter: "Inverter",
    parts: "tuple[ImageDataset, ImageDataset | None]",
    count: int,
    editability: bool,
    seed: int,
) -> "InversionReport":
    from dataclasses import replace

    from framework.cli.drag_settings import SettingsChoice
    from framework.evaluation.inversion.baselines import StageRunner
    from framework.evaluation.inversion.measures import Measures, choose_ruler
    from framework.evaluation.inversion.record import DRAG_STEPS, ReportSettings
    from framework.evaluation.inversion.report import InversionReport
    from framework.models.features.blocks import in_float32

    generator, distance = inverter.networks.generator, inverter.distance
    ruler_name, ruler, note = choose_ruler(distance)
    if note:
        print(f"note: {note}", file=sys.stderr)
    drag, _ = SettingsChoice().resolve(generator.img_size)
    offered = drag.feature_resolution in generator.synthesis.resolutions
    drag = replace(
        drag,
        max_steps=DRAG_STEPS,
        feature_resolution=drag.feature_resolution if offered else None,
    )
    judge = inverter.networks.discriminator if generator.c_dim == 0 else None
    return InversionReport(
        runner=StageRunner(
            generator, distance, inverter.settings, inverter.statistics, inverter.encoder
        ),
        measures=Measures(distance, ruler.to(inverter.networks.where), ruler_name),
        held_out=parts[0],
        gallery=parts[1],
        settings=ReportSettings(count=count, editability=editability, drag=drag, seed=seed),
        discriminator=None if judge is None else in_float32(judge),
    )


def _run(
    report: "InversionReport", inverter: "Inverter", model: str, out: str, held_out: float,
    json: bool,
) -> None:  # fmt: skip
    from framework.cli.common import ProgressLine, print_json
    from framework.evaluation.inversion.log import ReportFolder
    from framework.evaluation.inversion.protocol import identity, session_facts
    from framework.evaluation.inversion.tables import Tables

    line, stop = ProgressLine(), None
    made_by = identity(report, model, held_out)
    with ReportFolder(out, made_by, session_facts(inverter.networks.where)) as folder:
        if folder.done:
            print(f"{folder.path}: going on, {len(folder.done)} answers are there")
        try:
            for record in report.records(folder.done, line.show):
                folder.keep(record)
                line.close()
                _tell(record.kind, record.index, record.facts, report)
        except KeyboardInterrupt as interruption:
            stop = interruption
        finally:
            line.close()
        tables = Tables(
            folder.records, report.measures.names, report.runner.methods,
            report.measures.ruler_name, inverter.usual, report.settings.seed,
        )  # fmt: skip
        files = _write(folder, tables, report, inverter, made_by, held_out)
    _tell_end(folder, tables, report, files, stopped=stop is not None)
    if json:
        told = tables.to_dict()
        names = ("counts", "reconstruction")
        print_json({**{n: told[n] for n in names}, "files": [str(folder.path / n) for n in files]})
    if stop is not None:
        raise stop


def _write(
    folder: "ReportFolder",
    tables: "Tables",
    report: "InversionReport",
    inverter: "Inverter",
    made_by: dict[str, Any],
    held_out: float,
) -> list[str]:
    from framework.evaluation.inversion.pages import write_pages
    from framework.evaluation.inversion.protocol import generator_quality, honest_notes

    generator = report.runner.generator
    told = getattr(generator, "provenance", {})
    quality = generator_quality(Path(inverter.networks.opened.path), told)
    protocol = {
        **made_by,
        "generator_quality": quality or None,
        "generator_provenance": told,
        "counts": tables.counts(),
        "perceptual": report.measures.distance.name,
        "ruler": report.measures.ruler_name,
        "usual_deviations": inverter.usual,
        "sessions": folder.sessions,
        "notes": honest_notes(report, quality, held_out),
    }
    return write_pages(folder, tables, protocol, generator.img_channels)


def _tell(kind: str, index: int, facts: dict[str, Any], report: "InversionReport") -> None:
    """A line for each photograph that went through everything."""
    if kind != "picture":
        return
    rows = {row["method"]: row for row in facts["rows"]}
    name = report.measures.distance.name
    numbers = ", ".join(
        f"{method} mse {rows[method]['mse01']:.4f} {name} {rows[method][name]:.4f}"
        for method in report.runner.methods
    )
    seconds = rows[report.runner.methods[-1]]["seconds"]
    place = f"{index + 1}/{report.count}"
    print(f"{place} {facts['picture']}: {numbers}, {seconds:.1f} s", flush=True)


def _tell_end(
    folder: "ReportFolder",
    tables: "Tables",
    report: "InversionReport",
    files: list[str],
    stopped: bool,
) -> None:
    done = tables.counts().get("picture", 0)
    if stopped:
        print(
            f"interrupted: {done} of {report.count} photographs are done and kept; "
            "the same command goes on"
        )
    print(f"{folder.path}: {', '.join(files)}")
