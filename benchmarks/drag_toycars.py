"""Drag accuracy on a toy-car generator, judged by a key-point regressor that never saw it.

    python benchmarks/drag_toycars.py                                  # the shipped model
    python benchmarks/drag_toycars.py --model runs/toycars64/network-000400 --tasks 50
    python benchmarks/drag_toycars.py --config configs/edit/drag/small.yaml --out out/cars

Every task pulls a wheel hub or a roof corner by 6 px; `--pulls` chooses the part and the direction
(framework/evaluation/drag/benchmark.py has the kinds). With --out, a picture of all tasks: a row
per task, a column per variant; the target is blue, where the judge finds the part is red.
"""

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
ENLARGE = 4


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", default="toycars64", help="zoo name or model folder of a 64 px toy-car model")
    add("--tasks", type=int, default=40)
    add("--pulls", default="wheels outward", help="kind of pull, one of PULLS")
    add("--first-seed", type=int, default=0)
    add("--psi", type=float, default=0.7, help="truncation of the pictures")
    add("--config", nargs="+", default=[], help="further variants: YAML files of drag settings")
    add("--threads", type=int, default=1)
    add("--json", action="store_true", help="end with one line of JSON")
    add("--out", type=Path, help="new folder for a picture of all tasks")
    return parser.parse_args()


def variants(configs: list[str]) -> dict[str, Any]:
    """Drag settings by name of the variant; None means no drag."""
    from framework.drag.settings import DragSettings
    from framework.jobs.settings import load_settings

    small = DragSettings.preset("small")
    presets = {
        "no edit": None,
        "draggan": DragSettings.preset("draggan"),
        "small": small,
        "small, tracker off": replace(small, tracker="off"),
    }
    return presets | {Path(path).stem: load_settings(path) for path in configs}


def main() -> None:
    """Measure and print a Markdown table."""
    args = arguments()
    import torch

    from framework.evaluation.drag.benchmark import make_tasks, run_tasks, summarize
    from framework.evaluation.drag.keypoints import KeypointJudge
    from framework.files import new_folder
    from framework.jobs.models import open_generator, seed_latents
    from framework.machine import processor

    torch.set_num_threads(args.threads)
    folder = new_folder(args.out) if args.out else None
    generator, judge = open_generator(args.model, "cpu"), KeypointJudge.load()
    seeds = range(args.first_seed, args.first_seed + 10 * args.tasks)
    latents = {seed: seed_latents(generator, seed, args.psi) for seed in seeds}
    tasks = make_tasks(generator, judge, latents, args.tasks, args.pulls)
    if not tasks:
        sys.exit(f"--model {args.model}: the judge finds no car in its pictures")
    skipped = tasks[-1].seed - args.first_seed + 1 - len(tasks)
    print(f"{processor()}, {os.cpu_count()} cores, {args.threads} threads, {platform.platform()}")
    print(
        f"{args.model}, {args.pulls}, {len(tasks)} tasks, psi {args.psi:g}; "
        f"{skipped} pictures skipped\n"
    )
    print("| variant | mean px | median | worst | under 2 px | steps | seconds |")
    print("|---|---|---|---|---|---|---|")
    results = {}
    for name, settings in variants(args.config).items():
        results[name] = run_tasks(generator, judge, tasks, settings)
        s = summarize(results[name])
        print(
            f"| {name} | {s.mean_px:.2f} | {s.median_px:.2f} | {s.worst_px:.2f} "
            f"| {s.hits} of {s.count} ({s.hits / s.count:.0%}) | {s.steps:.0f} | {s.seconds:.2f} |",
            flush=True,
        )
    if folder is not None:
        save_picture(folder / "tasks.png", generator, judge, results)
        print(f"\n{folder / 'tasks.png'}")
    if args.json:
        print(json.dumps({name: asdict(summarize(r)) for name, r in results.items()}))


def save_picture(path: Path, generator: Any, judge: Any, results: dict[str, Any]) -> None:
    """Draw a row per task: each variant's result, the target and where the judge finds the part."""
    import numpy as np

    from framework.jobs.models import render
    from framework.media.draw import HANDLE, TARGET, enlarge
    from framework.media.images import grid, save_png

    panels = []
    for outcomes in zip(*results.values(), strict=True):
        for outcome in outcomes:
            picture = render(generator, outcome.ws)
            place = judge(picture[None]).points[0, judge.names.index(outcome.task.part)]
            panel = enlarge(picture, ENLARGE).copy()
            for (x, y), ink, half in ((outcome.task.target, TARGET, 3), (place, HANDLE, 2)):
                column, row = (round((float(v) + 0.5) * ENLARGE) for v in (x, y))
                panel[max(0, row - half) : row + half, max(0, column - half) : column + half] = ink
            panels.append(panel)
    save_png(path, grid(np.stack(panels), columns=len(results)))


if __name__ == "__main__":
    main()
