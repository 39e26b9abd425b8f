"""What several processes on one machine's processors gain over threads of one, and where it goes.

    python benchmarks/processes.py --processes 1 2 --threads 1 2

Trains the networks of a file of settings on toy cars, first in one process, then in several that
sum their gradients by gloo. Columns: images a second by wall time (of an idle machine only);
processor time an image, of all processes; what a step sums up; the shares of processor time and of
wall time within these sums, which is where a process waits for the slower one.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
_WARM_UP = 4  # steps


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config", default="configs/train/stylegan2/vehicles64.yaml")
    add("--processes", type=int, nargs="+", default=[1, 2])
    add("--threads", type=int, nargs="+", default=[1], help="of each process")
    add("--steps", type=int, default=32, help="batches, the first four not measured")
    add("--batch", type=int, default=16)
    add("--worker", nargs=2, help=argparse.SUPPRESS)  # number of steps, file
    return parser.parse_args()


def train(steps: int, file: str, words: list[str]) -> None:
    """Train in this process, one of WORLD_SIZE, and write down what the measured steps took."""
    import torch.distributed as dist

    from framework.cli.train import main
    from framework.training.stylegan2.module import StyleGAN2Training

    spent = {"images": 0, "steps": 0, "cpu": 0.0, "wall": 0.0}
    sums = {"sums": 0, "bytes": 0, "sum_cpu": 0.0, "sum_wall": 0.0}
    done = 0

    def clocked(function: Callable[..., Any], into: dict, names: tuple[str, str]) -> Callable:
        def call(*args: Any, **options: Any) -> Any:
            wall, cpu = time.perf_counter(), time.process_time()
            result = function(*args, **options)
            into[names[0]] += time.process_time() - cpu
            into[names[1]] += time.perf_counter() - wall
            return result

        return call

    def all_reduce(tensor: Any, *args: Any, **options: Any) -> Any:
        if done >= _WARM_UP:
            sums["sums"] += 1
            sums["bytes"] += tensor.numel() * tensor.element_size()
            return in_sum(tensor, *args, **options)
        return plain(tensor, *args, **options)

    def training_step(module: Any, *batch: Any) -> None:
        nonlocal done
        before = module.seen_images
        (in_step if done >= _WARM_UP else step)(module, *batch)
        if done >= _WARM_UP:
            spent["images"] += module.seen_images - before
            spent["steps"] += 1
        done += 1
        if done == steps:
            Path(file).write_text(json.dumps(spent | sums))

    plain, step = dist.all_reduce, StyleGAN2Training.training_step
    in_sum = clocked(plain, sums, ("sum_cpu", "sum_wall"))
    in_step = clocked(step, spent, ("cpu", "wall"))
    dist.all_reduce = all_reduce
    StyleGAN2Training.training_step = training_step  # type: ignore[method-assign]
    sys.exit(main(words))


def measure(args: argparse.Namespace, processes: int, threads: int) -> list[dict[str, float]]:
    """What each of `processes` took."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port = opened.getsockname()[1]
        words = [
            "fit", "--config", args.config, "--data.source", "toycars:64",
            "--data.batch_size", str(args.batch), "--run.dir", f"{folder}/run",
            "--run.kimg", str(args.steps * args.batch / 1000), "--run.wandb", "disabled",
            "--run.snapshot_kimg", "1000", "--trainer.accelerator", "cpu",
        ]  # fmt: skip
        if processes > 1:
            words += ["--trainer.devices", str(processes), "--trainer.strategy", "ddp"]
        jobs = []
        opened.close()
        for rank in range(processes):
            own = {"OMP_NUM_THREADS": str(threads)}
            if processes > 1:
                own |= {
                    "LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": str(processes),
                    "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                }  # fmt: skip
            worker = ("--worker", str(args.steps), f"{folder}/{rank}.json")
            command = [sys.executable, __file__, *worker, "--", *words]
            jobs.append(
                subprocess.Popen(command, env=os.environ | own, stdout=subprocess.DEVNULL, cwd=ROOT)
            )
        if any([job.wait() for job in jobs]):
            raise SystemExit("a process failed; its words are above")
        return [json.loads(Path(f"{folder}/{rank}.json").read_text()) for rank in range(processes)]


def row(processes: int, threads: int, of_each: list[dict[str, float]]) -> str:
    """A row of the table."""
    first = of_each[0]
    cpu, summing = (sum(one[name] for one in of_each) for name in ("cpu", "sum_cpu"))
    wall = max(one["wall"] for one in of_each)
    cells = [
        processes, threads, f"{first['images'] / wall:.1f}", f"{1000 * cpu / first['images']:.1f}",
        f"{first['sums'] / first['steps']:.1f}", f"{first['bytes'] / first['steps'] / 1e6:.1f}",
        f"{summing / cpu:.1%}", f"{max(one['sum_wall'] for one in of_each) / wall:.0%}",
    ]  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Measure and print a Markdown table."""
    if "--worker" in sys.argv:
        place, words = sys.argv.index("--worker"), sys.argv.index("--")
        train(int(sys.argv[place + 1]), sys.argv[place + 2], sys.argv[words + 1 :])
    args = arguments()
    print(
        "| processes | threads | images/s | CPU ms an image | sums a step | MB a step |"
        " CPU in sums | time in sums |\n|---|---|---|---|---|---|---|---|"
    )
    for processes in args.processes:
        for threads in args.threads:
            print(row(processes, threads, measure(args, processes, threads)), flush=True)


if __name__ == "__main__":
    main()
