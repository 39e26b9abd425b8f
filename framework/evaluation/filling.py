"""Ways to fill holes, compared on the same holes of the same pictures, where the truth is known.

python -m framework.evaluation fill --data my_pictures --out report
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from framework.compositing.fill_registry import DEFAULT_METHOD, fill_methods
from framework.compositing.filling import Filling, FillSettings
from framework.compositing.photograph import Photograph
from framework.data.sources import FolderSource
from framework.data.toycars import ToyCars
from framework.errors import UserError, blame
from framework.evaluation.filling_models import BY_MODEL, Fill
from framework.evaluation.formatting import interval, markdown_table, strict
from framework.evaluation.image_metrics import ms_ssim, psnr
from framework.evaluation.intervals import Interval, bootstrap, paired
from framework.evaluation.session import session_facts
from framework.evaluation.sheet import sheet
from framework.evaluation.stopwatch import Stopwatch
from framework.files import check_new_folder, new_folder, write_text
from framework.media.images import printable, save_png, to_float
from framework.models.features.distance import Distance, choose_distance
from framework.ops.compiled import use_ops

TOYCARS = "toycars"
LIBRARIES = ("telea", "navier-stokes", "biharmonic")
NUMBERS, PAGE = "report.json", "report.md"
_TOYCARS_PX, _TOYCARS_SEED = 128, 5
_MOST_PX = 128  # longer side of the pictures of folders
_AREA = 0.1  # of the picture that a hole takes, about
_RADIUS_PX = 5  # of OpenCV's methods
_COLUMNS = ("psnr", "ms_ssim", "lite0", "seconds")
_HOLE = np.array([255, 0, 160])


@dataclass(frozen=True, eq=False)
class Task:
    """A picture, uint8 (H, W, 3), and the hole to fill in it, bool (H, W)."""

    name: str
    truth: np.ndarray
    hole: np.ndarray

    @property
    def spoiled(self) -> np.ndarray:
        """The picture without what is to be found: grey."""
        return np.where(self.hole[..., None], np.uint8(127), self.truth)


def fill(
    out: str, data: str | None = None, n: int = 24, methods: str | None = None, seed: int = 0
) -> dict[str, Any]:
    """Compare ways to fill holes.

    Every method fills the same holes (rectangles, ellipses and strokes of about a tenth of the
    picture) in toy cars and in pictures of the given folders, shrunk to 128 px. OpenCV's Telea and
    Navier-Stokes and scikit-image's biharmonic stand beside them where they are installed.

    Args:
        out: New or empty folder for report.json, report.md and a sheet of pictures for each set,
            worst first.
        data: Folders of pictures, with commas between.
        n: Holes of each set.
        methods: Names of methods with commas between; all by default. `gan=MODEL` adds filling by a
            generator of such pictures, `learned=FOLDER` by a network that was trained to.
        seed: Seed of the holes.

    Returns:
        The mean perceptual distance of each method, by set.
    """
    if not 1 <= n <= 10_000:
        raise UserError(f"{n}: give 1 to 10000", "n")
    if not 0 <= seed < 2**32:
        raise UserError(f"{seed}: give 0 to 2^32 - 1", "seed")
    ways = _ways(methods)
    check_new_folder(out)
    sets = {name: list(tasks) for name, tasks in _sets(data, n, seed).items()}
    distance, _ = choose_distance("lite0", None)
    use_ops("auto")
    torch.set_num_threads(1)
    folder, tables = new_folder(out), {}
    for name, tasks in sets.items():
        results = {way: [_measured(function, task, distance) for task in tasks]
                   for way, function in ways.items()}  # fmt: skip
        tables[name] = _table(results)
        save_png(folder / f"{name}.png", _sheet(tasks, results))
    facts = {
        "session": session_facts(torch.device("cpu")), "seed": seed, "holes_of_a_set": n,
        "perceptual": distance.protocol(), "seconds": "of one thread's work", "sets": tables,
    }  # fmt: skip
    write_text(folder / NUMBERS, json.dumps(strict(facts), indent=2) + "\n")
    write_text(folder / PAGE, _page(tables, n))
    return {name: {way: row["lite0"]["mean"] for way, row in table.items()}
            for name, table in tables.items()}  # fmt: skip


def hole_of(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Draw a hole, bool (H, W): a rectangle, an ellipse or a stroke of about a tenth of all."""
    height, width = size
    image = Image.new("L", (width, height))
    draw = ImageDraw.Draw(image)
    side_px, stretch = (height * width * _AREA) ** 0.5, np.exp(rng.uniform(-0.25, 0.25))
    across, down = side_px * stretch / 2, side_px / stretch / 2
    x, y = rng.uniform(across, width - across), rng.uniform(down, height - down)
    box = (x - across, y - down, x + across, y + down)
    kind = rng.integers(3)
    if kind == 0:
        draw.rectangle(box, fill=255)
    elif kind == 1:
        draw.ellipse(box, fill=255)
    else:
        stroke = [(rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.9) * height) for _ in range(4)]
        draw.line(stroke, fill=255, width=max(3, width // 14), joint="curve")
    return np.asarray(image) > 0


def library_fill(name: str) -> Fill | None:
    """A library's way to fill, for comparison; None where the library is not installed."""
    try:
        if name == "biharmonic":
            inpaint = import_module("skimage.restoration").inpaint_biharmonic
            return lambda picture, hole: np.rint(
                inpaint(picture, hole, channel_axis=-1).clip(0, 1) * 255
            ).astype(np.uint8)
        cv2: Any = import_module("cv2")
    except ImportError:
        return None
    flag = {"telea": cv2.INPAINT_TELEA, "navier-stokes": cv2.INPAINT_NS}[name]
    return lambda picture, hole: cv2.inpaint(picture, hole.astype(np.uint8), _RADIUS_PX, flag)


def method_fill(name: str) -> Fill:
    """A method of ours as one function."""

    def function(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
        filling = Filling(Photograph(picture), hole.astype(np.float32))
        *_, last = filling.steps(FillSettings(method=name))
        return filling.filled(last).levels

    return function


def _ways(methods: str | None) -> dict[str, Fill]:
    """Every way to fill, by name: libraries first."""
    chosen = fill_methods() if methods is None else tuple(methods.split(","))
    known_ones = (*fill_methods(), *(f"{name}=MODEL" for name in BY_MODEL))
    by_model = [name for name in chosen if name.partition("=")[0] in BY_MODEL and "=" in name]
    if unknown := [name for name in chosen if name not in (*fill_methods(), *by_model)]:
        known = ", ".join(known_ones)
        raise UserError(f"{printable(unknown[0])}: expected some of {known}", "methods")
    libraries = {name: library_fill(name) for name in LIBRARIES}
    ways = {name: function for name, function in libraries.items() if function is not None}
    ways |= {name: method_fill(name) for name in chosen if name not in by_model}
    for name in by_model:
        way, _, model = name.partition("=")
        with blame("methods", name):
            ways[way] = BY_MODEL[way](model)
    return ways


def _sets(data: str | None, n: int, seed: int) -> dict[str, Iterator[Task]]:
    """The pictures of all folders and of toy cars, by name."""
    cars = ToyCars(_TOYCARS_PX, n, seed=_TOYCARS_SEED)
    sets = {TOYCARS: _tasks(((str(i), cars.image(i)) for i in range(n)), seed)}
    for word in data.split(",") if data else ():
        with blame("data", word):
            if not os.path.isdir(word):
                raise UserError("no such folder")
            path = Path(word)
            names = FolderSource(path).names
            if len(names) < n:
                raise UserError(f"{len(names)} pictures, {n} are needed")
            chosen = [names[i * len(names) // n] for i in range(n)]
            pictures = [(name, _shrunk(Photograph.read(path / name).shown())) for name in chosen]
        sets[printable(path.resolve().name)] = _tasks(pictures, seed)
    return sets


def _shrunk(picture: np.ndarray) -> np.ndarray:
    """The picture, at most `_MOST_PX` long: sets mix sizes, and numbers depend on them."""
    image = Image.fromarray(picture)
    image.thumbnail((_MOST_PX, _MOST_PX))
    return np.array(image)


def _tasks(pictures: Any, seed: int) -> Iterator[Task]:
    rng = np.random.default_rng(seed)
    for name, picture in pictures:
        yield Task(name, picture, hole_of(picture.shape[:2], rng))


def _measured(function: Fill, task: Task, distance: Distance) -> dict[str, Any]:
    """Fill a hole and compare the whole picture with the truth."""
    watch = Stopwatch(torch.device("cpu"))
    picture = function(task.spoiled, task.hole)
    seconds = watch.work_seconds()
    picture = np.where(task.hole[..., None], picture, task.truth)
    ours, truth = (to_float(np.array(x))[None] for x in (picture, task.truth))
    with torch.no_grad():
        return {"psnr": _one(psnr(ours, truth)), "ms_ssim": _one(ms_ssim(ours, truth)),
                "lite0": _one(distance(ours, truth)), "seconds": seconds,
                "picture": picture}  # fmt: skip


def _one(value: Tensor) -> float:
    return float(value.reshape(-1)[0])


def _table(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Means with intervals, and how much nearer each method is than the best library."""
    values = {way: {name: [r[name] for r in rows] for name in _COLUMNS}
              for way, rows in results.items()}  # fmt: skip
    libraries = [way for way in values if way in LIBRARIES]
    best = min(libraries, key=lambda way: np.mean(values[way]["lite0"]), default=None)
    table = {}
    for way, columns in values.items():
        row: dict[str, Any] = {
            name: bootstrap(column).to_dict() for name, column in columns.items()
        }
        if best is not None and way not in LIBRARIES:
            nearer = paired(columns["lite0"], values[best]["lite0"])
            row["lite0_minus_best_library"] = {"library": best, **nearer.to_dict()}
        table[way] = row
    return table


def _page(tables: Mapping[str, Mapping[str, Mapping[str, Any]]], n: int) -> str:
    """The tables as Markdown."""
    text = [
        f"# Holes filled: {n} of each set\n",
        "Means with 95 % intervals over the same holes, of the whole picture; lite0 is a perceptual"
        " distance, lower is better. The last column is the paired difference of lite0 to the best"
        " library's: below zero is nearer to the truth.\n",
    ]
    heads = ["method", "PSNR, dB", "MS-SSIM", "lite0", "seconds", "lite0 − best library"]
    for name, table in tables.items():
        rows = [
            [way, *(interval(row[column]) for column in _COLUMNS), _difference(row)]
            for way, row in table.items()
        ]
        text += [f"## {name}\n", markdown_table(heads, rows) + "\n"]
    return "\n".join(text)


def _difference(row: Mapping[str, Any]) -> str:
    numbers = row.get("lite0_minus_best_library")
    if numbers is None:
        return ""
    ends = Interval(numbers["mean"], numbers["low"], numbers["high"], numbers["count"])
    return f"{ends.mean:+.4f} ({ends.low:+.4f} to {ends.high:+.4f}), {numbers['library']}"


def _sheet(tasks: Sequence[Task], results: Mapping[str, Sequence[Mapping[str, Any]]]) -> np.ndarray:
    """All results of a set, those first where the default is farthest from the truth."""
    judged = results.get(DEFAULT_METHOD, list(results.values())[-1])
    order = sorted(range(len(tasks)), key=lambda i: -judged[i]["lite0"])
    rows = []
    for i in order:
        task = tasks[i]
        if task.truth.shape != tasks[0].truth.shape:
            continue
        holed = np.where(task.hole[..., None], _HOLE, task.truth).astype(np.uint8)
        tiles = [task.truth, holed, *(rows_of[i]["picture"] for rows_of in results.values())]
        numbers = ", ".join(f"{way} {rows_of[i]['lite0']:.3f}" for way, rows_of in results.items())
        rows.append((f"{task.name}: lite0 {numbers}", tiles))
    return sheet(["truth", "hole", *results], rows)
