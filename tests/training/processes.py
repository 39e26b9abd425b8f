"""Training in processes of their own, forked from one that has imported everything.

An interpreter that imports torch and Lightning takes seconds; a fork takes none, and can be killed
like any other process.
"""

import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

CONFIG = Path("configs/train/stylegan2/debug_cpu.yaml").resolve()
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["framework.cli.train", "framework.training.stylegan2.module", "wandb", "tests.training.tiny"]
)


def start(
    args: list[str],
    log: Path,
    env: dict[str, str] | None = None,
    before: Callable[[], object] | None = None,
) -> BaseProcess:
    """Start `python train.py ARGS`, its output going to `log`.

    Args:
        args: The command line.
        log: Takes stdout and stderr, appended.
        env: Added to the environment.
        before: Called first in the new process; a function of a module.
    """
    return run(_train, args, str(log), env or {}, before)


def run(target: Callable[..., object], *args: object) -> BaseProcess:
    """Start any function of a module in a process of its own."""
    # Not a daemon: a training may have processes of its own.
    process = _SERVER.Process(target=target, args=args, daemon=False)
    process.start()
    return process


def finish(process: BaseProcess, seconds: float = 200) -> int:
    """Wait for the end; returns the exit code, negative for a signal."""
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"still running after {seconds} s")
    return process.exitcode


def wait_for(condition: Callable[[], object], process: BaseProcess, seconds: float = 200) -> None:
    """Wait until `condition` holds while `process` is running."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.exitcode is None, f"ended with {process.exitcode}"
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.002)


def _train(
    args: list[str], log: str, env: dict[str, str], before: Callable[[], object] | None
) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.pop("WANDB_SERVICE", None)  # of an earlier test in the server's parent, gone by now
    os.environ.update(env)
    sys.argv = ["train.py", *args]

    import torch

    from framework.cli.train import main

    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # this one began in a fork server
    if before is not None:
        before()
    sys.exit(main())


def fit(run_dir: Path, *extra: str) -> list[str]:
    """Command line of a tiny training in `run_dir`."""
    return ["fit", "--config", str(CONFIG), "--run.dir", str(run_dir), *extra]


def free_port() -> str:
    """A port that nobody listens at."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return str(opened.getsockname()[1])


def environment(rank: int, port: str) -> dict[str, str]:
    """What a launcher tells each of two processes."""
    return {
        "LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
    }  # fmt: skip


TWO = (
    "--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp",
    "--model.micro_batch", "2",
)  # fmt: skip


@contextmanager
def pair(
    run_dir: Path,
    *extra: str,
    before: Callable[[], object] | None = None,
    port: str | None = None,
    env: dict[str, str] | None = None,
) -> Iterator[list[BaseProcess]]:
    """Two processes of one `train.py fit`, as a launcher starts them; killed on the way out.

    Args:
        run_dir: The run's folder; beside it lie the logs that `logs` names.
        extra: More of the command line.
        before: Called first in both processes, which know themselves by `LOCAL_RANK`.
        port: Where they meet; a free one if None.
        env: Added to the environment of both.
    """
    port = port or free_port()
    args = fit(run_dir, *TWO, *extra)
    made = [
        start(args, log, environment(rank, port) | (env or {}), before)
        for rank, log in enumerate(logs(run_dir))
    ]
    try:
        yield made
    finally:
        for process in made:
            process.kill()
            process.join(30)


def logs(run_dir: Path) -> list[Path]:
    """What each of a pair has printed."""
    return [run_dir.with_suffix(f".log{rank}") for rank in range(2)]


def ends(made: Sequence[BaseProcess], seconds: float = 200) -> list[int]:
    """Exit codes of processes that must all end within `seconds`."""
    deadline = time.monotonic() + seconds
    for process in made:
        process.join(max(0.0, deadline - time.monotonic()))
    codes = [process.exitcode for process in made]
    assert None not in codes, f"still running after {seconds} s: {codes}"
    return [code for code in codes if code is not None]


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file below a folder, but for the lock."""
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def children(pid: int) -> list[int]:
    """Processes that a process has started and that are still there."""
    try:
        return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    except OSError:
        return []
