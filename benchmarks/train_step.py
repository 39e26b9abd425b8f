"""Images per second of StyleGAN2 training steps, by phase: the reference formulation and ours.

    python benchmarks/train_step.py                       # the shipped 64 px configuration
    python benchmarks/train_step.py --threads 1 2 --rounds 5 --variants ours unfused grouped
    python benchmarks/train_step.py --img-size 32 --batch 8 --variants ours compile
    python benchmarks/train_step.py --clock cpu --threads 1   # on a machine that is not idle
    python benchmarks/train_step.py --device cuda --img-size 256 --channel-base 16384

The reference formulation computes modulated weights for each sample and convolves them as groups,
and applies noise, bias, leaky ReLU and gain one after another, in float32 and contiguous tensors.
Ours scales activations around one shared convolution, folds what it can into weights, keeps
channels last and freed memory, and uses the device's low precision where it has one.
`published` is what the field runs on GPUs: scaled activations, float16 in the four largest blocks,
compiled operations, contiguous tensors.

Every variant has a process of its own (the allocator's settings are per process); all are started
and warmed up first, then measured in turns, so that a machine that slows down slows down all of
them. Medians over the rounds. A variant that cannot run here is left out with a line.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

REFERENCE: dict[str, Any] = {
    "plain": True, "grouped": True, "channels_last": False, "malloc": False, "low": "none",
    "ops": "torch", "compile": False,
}  # fmt: skip
OURS: dict[str, Any] = {
    "plain": False, "grouped": False, "channels_last": True, "malloc": True, "low": "auto",
    "ops": "auto", "compile": False,
}  # fmt: skip
VARIANTS = {
    "reference": REFERENCE,
    "published": REFERENCE | {"grouped": False, "low": "float16", "ops": "compiled"},
    "ours": OURS,
    # One choice is different.
    "torch-ops": OURS | {"ops": "torch"},
    "compiled-ops": OURS | {"ops": "compiled"},
    "compile": OURS | {"compile": True},
    "float32": OURS | {"low": "none"},
    "bfloat16": OURS | {"low": "bfloat16"},
    "float16": OURS | {"low": "float16"},
    # One change is undone.
    "unfused": OURS | {"plain": True},
    "grouped": OURS | {"grouped": True},
    "contiguous": OURS | {"channels_last": False},
    "plain-malloc": OURS | {"malloc": False},
}
USUAL = {
    "cpu": ["reference", "ours", "torch-ops", "compiled-ops", "bfloat16"],
    "cuda": [
        "reference", "published", "ours", "torch-ops", "compiled-ops", "compile", "float32",
        "bfloat16",
    ],
}  # fmt: skip
GIGA = 1e9


def arguments() -> argparse.Namespace:
    """The command line; defaults are those of configs/train/stylegan2/toycars64.yaml."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--img-size", type=int, default=64, help="side of the pictures in pixels")
    add("--latent", type=int, default=128, help="length of z and w")
    add("--mapping-layers", type=int, default=2)
    add("--channel-base", type=int, default=1536, help="channel base of the generator")
    add("--discriminator-channel-base", type=int, help="by default two thirds of the generator's")
    add("--channel-max", type=int, default=96)
    add("--batch", type=int, default=16)
    add("--pl-weight", type=float, default=0.0, help="above 0: with path length regularisation")
    add("--threads", type=int, nargs="+", default=[os.cpu_count() or 1])
    add("--rounds", type=int, default=3)
    add("--steps", type=int, default=2, help="steps of each phase in a round")
    add("--variants", nargs="+", choices=VARIANTS, help="by default the usual ones of the device")
    add("--device", default="cpu")
    add("--clock", choices=("wall", "cpu"), default="wall", help="cpu: of this process's threads")
    add("--json", type=Path, help="file for all numbers")
    args = parser.parse_args()
    if args.discriminator_channel_base is None:
        args.discriminator_channel_base = args.channel_base * 2 // 3
    return args


