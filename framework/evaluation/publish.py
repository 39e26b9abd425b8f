"""A training run made into a model folder that can be given away: half precision, with a card.

`python -m framework.evaluation.publish --run runs/toycars64 --out framework/zoo/toycars64`
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from framework.checkpoint import latest_whole
from framework.data import open_dataset
from framework.errors import UserError
from framework.evaluation.neighbours import nearest, nearest_other
from framework.evaluation.swd import sliced_wasserstein
from framework.files import new_folder
from framework.formats import load_discriminator, load_generator, save_model_folder
from framework.formats.model_folder import parameter_count
from framework.media.images import grid, save_png, to_float, to_uint8
from framework.models.stylegan2 import Generator

SEEDS, COLUMNS, NEIGHBOURS, COMPARED = 32, 16, 3, 4096
_BATCH = 32

# ruff: noqa: E501 - a row of a table is a line
CARD = """# {name}

{title}

![Uncurated samples](samples.png)

Seeds 0 to {last_seed} in order, none left out; upper half without truncation, lower half the same
seeds with `truncation_psi` 0.7.

| | |
|---|---|
| pictures | {size} px, {channels} channels |
| networks | generator {g_params:.2f} M, discriminator {d_params:.2f} M parameters, in half precision |
| data | {data} |
| licence of the data | {licence} |
| images seen | {kimg:.0f} thousand |
| time | {hours:.1f} h of training{machine} |
| sliced Wasserstein distance x 10^3 | {swd} |
| as it went | {curve} |

The distance compares {compared} generated with {compared} real pictures (7x7 patches of a Laplacian
pyramid, mean over its levels {levels}; averaged generator, no truncation, constant noise; lower is
better). Two halves of the real pictures are {swd_real} apart. It needs no feature network; it is
not FID.

## How it was made

    {command}
    python -m framework.evaluation.publish --run {run} --out {out}

`config.json` holds the settings.

## Near the training pictures

![Generated pictures and their nearest training pictures](nearest.png)

A generated picture (seeds 0 to {last_neighbour}, `truncation_psi` 1), then its {neighbours} nearest
training pictures (root mean square difference at 32 px), four such groups a row. Median distance to
the nearest: generated {near_fake:.3f}, training pictures to each other {near_real:.3f}.
{notes}"""


@dataclass(frozen=True)
class CardTexts:
    """What only the trainer of a model can say on its card.

    Args:
        title: First sentence; names the data if empty.
        data: What the training pictures are.
        licence: Their licence and source.
        machine: What the model was trained on.
        command: The exact training command.
        notes: Further paragraphs.
    """

    title: str = ""
    data: str = ""
    licence: str = ""
    machine: str = ""
    command: str = ""
    notes: str = ""


def publish(
    run: str,
    out: str,
    card: CardTexts = CardTexts(),
    earlier: list[str] | None = None,
    source: str | None = None,
) -> None:
    """Write the newest whole checkpoint of a training run as a model folder with a card.

    Args:
        run: Run folder of `train.py fit`.
        out: New folder for the model.
        card: Texts of the card.
        earlier: Earlier model folders of the same run, for the card's curve.
        source: Where the training pictures lie now; the run's own place if not given.

    Raises:
        UserError: If there is no whole checkpoint, or `out` holds something.
    """
    run_dir = Path(run)
    checkpoint = latest_whole(run_dir)
    if checkpoint is None:
        raise UserError(f"--run {run}: holds no whole checkpoint")
    settings = yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8"))
    data = settings["data"] | ({"source": source} if source else {})
    reals = _reals(data)
    generator, discriminator = load_generator(checkpoint), load_discriminator(checkpoint)
    folder = new_folder(out)

    seen_kimg = float(generator.provenance["seen_images"]) / 1000  # type: ignore[index, arg-type]
    texts = {
        "title": card.title or f"A StyleGAN2 trained on {data['source']}.",
        "data": card.data or data["source"],
        "licence": card.licence or "see the data",
        "machine": f" on {card.machine}" if card.machine else "",
        "command": card.command or "python train.py fit with the settings of config.json",
        "notes": f"\n{card.notes}\n" if card.notes else "",
    }
    facts = {
        "name": folder.name,
        "run": run_dir.name,
        "out": folder.name,
        "size": "x".join(map(str, generator.img_size)),
        "channels": generator.img_channels,
        "g_params": parameter_count(generator) / 1e6,
        "d_params": parameter_count(discriminator) / 1e6,
        "kimg": seen_kimg,
        "hours": _hours(run_dir),
    }
    shown = _show(folder, generator, reals)
    measured = _measure(generator, reals, seen_kimg, [Path(path) for path in earlier or []])
    provenance = {
        "seen_kimg": seen_kimg,
        "data": texts["data"],
        "licence": texts["licence"],
        "training": settings["model"]["init_args"],
        "batch_size": data["batch_size"],
    }
    text = CARD.format(**texts, **facts, **shown, **measured)
    save_model_folder(folder, generator, discriminator, provenance, text, half=True)
    print(f"{folder}: {seen_kimg:.0f} kimg, sliced Wasserstein distance {measured['swd']}")


def _show(folder: Path, generator: Generator, reals: Tensor) -> dict[str, Any]:
    """Write the card's two pictures; returns what its text says of them."""
    whole = pictures(generator, range(SEEDS))
    short = pictures(generator, range(SEEDS), psi=0.7)
    save_png(folder / "samples.png", grid(to_uint8(torch.cat([whole, short])), COLUMNS))
    index, near = nearest(whole, reals, NEIGHBOURS)
    rows = torch.cat([whole[:, None], reals[index]], dim=1)[:COLUMNS]
    save_png(folder / "nearest.png", grid(to_uint8(rows.flatten(0, 1)), 4 * (1 + NEIGHBOURS)))
    some = torch.arange(min(256, len(reals)))
    return {
        "last_seed": SEEDS - 1,
        "last_neighbour": COLUMNS - 1,
        "neighbours": NEIGHBOURS,
        "near_fake": near[:, 0].median().item(),
        "near_real": nearest_other(reals, some).median().item(),
    }


