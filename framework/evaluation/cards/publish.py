"""A training run made into a model folder that can be given away: half precision, with a card.

`python -m framework.evaluation.cards.publish --run runs/toycars64 --out framework/zoo/toycars64`
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import yaml

from framework.command_line import run_function
from framework.data import ImageDataset
from framework.data.opening import open_pictures
from framework.errors import UserError
from framework.evaluation.cards.card import CARD, CardTexts, measures_table, protocol_text
from framework.evaluation.generator.features import Networks
from framework.evaluation.generator.measure import (
    SWD_PICTURES,
    MetricSettings,
    Report,
    check_fit,
    measure,
)
from framework.evaluation.generator.models import choose_networks, note_opponent, seen_kimg
from framework.evaluation.generator.neighbours import drawn, nearest, nearest_other
from framework.evaluation.generator.real_statistics import pictures
from framework.evaluation.generator.swd import sliced_wasserstein
from framework.files import check_new_folder, write_text
from framework.formats import load_discriminator, load_generator, open_model, save_model_folder
from framework.formats.model_folder import parameter_count
from framework.formats.run_checkpoint import latest_whole
from framework.media.images import grid, save_png, to_float
from framework.models.stylegan2 import Generator
from framework.models.stylegan2.work import synthesis_gflop
from framework.threads import use_threads

SEEDS, COLUMNS, NEIGHBOURS, COMPARED = 32, 16, 3, 8192


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

    The numbers are those of `train.py validate`, of the weights as they are stored.

    Args:
        run: Run folder of `train.py fit`.
        out: New folder for the model; appears when all of it is written.
        card: Texts of the card.
        earlier: Earlier model folders of the same run, for the card's curve.
        before: Model to compare with, by the same measures.
        source: Where the training pictures lie now; the run's own place if not given.
        metrics: How it is measured.

    Raises:
        UserError: If there is no whole checkpoint, `out` holds something, or pictures and models
            do not fit.
    """
    run_dir, folder = Path(run), Path(out)
    checkpoint = latest_whole(run_dir)
    if checkpoint is None:
        raise UserError(f"--run {run}: holds no whole checkpoint")
    check_new_folder(folder)
    config = yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8"))
    config["data"] |= {"source": source} if source else {}
    ruler = _Ruler(_opened(config["data"]), metrics or MetricSettings())
    trained, discriminator = load_generator(checkpoint), load_discriminator(checkpoint)
    use_threads(synthesis_gflop(trained, MetricSettings().batch))
    texts, kimg = _texts(card or CardTexts(), config["data"]), seen_kimg(trained.provenance) or 0.0  # type: ignore
    provenance = {
        "seen_kimg": kimg,
        "data": texts["data"],
        "licence": texts["licence"],
        "training": config["model"]["init_args"],
        "batch_size": config["data"]["batch_size"],
    }
    with _whole_folder(folder) as staged:
        save_model_folder(staged, trained, discriminator, provenance, half=True)
        reports = {folder.name: ruler.measured(staged, "--run")}
        if before is not None:
            reports[_other_name(before, folder.name)] = ruler.measured(before, "--before")
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
        write_text(staged / "metrics.json", _as_json(reports))
        write_text(staged / "README.md", CARD.format(**texts, **facts))
    print(f"{folder}: {kimg:.0f} kimg, {json.dumps(reports[folder.name].flat())}")


def _texts(card: CardTexts, data: dict[str, Any]) -> dict[str, str]:
    """What the card says in words."""
    return {
        "title": card.title or f"A StyleGAN2 trained on {data['source']}.",
        "data": card.data or data["source"],
        "licence": card.licence or "see the data",
        "machine": f" on {card.machine}" if card.machine else "",
        "command": card.command or "python train.py fit with the settings of config.json",
        "notes": f"\n{card.notes}\n" if card.notes else "",
    }


def _opened(data: dict[str, Any]) -> ImageDataset:
    """The pictures of a run's settings; bad ones are left out, as they may have been there."""
    size = tuple(data["size"]) if isinstance(data["size"], list) else data["size"]
    labelled = data.get("labels", "none") != "none"
    return open_pictures(data["source"], size, data["channels"], labelled, data["crop"], "skip")


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder beside `folder`, which takes its place when all in it is written."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as work:
        staged = Path(work) / folder.name
        yield staged
        os.replace(staged, folder)


def _other_name(model: str, name: str) -> str:
    """What a table calls a model beside one of `name`."""
    other = Path(model).name
    return f"{other} before" if other == name else other


# -------------------------------------------------------------------------------------- numbers


class _Ruler:
    """Measures models against the same pictures, with the same networks, in the same way."""

    def __init__(self, dataset: ImageDataset, settings: MetricSettings) -> None:
        self.dataset, self.settings = dataset, settings
        self.networks: Networks = choose_networks(settings)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def measured(self, model: str | Path, flag: str, **changes: int) -> Report:
        """All numbers of a model."""
        opened = open_model(model, flag)
        generator, settings = opened.network("generator"), replace(self.settings, **changes)
        check_fit(generator, self.dataset, f"{flag} {model}", "give a model of such pictures")
        report = measure(generator, self.dataset, self.networks, settings, self.device)
        note_opponent(report, self.networks, opened)
        return report

    def curve(self, known: dict[float, Report], earlier: list[str]) -> str:
        """Sliced Wasserstein distances of a run's models in the order of their training."""
        points = {kimg: _swd(report) for kimg, report in known.items()}
        few = min(self.settings.fakes, SWD_PICTURES)
        for model in earlier:
            kimg = seen_kimg(load_generator(model).provenance)  # type: ignore[arg-type]
            points[kimg or 0.0] = _swd(self.measured(model, "--earlier", fakes=few, ppl=0))
        return ", ".join(f"{kimg:.0f} kimg {points[kimg]:.2f}" for kimg in sorted(points))


def _swd(report: Report) -> float:
    return report.numbers["swd"]["swd_mean"]


def _as_json(reports: dict[str, Report]) -> str:
    """Every number with its protocol, by model."""
    held = {name: {**r.flat(), "protocol": r.protocol} for name, r in reports.items()}
    return json.dumps(held, indent=2) + "\n"


def _hours(run_dir: Path) -> float:
    """Hours spent on training, from the seconds of every tick."""
    seconds = 0.0
    for line in (run_dir / "stats.jsonl").read_text(encoding="utf-8").splitlines():
        try:
            stats = json.loads(line)
        except ValueError:
            continue  # a run that was killed may leave half a line
        seconds += stats["Timing/sec_per_tick"]["mean"]
    return seconds / 3600


# ------------------------------------------------------------------------------------- pictures


def _show(folder: Path, generator: Generator, dataset: ImageDataset) -> dict[str, Any]:
    """Write the card's two pictures; returns what its text says of model and pictures."""
    places = np.linspace(0, len(dataset) - 1, min(COMPARED, len(dataset))).astype(int).tolist()
    reals = pictures(dataset, places).permute(0, 2, 3, 1).numpy()
    whole, short = (drawn(generator, dataset, range(SEEDS), psi) for psi in (1.0, 0.7))
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module; returns the exit code."""
    return run_function(publish, arguments)


if __name__ == "__main__":
    sys.exit(main())
