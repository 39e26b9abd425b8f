"""Milliseconds of a drag step by threads and spin, on an idle machine and beside busy processes.

    python benchmarks/threads.py                       # 64, 256 and 512 px; about five minutes
    python benchmarks/threads.py --sides 64 --seconds 1
    python benchmarks/threads.py --json threads.json

64 px is `vehicles64`; the others have the layers of configuration F and random weights, which cost
the same. Every column is a process of its own, measured in turns. *Ours* is started anew beside
each load, as a user would start it, and chooses for itself. The best of a row is its smallest
number; `ours / best` must stay below 1.25. For an idle machine, end other programs first.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

OURS = "ours"
COLUMNS: dict[str, dict[str, str]] = {
    "two threads": {"OMP_NUM_THREADS": "2"},
    "two, passive": {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"},
    "two, spin 1000": {"OMP_NUM_THREADS": "2", "GOMP_SPINCOUNT": "1000"},
    "one thread": {"OMP_NUM_THREADS": "1"},
    OURS: {},
}
LOADS = {"idle": 0, "beside one": 1, "beside two": 2}
# side -> channel_base of an untrained generator; None is a model of the zoo.
SIDES = {64: None, 256: 16384, 512: 32768}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--sides", type=int, nargs="+", choices=SIDES, default=[*SIDES])
    add("--loads", nargs="+", choices=LOADS, default=[*LOADS])
    add("--seconds", type=float, default=3.0, help="seconds per cell; at least one step is timed")
    add("--json", type=Path, help="file for all numbers")
    add("--serve", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


class Worker:
    """The process of a column."""

    def __init__(self, side: int, column: str) -> None:
        from framework.threads import COUNTS, SPINS

        env = {k: v for k, v in os.environ.items() if k not in (*COUNTS, *SPINS)}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", str(side)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env | COLUMNS[column],
        )  # fmt: skip
        self.facts = self.read()

    def read(self) -> Any:
        """The next answer."""
        line = self.process.stdout.readline()  # type: ignore[union-attr]
        return json.loads(line) if line else sys.exit("a column's process ended; see above")

    def measure(self, seconds: float) -> float:
        """Median milliseconds of the steps that fit into so many seconds."""
        self.process.stdin.write(f"{seconds}\n")  # type: ignore[union-attr]
        self.process.stdin.flush()  # type: ignore[union-attr]
        return self.read()

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()  # type: ignore[union-attr]
        self.process.wait()


def serve(side: int) -> None:
    """Answer every number of seconds on stdin with the milliseconds of a step, as JSON."""
    from framework.threads import shorten_spin, use_threads

    shorten_spin()
    import torch

    from framework.drag.algorithm import drag_points
    from framework.drag.settings import DragSettings
    from framework.formats import load_generator
    from framework.models.stylegan2 import Generator
    from framework.models.stylegan2.work import synthesis_gflop
    from framework.ops.memory import tune_malloc

    tune_malloc()
    torch.manual_seed(0)
    base = SIDES[side]
    generator = load_generator("vehicles64") if base is None else Generator(
        img_size=(side, side), z_dim=512, w_dim=512, channel_base=base, channel_max=512
    ).eval().requires_grad_(False)  # fmt: skip
    ws = generator.mapping(torch.randn(1, generator.z_dim))
    gflop = synthesis_gflop(generator)
    choice = use_threads(gflop)
    pull = [(side * 0.2, side * 0.5)], [(side * 0.9, side * 0.5)]
    steps = drag_points(generator, ws, *pull, settings=DragSettings(max_steps=10**6))
    next(steps), next(steps)  # the first ones load kernels
    print(json.dumps({"gflop": gflop, "threads": choice.count, "why": choice.why}), flush=True)
    for line in sys.stdin:
        times, end = [], time.perf_counter() + float(line)
        while not times or time.perf_counter() < end:
            start = time.perf_counter()
            next(steps)
            times.append(time.perf_counter() - start)
        print(json.dumps(1000 * statistics.median(times)), flush=True)


def measure(side: int, loads: list[str], seconds: float) -> list[dict[str, Any]]:
    """Measure a row for each load: milliseconds by column, and the choice of ours."""
    workers = {name: Worker(side, name) for name in COLUMNS if name != OURS}
    rows = []
    for load in loads:
        busy = [
            subprocess.Popen([sys.executable, "-c", "while True: pass"])
            for _ in range(LOADS[load])
        ]  # fmt: skip
        try:
            ours = Worker(side, OURS)
            ms = {
                name: worker.measure(seconds) for name, worker in (workers | {OURS: ours}).items()
            }
            ours.close()
        finally:
            for process in busy:
                process.kill()
        rows.append({"side": side, "load": load, "ms": ms, "ours": ours.facts})
        print(line(rows[-1]), flush=True)
    for worker in workers.values():
        worker.close()
    return rows


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    ms = row["ms"]
    cells = [f"{ms[name]:.0f}" for name in COLUMNS]
    choice = f"{row['ours']['threads']}: {row['ours']['why']}"
    best = f"{ms[OURS] / min(ms.values()):.2f}"
    return f"| {row['side']} px, {row['load']} | {' | '.join(cells)} | {best} | {choice} |"


def main() -> None:
    """Measure and print a Markdown table."""
    args = arguments()
    if args.serve:
        return serve(args.serve)
    from benchmarks.machine import facts

    machine = facts()
    print(", ".join(f"{k} {v}" for k, v in machine.items()))
    print(f"milliseconds a drag step\n\n| | {' | '.join(COLUMNS)} | ours / best | threads chosen |")
    print("|---" * (len(COLUMNS) + 3) + "|", flush=True)
    rows = [row for side in args.sides for row in measure(side, args.loads, args.seconds)]
    if args.json:
        args.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