def _measure(
    generator: Generator, reals: Tensor, seen_kimg: float, earlier: list[Path]
) -> dict[str, Any]:
    """Distances for the card: this model's, its earlier selves', and the data's to themselves."""
    levels, distance = swd(generator, reals)
    curve = [(seen_kimg, distance)]
    for folder in earlier:
        network = load_generator(folder)
        kimg = float(network.provenance["seen_kimg"])  # type: ignore[index, arg-type]
        curve.append((kimg, swd(network, reals)[1]))
    one_half, other_half = _shuffled(reals)[: len(reals) // 2 * 2].chunk(2)
    return {
        "swd": f"{distance:.2f}",
        "curve": ", ".join(f"{kimg:.0f} kimg {value:.2f}" for kimg, value in sorted(curve)),
        "levels": ", ".join(f"{side} px" for side in levels),
        "compared": min(COMPARED, len(reals)),
        "swd_real": f"{_mean(sliced_wasserstein(one_half, other_half)):.2f}",
    }


def swd(generator: Generator, reals: Tensor) -> tuple[list[int], float]:
    """Levels of the pyramid, and the mean sliced Wasserstein distance of a generator to `reals`."""
    count = min(COMPARED, len(reals))
    fakes = pictures(generator, range(10_000, 10_000 + count))
    distances = sliced_wasserstein(_shuffled(reals)[:count], to_float(to_uint8(fakes)))
    return list(distances), _mean(distances)


@torch.no_grad()
def pictures(generator: Generator, seeds: range, psi: float = 1.0) -> Tensor:
    """Pictures of the seeds, one latent each as NumPy draws it, shape (N, C, H, W)."""
    z = np.concatenate([np.random.RandomState(s).randn(1, generator.z_dim) for s in seeds])
    parts = torch.from_numpy(z).float().split(_BATCH)
    images = [generator(part, truncation_psi=psi, noise_mode="const") for part in parts]
    return torch.cat(images)


def _reals(data: dict[str, Any]) -> Tensor:
    """As many real pictures as are compared, evenly spread over the data, in [-1, 1]."""
    dataset = open_dataset(
        data["source"],
        size=tuple(data["size"]) if isinstance(data["size"], list) else data["size"],
        channels=data["channels"],
        crop=data["crop"],
        on_bad="skip",
    )
    places = np.linspace(0, len(dataset) - 1, min(2 * COMPARED, len(dataset))).astype(int)
    chosen = np.stack([dataset.image(int(i)) for i in places])
    return to_float(chosen.transpose(0, 2, 3, 1))


def _shuffled(reals: Tensor) -> Tensor:
    """In an order that mixes classes, always the same."""
    return reals[torch.randperm(len(reals), generator=torch.Generator().manual_seed(0))]


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


def _mean(distances: dict[int, float]) -> float:
    return sum(distances.values()) / len(distances)


def main() -> int:
    """Command line of this module; returns the exit code."""
    from jsonargparse import auto_cli

    try:
        auto_cli(publish, as_positional=False)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
