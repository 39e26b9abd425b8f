"""Publish models: a training run in half precision with a card, an encoder with its generator.

python -m framework.evaluation publish --run runs/toycars64 --out framework/zoo/toycars64
python -m framework.evaluation publish-encoder --snapshot runs/NAME/network-000080 --model FOLDER
python -m framework.evaluation publish-editor --snapshot runs/NAME/network-000008 --model FOLDER
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from framework.data import ImageDataset
from framework.data.opening import open_pictures
from framework.errors import UserError
from framework.evaluation.cards.card import (
    CARD,
    EDITOR,
    EDITOR_TITLE,
    ENCODER,
    ENCODER_TITLE,
    CardTexts,
    measures_table,
    protocol_text,
)
from framework.evaluation.generator.features import Networks
from framework.evaluation.generator.measure import (
    SWD_PICTURES,
    MetricSettings,
    Report,
    check_fit,
    measure,
)
from framework.evaluation.generator.models import choose_networks, note_opponent, seen_kimg
from framework.evaluation.generator.neighbours import draw_seeds, nearest, nearest_other
from framework.evaluation.generator.real_statistics import pictures
from framework.evaluation.generator.swd import sliced_wasserstein
from framework.evaluation.inversion.pages import NUMBERS, PAGE, PER_IMAGE
from framework.files import check_new_folder, write_text
from framework.formats import (
    OpenedModel,
    load_discriminator,
    load_generator,
    open_model,
    save_model_folder,
)
from framework.formats.model_folder import parameter_count
from framework.formats.run_checkpoint import latest_whole
from framework.media.images import grid, save_png, to_float
from framework.models.stylegan2 import Generator
from framework.models.stylegan2.work import synthesis_gflop
from framework.threads import use_threads

SEEDS, COLUMNS, NEIGHBOURS, COMPARED = 32, 16, 3, 8192
README, REPORT = "README.md", "inversion"
JPEG_QUALITY = 92  # of the report's sheets: a tenth of their size as PNG
# Settings that may be paths of one machine.
_PATHS = ("source", "generator", "start_from", "perceptual_weights", "similarity_weights")
COMMAND = "python train.py fit with the settings of config.json"


def publish(
    run: str,
    out: str,
    card: CardTexts | None = None,
    earlier: list[str] | None = None,
    before: str | None = None,
    source: str | None = None,
    metrics: MetricSettings | None = None,
) -> None:
    """Write the newest whole checkpoint of a training run as a model folder with a card.

    The numbers are those of `train.py validate`, for the weights as they are stored.

    Args:
        run: Run folder of `train.py fit`.
        out: New folder for the model; it appears once everything is written.
        card: Texts of the card.
        earlier: Earlier model folders of the same run, for the card's curve.
        before: Model to compare with, by the same metrics.
        source: Where the training pictures are now; by default the path in the run's settings.
        metrics: Settings of the metrics.

    Raises:
        UserError: If there is no whole checkpoint, `out` is not empty, or pictures and models do
            not fit.
    """
    run_dir, folder = Path(run), Path(out)
    checkpoint = latest_whole(run_dir)
    if checkpoint is None:
        raise UserError(f"--run {run}: holds no whole checkpoint")
    check_new_folder(folder)
    config = yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8"))
    config["data"] |= {"source": source} if source else {}
    ruler = _Ruler(_open_data(config["data"]), metrics or MetricSettings())
    generator, discriminator = load_generator(checkpoint), load_discriminator(checkpoint)
    use_threads(synthesis_gflop(generator, MetricSettings().batch))
    texts = _texts(card or CardTexts(), config["data"])
    kimg = seen_kimg(generator.provenance) or 0.0  # type: ignore[arg-type]
    provenance = {
        "seen_kimg": kimg,
        "data": texts["data"],
        "licence": texts["licence"],
        "training": config["model"]["init_args"],
        "batch_size": config["data"]["batch_size"],
    }
    with _whole_folder(folder) as staged:
        save_model_folder(staged, generator, discriminator, _portable(provenance), half=True)
        reports = {folder.name: ruler.report(staged, "--run")}
        if before is not None:
            name = Path(before).name
            name = f"{name} before" if name == folder.name else name
            reports[name] = ruler.report(before, "--before")
        facts = {
            "name": folder.name,
            "run": run_dir.name,
            "out": folder.name,
            "d_params": parameter_count(discriminator) / 1e6,
            "kimg": kimg,
            "hours": _hours(run_dir),
            "curve": ruler.curve({kimg: reports[folder.name]}, earlier or []),
            "measures": measures_table(reports),
            "protocol": protocol_text(reports),
            **_show(staged, load_generator(staged), ruler.dataset),
        }
        numbers = {name: {**r.flat(), "protocol": r.protocol} for name, r in reports.items()}
        write_text(staged / "metrics.json", json.dumps(numbers, indent=2) + "\n")
        write_text(staged / README, CARD.format(**texts, **facts))
    print(f"{folder}: {kimg:.0f} kimg, {json.dumps(reports[folder.name].flat())}")


def _texts(card: CardTexts, data: dict[str, Any]) -> dict[str, str]:
    """The texts of the card, with their defaults."""
    source = Path(data["source"]).name
    return {
        "title": card.title or f"A StyleGAN2 trained on {source}.",
        "data": card.data or source,
        "licence": card.licence or "see the data",
        "machine": f" on {card.machine}" if card.machine else "",
        "command": card.command or COMMAND,
        "notes": f"\n{card.notes}\n" if card.notes else "",
    }


def _open_data(data: dict[str, Any]) -> ImageDataset:
    """Open the pictures of a run's settings; bad files are left out."""
    size = tuple(data["size"]) if isinstance(data["size"], list) else data["size"]
    labelled = data.get("labels", "none") != "none"
    return open_pictures(data["source"], size, data["channels"], labelled, data["crop"], "skip")


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder beside `folder`, and rename it to that once everything is written."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as work:
        staged = Path(work) / folder.name
        yield staged
        os.replace(staged, folder)


