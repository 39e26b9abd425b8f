"""Translations compared on held-out toy cars: one table for each kind of condition.

python -m framework.evaluation translation --ways pix2pix=FOLDER,cyclegan=FOLDER --out report
"""

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from framework.data.toycars import Part, ToyCars
from framework.errors import UserError
from framework.evaluation.formatting import interval, markdown_table, strict
from framework.evaluation.generator.features import FeatureNetwork, open_networks
from framework.evaluation.generator.metrics import kernel_distance
from framework.evaluation.intervals import bootstrap
from framework.evaluation.session import session_facts
from framework.evaluation.sheet import sheet
from framework.evaluation.stopwatch import Stopwatch
from framework.evaluation.translation.reader import (
    READER,
    Reader,
    Readings,
    ink_agreement,
    inked,
    part_agreement,
)
from framework.evaluation.translation.ways import Way, nearest, open_way, true_pictures
from framework.files import check_new_folder, new_folder, write_text
from framework.media.draw import enlarge
from framework.media.images import save_png, to_float, to_uint8
from framework.media.label_maps import coloured
from framework.models.features.distance import choose_distance
from framework.models.translation.condition import Condition, Kind

NUMBERS, PAGE = "report.json", "report.md"
SIZE_PX, SEED, KNOWN_SEED = 64, 778, 0
_DRAWS, _AT_ONCE, _SHOWN = 3, 16, 12
_COLUMNS = ("sketch", "parts", "diversity", "milliseconds")
_HEADS = {
    "sketch": "agreement with the sketch, F1", "parts": "agreement with the parts, IoU",
    "diversity": "diversity", "milliseconds": "ms a picture",
}  # fmt: skip


def translation(
    out: str,
    ways: str,
    generator: str = "toycars64",
    n: int = 200,
    known: int = 2000,
    reader: str | None = None,
) -> dict[str, Any]:
    """Compare ways from sketches or labels to pictures, on held-out toy cars.

    Beside them stand the true pictures and those of the nearest known condition. Realism is a
    kernel distance to other toy cars; faithfulness is what a reader of parts and ink finds in the
    pictures against the truth; diversity is the mean perceptual distance between three pictures
    of one condition.

    Args:
        out: New or empty folder for report.json, report.md and a sheet of pictures for each kind,
            worst first.
        ways: NAME=FOLDER with commas between: translations, and encoders of sketches or labels.
        generator: The StyleGAN2 that the encoders belong to.
        n: Held-out cars.
        known: Cars among which the nearest neighbour is looked for.
        reader: Folder of the reader; the one that comes with the project by default.

    Returns:
        Mean agreement with sketch and parts of each way, by kind.
    """
    for name, number, least in (("n", n, 10), ("known", known, 10)):
        if not least <= number <= 100_000:
            raise UserError(f"{number}: give {least} to 100000", name)
    opened = [open_way(text.strip(), generator) for text in ways.split(",")]
    judge = Reader.open(reader or READER)
    check_new_folder(out)
    networks = open_networks(path_length=False)
    distance, _ = choose_distance("lite0" if networks.features.suffix == "_lite" else "multiscale",
                                  None)  # fmt: skip
    torch.set_num_threads(1)
    tables: dict[str, dict[str, dict[str, Any]]] = {}
    sheets: dict[str, np.ndarray] = {}
    kinds: list[Kind] = list(dict.fromkeys(way.condition.kind for way in opened))
    for kind in kinds:
        task = _Task(kind, n, known, judge, networks.features, distance)
        chosen = [way for way in opened if way.condition.kind == kind]
        results = {way.name: task.measured(way) for way in task.with_baselines(chosen)}
        tables[kind] = {name: row for name, (row, _) in results.items()}
        sheets[kind] = task.sheet({name: rows for name, (_, rows) in results.items()})
    folder = new_folder(out)
    facts = {
        "session": session_facts(torch.device("cpu")), "n": n, "draws": _DRAWS,
        "held_out": f"toycars, seed {SEED}", "features": networks.features.protocol(),
        "perceptual": distance.protocol(), "tables": tables,
    }  # fmt: skip
    for kind, picture in sheets.items():
        save_png(folder / f"{kind}.png", picture)
    write_text(folder / NUMBERS, json.dumps(strict(facts), indent=2) + "\n")
    write_text(folder / PAGE, _page(tables, n, networks.features.suffix, distance.name))
    return {
        kind: {name: {c: row[c]["mean"] for c in ("sketch", "parts")} for name, row in rows.items()}
        for kind, rows in tables.items()
    }


