"""Quality against CPU minutes of training recipes, each from nothing, the same data and seed.

    python benchmarks/time_to_quality.py --out runs/ttq              # every recipe, an hour each
    python benchmarks/time_to_quality.py --out runs/ttq --minutes 30 --recipes today batch32
    python benchmarks/time_to_quality.py --out runs/ttq --data my_pictures --config my.yaml
    python benchmarks/time_to_quality.py --out runs/ttq --minutes 0  # table and plot again

The clock is the training process's own CPU time (`Timing/cpu_sec` of its log) on one thread: what
other programs do on the machine, drawing the data and measuring do not count. `kid_lite` of the
averaged generator is measured afterwards at every snapshot (docs/metrics.md). Recipes run one after
another, or `--jobs` at once; the same command goes on where it was stopped. A recipe may have
several stages, each a run that starts from the one before.
"""

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import machine  # noqa: E402
from framework.evaluation.formatting import markdown_table  # noqa: E402
from framework.files import append_line, write_text  # noqa: E402

CONFIG = "configs/train/stylegan2/toycars64.yaml"
SNAPSHOT_MINUTES, GUESSED_IMAGES_SEC = 5, 40
MEASURED = "measured.jsonl"


@dataclass(frozen=True)
class Stage:
    """A run of `train.py fit`: its flags, and the share of the recipe's minutes when it ends."""

    flags: tuple[str, ...] = ()
    until: float = 1.0


def flags(**settings: Any) -> tuple[str, ...]:
    """Return `--model.a.b=value` for each `a__b=value`, `--data.a=value` for `data__a=value`."""
    names = (name.replace("__", ".") for name in settings)
    full = (n if n.startswith(("data.", "run.")) else f"model.{n}" for n in names)
    return tuple(f"--{name}={value}" for name, value in zip(full, settings.values(), strict=True))


RECIPES: dict[str, tuple[Stage, ...]] = {
    "today": (Stage(),),
    "float32": (Stage(flags(machine__low_precision="none")),),
    "compiled": (Stage(flags(machine__ops="auto")),),
    "batch8": (Stage(flags(data__batch_size=8)),),
    "batch32": (Stage(flags(data__batch_size=32)),),
    "lr-half": (Stage(flags(lr=0.00125)),),
    "lr-double": (Stage(flags(lr=0.005)),),
    "ttur": (Stage(flags(discriminator_lr=0.005)),),
    "relativistic": (Stage(flags(loss="relativistic")),),
    "wide": (Stage(flags(networks__channel_base=2048)),),
    "wide-discriminator": (Stage(flags(networks__discriminator_channel_base=2048)),),
    "ema10": (Stage(flags(averaging__ema_kimg=10)),),
    "ema2": (Stage(flags(averaging__ema_kimg=2)),),
    "no-mixing": (Stage(flags(regularization__style_mixing_prob=0)),),
    "r1-tenth": (Stage(flags(regularization__r1_gamma=0.05)),),
    "path-length": (Stage(flags(regularization__pl_weight=2)),),
    "32-then-64": (
        Stage(flags(data__size=32), until=0.4),
        Stage(flags(transfer__start_partial=True)),
    ),
}  # fmt: skip


def run_recipe(name: str, args: argparse.Namespace) -> None:
    """Train the stages of a recipe up to their CPU minutes; measure snapshots of the last."""
    before, start = 0.0, None
    for number, stage in enumerate(stages := RECIPES[name]):
        folder = Path(args.out) / f"{name}-{number}"
        train(folder, stage, start, stage.until * args.minutes * 60 - before, args)
        if stage is stages[-1]:
            measure(name, folder, before, args)
        start = str(max(models(folder))[1])
        before += cpu_seconds(folder)[-1][1]