class _Ruler:
    """A measurement of models against the same pictures, with the same networks and settings."""

    def __init__(self, dataset: ImageDataset, settings: MetricSettings) -> None:
        self.dataset, self.settings = dataset, settings
        self.networks: Networks = choose_networks(settings)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def report(self, model: str | Path, flag: str, **changes: int) -> Report:
        """Measure all numbers of a model."""
        opened = open_model(model, flag)
        generator, settings = opened.network("generator"), replace(self.settings, **changes)
        check_fit(generator, self.dataset, f"{flag} {model}", "give a model of such pictures")
        report = measure(generator, self.dataset, self.networks, settings, self.device)
        note_opponent(report, self.networks, opened)
        return report

    def curve(self, by_kimg: dict[float, Report], earlier: list[str]) -> str:
        """Sliced Wasserstein distances of a run's models in the order of their training."""
        reports, few = dict(by_kimg), min(self.settings.fakes, SWD_PICTURES)
        for model in earlier:
            kimg = seen_kimg(load_generator(model).provenance) or 0.0  # type: ignore[arg-type]
            reports[kimg] = self.report(model, "--earlier", fakes=few, ppl=0)
        points = {kimg: report.numbers["swd"]["swd_mean"] for kimg, report in reports.items()}
        return ", ".join(f"{kimg:.0f} kimg {points[kimg]:.2f}" for kimg in sorted(points))


def _hours(run_dir: Path) -> float:
    """Hours of training, from the seconds of every tick."""
    seconds = 0.0
    for line in (run_dir / "stats.jsonl").read_text(encoding="utf-8").splitlines():
        try:
            seconds += json.loads(line)["Timing/sec_per_tick"]["mean"]
        except ValueError:
            continue  # a run that was killed may leave half a line
    return seconds / 3600


