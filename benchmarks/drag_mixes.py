"""Drags on toy cars to where a picture of the model has the part: how near, changing what else.

    python benchmarks/drag_mixes.py
    python benchmarks/drag_mixes.py --tasks 8 --kinds "roof corner" --presets dragline

The target of a task is where a judge sees the part in a *mix* of two pictures (the first latents of
another one), so that a solution exists; a free pull moves a wheel by 6 px, which the model may not
draw at all. Judged by a key-point regressor that saw drawings alone. "Outside" is the mean change,
of a range of 1, more than 10 px from handles and targets; "others" how far the other key points
moved; dD the change of the discriminator's logit, which `dragline` uses and cannot be judged by;
"sharp" the picture's gradient energy after over before; "good" is every point under 2 px, dD above
-1 and sharp at least 0.75.
"""

import argparse
import math
import os
import platform
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from framework.drag.algorithm import drag_points  # noqa: E402
from framework.drag.settings import PRESETS, DragSettings  # noqa: E402
from framework.evaluation.drag.benchmark import SURE, Point  # noqa: E402
from framework.evaluation.drag.keypoints import KeypointJudge  # noqa: E402
from framework.jobs.models import Networks, seed_latents  # noqa: E402
from framework.machine import processor  # noqa: E402
from framework.media.images import to_uint8  # noqa: E402

KINDS = {
    "wheel hub": (2, 10),
    "roof corner": (2, 10),
    "hard roof corner": (4, 10),
    "free wheel": (),
}
FREE_PX, AWAY_PX = 6.0, 10.0
MATES = 50_000  # seeds of the other pictures begin here


@dataclass(frozen=True)
class Task:
    """A part (its index among the judge's) of a seed's picture, and where it goes."""

    ws: Tensor
    part: int
    handle: Point
    target: Point


class Bench:
    """A model, its discriminator and the judge."""

    def __init__(self, model: str, psi: float) -> None:
        networks = Networks(model, "cpu")
        self.generator, self.discriminator = networks.generator, networks.discriminator
        self.judge, self.psi = KeypointJudge.load(), psi

    def look(self, ws: Tensor) -> tuple[list[Point], float, Tensor]:
        """Key points, the judge's least confidence, and the picture."""
        with torch.no_grad():
            picture = self.generator.synthesis(ws, noise_mode="const")
        findings = self.judge(to_uint8(picture))
        points = [(float(x), float(y)) for x, y in findings.points[0]]
        return points, float(findings.confidence[0].min()), picture

    def tasks(self, kind: str, count: int, seed: int) -> list[Task]:
        """The first `count` tasks from a seed on."""
        part = "wheel_hub" if "wheel" in kind else "roof_corner"
        indices = [i for i, name in enumerate(self.judge.names) if name.endswith(part)]
        tasks: list[Task] = []
        while len(tasks) < count:
            index = indices[len(tasks) % len(indices)]
            ws, layers = seed_latents(self.generator, seed, self.psi), 4 + 2 * (seed % 2)
            mate = seed_latents(self.generator, MATES + seed, self.psi)
            seed += 1
            points, sure, _ = self.look(ws)
            x, y = points[index]
            if kind == "free wheel":
                outward = FREE_PX if "right" in self.judge.names[index] else -FREE_PX
                target, near = (x + outward, y), True
            else:
                there, also, _ = self.look(torch.cat([mate[:, :layers], ws[:, layers:]], dim=1))
                least, most = KINDS[kind]
                target, sure = there[index], min(sure, also)
                near = least <= math.dist(points[index], target) <= most
            height, width = self.generator.img_size
            inside = 0 <= target[0] <= width - 1 and 0 <= target[1] <= height - 1
            if near and inside and sure >= SURE:
                tasks.append(Task(ws, index, (x, y), target))
        return tasks

    def run(self, task: Task, settings: DragSettings) -> dict[str, Any]:
        """Drag, and measure."""
        start_sec = time.process_time()
        *_, last = drag_points(
            self.generator, task.ws, [task.handle], [task.target], settings=settings,
            discriminator=self.discriminator,
        )  # fmt: skip
        seconds = time.process_time() - start_sec
        before, _, old = self.look(task.ws)
        after, _, new = self.look(last.ws)
        missed = math.dist(after[task.part], task.target)
        others = [math.dist(a, b) for a, b in zip(before, after, strict=True)]
        with torch.no_grad():
            gain = float(self.discriminator(new) - self.discriminator(old))
        sharp = float(energy(new) / energy(old))
        return {
            "px": missed,
            "steps": last.step,
            "seconds": seconds,
            "others": fmean(others[: task.part] + others[task.part + 1 :]),
            "outside": outside(task, old, new),
            "dD": gain,
            "sharp": sharp,
            "good": missed < 2 and gain > -1 and sharp >= 0.75,
            "status": last.status,
        }


def energy(picture: Tensor) -> Tensor:
    """Mean squared gradient."""
    return picture.diff(dim=2).square().mean() + picture.diff(dim=3).square().mean()


def outside(task: Task, old: Tensor, new: Tensor) -> float:
    """Mean change away from handle and target, of a range of 1."""
    rows, columns = torch.meshgrid(*map(torch.arange, old.shape[2:]), indexing="ij")
    away = [
        (columns - x) ** 2 + (rows - y) ** 2 > AWAY_PX**2 for x, y in (task.handle, task.target)
    ]
    return float((new - old).abs().mean(dim=1)[0][away[0] & away[1]].mean()) / 2


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", default="toycars64", help="zoo name or model folder of a 64 px toy-car model")
    add("--tasks", type=int, default=24)
    add("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    add("--presets", nargs="+", default=["small", "dragline"], choices=list(PRESETS))
    add("--first-seed", type=int, default=7000)
    add("--psi", type=float, default=0.7, help="truncation of the pictures")
    args = parser.parse_args()
    bench = Bench(args.model, args.psi)
    torch.set_num_threads(1)
    print(f"{processor()}, {os.cpu_count()} cores, 1 thread, {platform.platform()}")
    print(f"{args.model}, {args.tasks} tasks a kind, seeds from {args.first_seed}, one run\n")
    columns = "target, preset, mean px, median, under 2 px, under 1 px, steps, CPU s, others px"
    names = [*columns.split(", "), "outside", "dD", "sharp", "good", "ended"]
    print(f"| {' | '.join(names)} |\n{'|---' * len(names)}|")
    for kind in args.kinds:
        tasks = bench.tasks(kind, args.tasks, args.first_seed)
        for preset in args.presets:
            rows = [bench.run(task, DragSettings.preset(preset)) for task in tasks]
            print(line(kind, preset, rows), flush=True)


def line(kind: str, preset: str, rows: list[dict[str, Any]]) -> str:
    """A row of the table."""
    mean = {name: fmean(row[name] for row in rows) for name in rows[0] if name != "status"}
    missed = [row["px"] for row in rows]
    ended = ", ".join(f"{n} {s}" for s, n in Counter(row["status"] for row in rows).most_common())
    return (
        f"| {kind} | `{preset}` | {mean['px']:.2f} | {median(missed):.2f}"
        f" | {sum(px < 2 for px in missed)} of {len(rows)} | {sum(px < 1 for px in missed)}"
        f" | {mean['steps']:.1f} | {mean['seconds']:.2f} | {mean['others']:.2f}"
        f" | {mean['outside']:.3f} | {mean['dD']:+.2f} | {mean['sharp']:.2f}"
        f" | {sum(row['good'] for row in rows)} | {ended} |"
    )


if __name__ == "__main__":
    main()