class _Task:
    """Held-out conditions of one kind, and what is measured of pictures drawn from them."""

    def __init__(
        self, kind: Kind, n: int, known: int, judge: Reader, features: FeatureNetwork, distance: Any
    ) -> None:
        self.kind, self.judge, self.features, self.distance = kind, judge, features, distance
        self.condition = Condition(kind, 1, len(Part) if kind == "labels" else 0)
        self.conditions, self.pictures, self.truth = self._cars(n, SEED)
        self.known_conditions, self.known_pictures, _ = self._cars(known, KNOWN_SEED)
        self.real = features(_levels(self.known_pictures))

    def _cars(self, count: int, seed: int) -> tuple[Tensor, Tensor, Readings]:
        cars = ToyCars(SIZE_PX, count, seed)
        drawn = [cars[index] for index in range(count)]
        sketches = np.stack([car.sketch for car in drawn])
        parts = np.stack([car.part_mask for car in drawn])
        pictures = to_float(np.stack([car.image for car in drawn]))
        conditions = torch.from_numpy(sketches if self.kind == "sketch" else parts)[:, None]
        truth = Readings(torch.from_numpy(parts).long(), inked(sketches))
        return conditions, pictures, truth

    def with_baselines(self, ways: Sequence[Way]) -> list[Way]:
        """Return the ways, the nearest neighbour and the truth."""
        near = nearest(self.condition, self.known_conditions, self.known_pictures)
        return [*ways, near, true_pictures(self.condition, self.pictures)]

    @torch.no_grad()
    def measured(self, way: Way) -> tuple[dict[str, Any], list[tuple[Tensor, float]]]:
        """Return a way's row, and its first picture of each condition with its agreement."""
        rng = torch.Generator().manual_seed(0)
        watch, draws = Stopwatch(torch.device("cpu")), []
        for _ in range(_DRAWS):
            whole = way.name == "true pictures"
            parts = [self.conditions] if whole else self.conditions.split(_AT_ONCE)
            draws.append(torch.cat([way.draw(part, rng) for part in parts]).clamp(-1, 1))
        milliseconds = 1000 * watch.work_seconds() / (_DRAWS * len(self.conditions))
        found = self.judge(draws[0])
        sketch = ink_agreement(found.ink, self.truth.ink)
        parts = part_agreement(found.parts, self.truth.parts)
        pairs = [self._far(a, b) for a, b in combinations(draws, 2)]
        realism = kernel_distance(self.real, self.features(_levels(draws[0])))
        row = {
            "realism": {"mean": realism.value, "low": realism.value - realism.ci95,
                        "high": realism.value + realism.ci95},
            "sketch": bootstrap(sketch.tolist()).to_dict(),
            "parts": bootstrap(parts.tolist()).to_dict(),
            "diversity": bootstrap(torch.stack(pairs).mean(dim=0).tolist()).to_dict(),
            "milliseconds": {"mean": milliseconds},
            "parameters": way.parameters,
        }  # fmt: skip
        judged = sketch if self.kind == "sketch" else parts
        return row, list(zip(draws[0], judged.tolist(), strict=True))

    def _far(self, a: Tensor, b: Tensor) -> Tensor:
        pairs = zip(a.split(_AT_ONCE), b.split(_AT_ONCE), strict=True)
        return torch.cat([self.distance(x, y) for x, y in pairs])

    def sheet(self, results: Mapping[str, Sequence[tuple[Tensor, float]]]) -> np.ndarray:
        """Return conditions and pictures, those first on which the first way agrees least."""
        first = next(iter(results.values()))
        order = sorted(range(len(first)), key=lambda i: first[i][1])
        picks = [
            order[i] for i in np.linspace(0, len(order) - 1, min(_SHOWN, len(order))).astype(int)
        ]
        rows = []
        for i in picks:
            levels = self.conditions[i, 0].numpy()
            shown = coloured(levels) if self.kind == "labels" else np.stack([levels] * 3, axis=-1)
            tiles = [shown, *(to_uint8(rows_of[i][0][None])[0] for rows_of in results.values())]
            numbers = ", ".join(f"{name} {rows_of[i][1]:.2f}" for name, rows_of in results.items())
            rows.append((numbers, [enlarge(tile, 2) for tile in tiles]))
        return sheet([self.kind, *results], rows)


def _levels(pictures: Tensor) -> Tensor:
    return ((pictures + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def _page(
    tables: Mapping[str, Mapping[str, Mapping[str, Any]]], n: int, suffix: str, perceptual: str
) -> str:
    """Return the tables as Markdown."""
    text = [
        f"# Pictures from sketches and labels: {n} held-out toy cars\n",
        "Means with 95 % intervals over the same conditions. Agreement is between what a reader"
        " finds in the pictures and the truth; of the true pictures it is the most that can be"
        f" expected. Realism is kid{suffix} to other cars, lower is better; diversity the mean"
        f" {perceptual} distance between {_DRAWS} pictures of one condition.\n",
    ]
    heads = ["way", f"kid{suffix}", *_HEADS.values(), "million parameters"]
    for kind, table in tables.items():
        rows = [
            [name, interval(row["realism"]), *(interval(row[column]) for column in _COLUMNS),
             f"{row['parameters'] / 1e6:.2f}" if row["parameters"] else ""]
            for name, row in table.items()
        ]  # fmt: skip
        text += [f"## From {kind}\n", markdown_table(heads, rows) + "\n"]
    return "\n".join(text)