def _show(folder: Path, generator: Generator, dataset: ImageDataset) -> dict[str, Any]:
    """Write the card's two pictures; return the facts on model and pictures for its text."""
    places = np.linspace(0, len(dataset) - 1, min(COMPARED, len(dataset))).astype(int).tolist()
    reals = pictures(dataset, places).permute(0, 2, 3, 1).numpy()
    whole, short = (draw_seeds(generator, dataset, range(SEEDS), psi) for psi in (1.0, 0.7))
    save_png(folder / "samples.png", grid(np.concatenate([whole, short]), COLUMNS))
    images = to_float(reals)
    index, near = nearest(to_float(whole), images, NEIGHBOURS)
    rows = np.concatenate([whole[:, None], reals[index.numpy()]], axis=1)[:COLUMNS]
    save_png(folder / "nearest.png", grid(np.concatenate(rows), 4 * (1 + NEIGHBOURS)))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    one_half, other_half = images[order[: len(images) // 2 * 2]].chunk(2)
    levels = sliced_wasserstein(one_half, other_half).values()
    return {
        "size": "x".join(map(str, generator.img_size)),
        "channels": generator.img_channels,
        "g_params": parameter_count(generator) / 1e6,
        "last_seed": SEEDS - 1,
        "last_neighbour": COLUMNS - 1,
        "neighbours": NEIGHBOURS,
        "near_fake": near[:, 0].median().item(),
        "near_real": nearest_other(images, order[:256]).median().item(),
        "half": f"{len(one_half):,}",
        "swd_real": sum(levels) / len(levels),
    }


# ----------------------------------------------------------------------------------------- encoder


def publish_encoder(
    snapshot: str, model: str, report: str | None = None, command: str = "", notes: str = ""
) -> None:
    """Add the encoder of a run's snapshot to the model folder that it was trained for.

    The generator's and discriminator's weights do not change; an earlier encoder is replaced.

    Args:
        snapshot: `network-...` folder of `train.py fit` with an encoder's configuration.
        model: Model folder with the same generator.
        report: Folder that `edit.py invert-report` wrote on the result, for the card.
        command: The exact training command, for the card.
        notes: A paragraph for the card.

    Raises:
        UserError: If the snapshot has no encoder, or its encoder is of another generator.
    """
    folder = Path(model)
    run_model, networks = _pair(snapshot, folder, "encoder")
    encoder = run_model.encoder()
    provenance = _portable(run_model.network("generator").provenance["encoder"])
    facts = {
        "title": ENCODER_TITLE,
        "millions": sum(tensor.numel() for tensor in encoder.tensors.values()) / 1e6,
        "kimg": provenance["seen_kimg"],
        "command": command or COMMAND,
        "notes": f"{notes}\n\n" if notes else "",
    }
    # The section of an earlier encoder is the last one on the card.
    card = (folder / README).read_text(encoding="utf-8").split(f"\n{ENCODER_TITLE}\n")[0]
    if report:
        reconstruction = _reconstruction(Path(report))
        _copy_report(Path(report), folder / REPORT)
        card = f"{card.rstrip()}\n\n{ENCODER.format(**facts, reconstruction=reconstruction)}"
    of_generator = networks["generator"].provenance
    networks |= {"encoder": encoder, "provenance": {**of_generator, "encoder": provenance}}
    save_model_folder(folder, card=card, half=True, **networks)
    print(f"{folder}: encoder of {facts['millions']:.2f} M parameters, {facts['kimg']:g} kimg")


def _pair(snapshot: str, folder: Path, kind: str) -> tuple[OpenedModel, dict[str, Any]]:
    """Open a run's snapshot with a network `kind`, and all networks of the folder that gets it.

    Raises:
        UserError: If the folder is none, or the snapshot has no such network of its generator.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"--model {folder}: is not a model folder")
    run_model, folder_model = open_model(snapshot, "--snapshot"), open_model(folder)
    if kind not in run_model.networks:
        raise UserError(f"--snapshot {snapshot}: has no {kind}")
    networks = {n: folder_model.network(n) for n in folder_model.networks if n != "encoder"}
    if "encoder" in folder_model.networks:
        networks["encoder"] = folder_model.encoder()
    source, generator = run_model.network("generator"), networks["generator"]
    if source.digest != generator.digest:
        raise UserError(
            f"--snapshot {snapshot}: its {kind} is of another generator "
            f"({source.digest[:8]}, not {generator.digest[:8]})"
        )
    return run_model, networks


def _portable(provenance: dict[str, Any]) -> dict[str, Any]:
    """A provenance with names in place of the paths of data and models on that machine."""
    portable = dict(provenance)
    for name, value in provenance.items():
        if isinstance(value, dict):
            portable[name] = _portable(value)
        elif name in _PATHS and value:
            portable[name] = Path(value).name
    return portable


def _reconstruction(report: Path) -> str:
    """Read the table of methods from a report's page."""
    page = (report / PAGE).read_text(encoding="utf-8")
    section = re.search(r"## Reconstruction\n\n(.*?)(?=\n\n##|\Z)", page, re.DOTALL)
    if section is None:
        raise UserError(f"--report {report}: {PAGE} has no table of reconstructions")
    return section[1]


def _copy_report(report: Path, folder: Path) -> None:
    """Copy the page, the numbers and (as JPEG) the sheets; replace an earlier report."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in (NUMBERS, PER_IMAGE):
        shutil.copyfile(report / name, folder / name)
    for sheet in sorted(report.glob("*.png")):
        with Image.open(sheet) as picture:
            picture.convert("RGB").save(folder / f"{sheet.stem}.jpg", quality=JPEG_QUALITY)
    page = (report / PAGE).read_text(encoding="utf-8").split("\nEvery picture is in")[0]
    write_text(folder / PAGE, f"{page.replace('.png', '.jpg').rstrip()}\n")


# ------------------------------------------------------------------------------------------ editor


def publish_editor(snapshot: str, model: str, command: str = "", notes: str = "") -> None:
    """Add the latent transformer of a run's snapshot to the model folder that it was trained for.

    The other networks do not change; an earlier editor is replaced.

    Args:
        snapshot: `network-...` folder of `train.py fit` with an editor's configuration.
        model: Model folder with the same generator.
        command: The exact training command, for the card.
        notes: A paragraph for the card.

    Raises:
        UserError: If the snapshot has no editor, or its editor is of another generator.
    """
    folder = Path(model)
    run_model, networks = _pair(snapshot, folder, "editor")
    editor = run_model.network("editor")
    provenance = _portable(run_model.network("generator").provenance["editor"])
    facts = {
        "title": EDITOR_TITLE,
        "millions": parameter_count(editor) / 1e6,
        "kimg": provenance["seen_kimg"],
        "command": command or COMMAND,
        "notes": f"\n{notes}\n" if notes else "",
    }
    # Before the section of an encoder, which is the last one on the card.
    card, title, encoder = (
        (folder / README).read_text(encoding="utf-8").partition(f"\n{ENCODER_TITLE}\n")
    )
    section = EDITOR.format(**facts)
    card = f"{card.split(f'{EDITOR_TITLE}')[0].rstrip()}\n\n{section}{title}{encoder}"
    of_generator = networks["generator"].provenance
    networks |= {"editor": editor, "provenance": {**of_generator, "editor": provenance}}
    save_model_folder(folder, card=card, half=True, **networks)
    print(f"{folder}: editor of {facts['millions']:.2f} M parameters, {facts['kimg']:g} kimg")