class Worker:
    """A variant's process."""

    def __init__(self, args: argparse.Namespace, variant: str, threads: int) -> None:
        settings = vars(args) | {"threads": threads, "json": None}
        script = Path(__file__).with_name("step_worker.py")
        command = [sys.executable, script, json.dumps(settings), json.dumps(VARIANTS[variant])]
        env = os.environ | {"OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )

    def read(self) -> dict[str, Any]:
        """The next answer."""
        line = self.process.stdout.readline()  # type: ignore[union-attr]
        return json.loads(line) if line else {"left out": "its process ended; see above"}

    def ask(self, what: str) -> dict[str, Any]:
        """Send a command and wait for the answer."""
        self.process.stdin.write(what + "\n")  # type: ignore[union-attr]
        self.process.stdin.flush()  # type: ignore[union-attr]
        answer = self.read()
        return sys.exit("a variant's process ended; see above") if "left out" in answer else answer

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()  # type: ignore[union-attr]
        self.process.wait()


def start(
    args: argparse.Namespace, threads: int
) -> tuple[dict[str, Worker], dict[str, dict[str, Any]]]:
    """Start and warm up the variants that can run here; return their processes and facts."""
    names = args.variants or USUAL["cpu" if args.device == "cpu" else "cuda"]
    workers = {name: Worker(args, name, threads) for name in names}
    facts = {name: worker.read() for name, worker in workers.items()}
    for name in names:
        if reason := facts[name].get("left out"):
            print(f"{name}: left out, {reason}")
            workers.pop(name).close()
            del facts[name]
    if not workers:
        sys.exit("no variant runs here")
    return workers, facts


def per_image(times: dict[str, float], intervals: dict[str, int], batch: int) -> dict[str, float]:
    """Images per second of each phase and of the whole step, each phase once in its interval."""
    whole = sum(times[phase] / interval for phase, interval in intervals.items())
    return {phase: batch / times[phase] for phase in intervals} | {"step": batch / whole}


def compare(args: argparse.Namespace, threads: int) -> list[dict[str, Any]]:
    """Measure all variants with one number of threads; print and return a row for each."""
    workers, facts = start(args, threads)
    one, intervals = next(iter(workers.values())), next(iter(facts.values()))["intervals"]
    dtypes = sorted({fact["low"] for fact in facts.values()})
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
    peaks: dict[str, list[float]] = {dtype: [] for dtype in dtypes}
    for _ in range(args.rounds):
        for name, process in workers.items():
            rounds[name].append(per_image(process.ask("go"), intervals, args.batch))
        for dtype in dtypes:
            peaks[dtype].append(one.ask(f"peak {dtype}")["peak"])
    memory = {name: process.ask("memory")["memory"] for name, process in workers.items()}
    flops = one.ask("flops")
    for process in workers.values():
        process.close()
    peak = {dtype: statistics.median(values) for dtype, values in peaks.items()}
    needed = sum(flops[p] / interval for p, interval in intervals.items()) / args.batch
    rows = []
    for name, speeds in rounds.items():
        speed = {c: statistics.median(s[c] for s in speeds) for c in [*intervals, "step"]}
        low = facts[name]["low"]
        first = rows[0]["images_per_sec"] if rows else speed
        rows.append({
            "variant": name, "threads": threads, "low_precision": low, "images_per_sec": speed,
            "memory_gb": memory[name], "of_peak": needed * speed["step"] / peak[low],
            "factor": speed["step"] / first["step"], "compile": VARIANTS[name]["compile"],
            "first_sec": facts[name]["first_sec"],
        })  # fmt: skip
    report(args, rows, peak, needed, intervals)
    return rows


def report(
    args: argparse.Namespace,
    rows: list[dict[str, Any]],
    peak: dict[str, float],
    needed: float,
    intervals: dict[str, int],
) -> None:
    """Print a Markdown table: images per second, memory, share of the peak, and factor."""
    print(f"\n{rows[0]['threads']} threads, {args.clock} time, {args.rounds} rounds")
    reached = ", ".join(f"{flops / GIGA:.1f} GFLOP/s in {dtype}" for dtype, flops in peak.items())
    print(f"one large convolution: {reached}")
    lazy = ", ".join(f"{phase} every {n} batches" for phase, n in intervals.items() if n > 1)
    print(f"a step: {needed / GIGA:.2f} GFLOP an image; {lazy}\n")
    columns = [*intervals, "step"]
    print(f"| images/s | large blocks | {' | '.join(columns)} | memory, GB | of peak | factor |")
    print("|---" * (len(columns) + 5) + "|")
    for row in rows:
        speeds = " | ".join(f"{row['images_per_sec'][c]:.1f}" for c in columns)
        print(
            f"| {row['variant']} | {row['low_precision']} | {speeds} | {row['memory_gb']:.2f} "
            f"| {row['of_peak']:.0%} | {row['factor']:.2f}× |"
        )
    for row in rows:
        if row["compile"]:
            cold = " + ".join(f"{seconds:.0f} s {p}" for p, seconds in row["first_sec"].items())
            print(f"\n{row['variant']}: the first steps compile and take {cold}")


def main() -> None:
    """Measure and print."""
    args = arguments()
    from benchmarks.machine import facts

    machine = facts(args.device)
    print(", ".join(f"{k} {v}" for k, v in machine.items()), flush=True)
    rows: list[dict[str, Any]] = []
    for threads in args.threads if args.device == "cpu" else args.threads[:1]:
        rows += compare(args, threads)
    if args.json:
        setting = {k: v for k, v in vars(args).items() if k != "json"}
        args.json.write_text(json.dumps({"machine": machine, "settings": setting, "rows": rows}))


if __name__ == "__main__":
    main()