def train(
    folder: Path, stage: Stage, start: str | None, seconds: float, args: argparse.Namespace
) -> None:
    """Run one stage until it has used `seconds` of CPU, going on with what the folder holds."""
    used = cpu_seconds(folder)
    if used and used[-1][1] >= seconds:
        return
    snapshot_kimg = max(1, round(args.snapshot_minutes * 60 * GUESSED_IMAGES_SEC / 1000))
    command = [
        sys.executable, str(ROOT / "train.py"), "fit", "--config", args.config,
        f"--data.source={args.data}", f"--run.dir={folder}", "--run.kimg=100000",
        "--run.tick_kimg=0.5", f"--run.checkpoint_kimg={snapshot_kimg}",
        f"--run.snapshot_kimg={snapshot_kimg}", "--run.keep_snapshots=0", "--run.wandb=disabled",
        *([f"--model.start_from={start}"] if start else []), *stage.flags,
    ]  # fmt: skip
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f"{folder.name}.log", "a") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=one_thread())
        try:
            while process.poll() is None:
                time.sleep(1)
                used = cpu_seconds(folder)
                if used and used[-1][1] >= seconds:
                    break
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)  # ends with a checkpoint and a snapshot
            process.wait()
    used = cpu_seconds(folder)
    if not used or used[-1][1] < seconds:
        raise SystemExit(f"{folder.name} ended early: {folder.parent / folder.name}.log says why")


def one_thread() -> dict[str, str]:
    """Return the environment of a process that computes on one thread and talks to nobody."""
    return os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}


def cpu_seconds(folder: Path) -> list[tuple[float, float]]:
    """Return (kimg, CPU seconds so far) of each tick of a run, over all of its sessions."""
    try:
        lines = (folder / "stats.jsonl").read_text().splitlines()
    except FileNotFoundError:
        return []
    return accumulated(
        (row["Progress/kimg"]["mean"], row["Timing/cpu_sec"]["mean"])
        for row in map(json.loads, lines)
    )


def accumulated(ticks: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Add up a clock that starts again at 0 with each session."""
    total, last, rows = 0.0, 0.0, []
    for kimg, seconds in ticks:
        total += seconds - last if seconds >= last else seconds
        last = seconds
        rows.append((kimg, total))
    return rows


def models(folder: Path) -> list[tuple[float, Path]]:
    """Return (kimg, model folder) of each snapshot of a run."""
    found = []
    for model in folder.glob("network-*"):
        config = json.loads((model / "config.json").read_text())
        found.append((float(config["provenance"]["seen_kimg"]), model))
    return sorted(found)


def measure(name: str, folder: Path, before_sec: float, args: argparse.Namespace) -> None:
    """Append one line for each snapshot of a stage that has not been measured yet."""
    known = {row["model"] for row in measured(Path(args.out))}
    clock = cpu_seconds(folder)
    for kimg, model in models(folder):
        if str(model) in known or kimg == 0:
            continue
        command = [
            sys.executable, str(ROOT / "train.py"), "validate", "--config", args.config,
            f"--data.source={args.data}", f"--metrics.model={model}", "--metrics.features=lite0",
            f"--metrics.fakes={args.fakes}", f"--metrics.reals={args.fakes}", "--metrics.ppl=0",
        ]  # fmt: skip
        printed = subprocess.run(
            command, cwd=ROOT, env=one_thread(), check=True, capture_output=True, text=True
        )
        numbers = json.loads(printed.stdout.splitlines()[-1])
        seconds = before_sec + min((sec for k, sec in clock if k >= kimg), default=clock[-1][1])
        row = {"recipe": name, "model": str(model), "kimg": kimg, "cpu_minutes": seconds / 60}
        row |= {
            key: numbers[f"Metrics/{key}"] for key in ("kid_lite", "kid_lite_ci95", "recall_lite")
        }
        append_line(Path(args.out) / MEASURED, json.dumps(row))
        print(
            f"{name}: {seconds / 60:.1f} min, {kimg:g} kimg, kid_lite {row['kid_lite']:.4f}",
            flush=True,
        )


def measured(out: Path) -> list[dict[str, Any]]:
    """Return what was measured so far."""
    try:
        return [json.loads(line) for line in (out / MEASURED).read_text().splitlines()]
    except FileNotFoundError:
        return []


def curves(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Group what was measured by recipe, in the order of time."""
    named = {row["recipe"]: [] for row in rows}
    for row in sorted(rows, key=lambda row: row["cpu_minutes"]):
        named[row["recipe"]].append(row)
    return named


def minutes_to(curve: Sequence[dict[str, Any]], kid: float) -> float | None:
    """Return when a curve first reaches `kid`, by lines between its points; None if never."""
    earlier = None
    for row in curve:
        if row["kid_lite"] <= kid:
            if earlier is None:
                return row["cpu_minutes"]
            share = (earlier["kid_lite"] - kid) / (earlier["kid_lite"] - row["kid_lite"])
            return earlier["cpu_minutes"] + share * (row["cpu_minutes"] - earlier["cpu_minutes"])
        earlier = row
    return None


def report(rows: Sequence[dict[str, Any]], base: str = "today") -> str:
    """Return the table: each recipe's last numbers, and when it reached the base's last kid."""
    named = curves(rows)
    goal = named[base][-1]["kid_lite"] if base in named else None
    lines = []
    for name, curve in named.items():
        last = curve[-1]
        reached = None if goal is None else minutes_to(curve, goal)
        lines.append([
            name, f"{last['cpu_minutes']:.0f}", f"{last['kimg']:.0f}",
            f"{last['kid_lite']:.4f} ± {last['kid_lite_ci95']:.4f}", f"{last['recall_lite']:.2f}",
            "not reached" if reached is None else f"{reached:.0f}",
        ])  # fmt: skip
    head = ["recipe", "CPU minutes", "kimg", "kid_lite at the end", "recall_lite",
            f"minutes to the last kid of `{base}`"]  # fmt: skip
    return markdown_table(head, lines)


def plot(rows: Sequence[dict[str, Any]]) -> str:
    """Return the curves, kid_lite (logarithmic) against CPU minutes, as SVG."""
    width, height, left, right, top, bottom = 760, 420, 60, 170, 20, 40
    named = curves(rows)
    most = max(row["cpu_minutes"] for row in rows)
    levels = [math.log10(max(row["kid_lite"], 1e-5)) for row in rows]
    steps = 5 if max(levels) - min(levels) > 0.5 else 20  # lines for each power of ten
    low, high = math.floor(min(levels) * steps) / steps, math.ceil(max(levels) * steps) / steps

    def place(row: dict[str, Any]) -> tuple[float, float]:
        level = math.log10(max(row["kid_lite"], 1e-5))
        x = left + (width - left - right) * row["cpu_minutes"] / most
        return x, top + (height - top - bottom) * (high - level) / max(high - low, 1e-9)

    parts = []
    for step in range(round(low * steps), round(high * steps) + 1):
        y = top + (height - top - bottom) * (high - step / steps) / max(high - low, 1e-9)
        parts.append(
            f'<line x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ccc"/>'
        )
        level = f"{10 ** (step / steps):.2g}"
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{level}</text>')
    for minutes in range(0, math.floor(most) + 1, max(1, round(most / 6))):
        x = left + (width - left - right) * minutes / most
        parts.append(f'<text x="{x:.1f}" y="{height - 26}" text-anchor="middle">{minutes}</text>')
    for number, (name, curve) in enumerate(named.items()):
        colour = f"hsl({number * 360 / len(named):.0f} 70% 42%)"
        points = [place(row) for row in curve]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        y = top + 16 * (number + 1)
        parts.append(
            f'<text x="{width - right + 12}" y="{y}" fill="{colour}">{escape(name)}</text>'
        )
    parts.append(
        f'<text x="{(left + width - right) / 2}" y="{height - 10}" text-anchor="middle">'
        "CPU minutes; kid_lite, logarithmic: lower is better</text>"
    )
    style = "text{font:12px system-ui,sans-serif}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}"><style>{style}</style><rect width="100%" height="100%" fill="white"/>'
        f"{''.join(parts)}</svg>"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure, and write the table and the plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", required=True, help="folder of the runs, the table and the plot")
    add("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    add("--minutes", type=float, default=60, help="CPU minutes of each recipe; 0 trains nothing")
    add("--snapshot-minutes", type=float, default=SNAPSHOT_MINUTES, help="about, between points")
    add("--config", default=CONFIG)
    add("--data", default="toycars:20000")
    add("--fakes", type=int, default=5000, help="pictures of a measurement, and most real ones")
    add("--jobs", type=int, default=1, help="recipes at once, each on one thread")
    args = parser.parse_args(arguments)
    args.out = str(Path(args.out).resolve())
    if args.minutes > 0:
        with ThreadPoolExecutor(args.jobs) as pool:
            for _ in pool.map(lambda name: run_recipe(name, args), args.recipes):
                pass
    rows = measured(Path(args.out))
    if not rows:
        raise SystemExit(f"{args.out}: nothing measured yet")
    facts = ", ".join(f"{name} {value}" for name, value in machine.facts().items())
    text = f"{args.data}, {args.config}; {facts}\n\n{report(rows)}\n"
    write_text(Path(args.out) / "time_to_quality.md", text)
    write_text(Path(args.out) / "time_to_quality.svg", plot(rows))
    print(text)


if __name__ == "__main__":
    main()
