"""Training in processes of their own, forked from one that has imported everything.

An interpreter that imports torch and Lightning takes seconds; a fork takes none, and can be killed
like any other process.
"""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

CONFIG = Path("configs/stylegan2/debug_cpu.yaml").resolve()
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["framework.cli.train", "framework.models.stylegan2.module", "wandb", "tests.training.tiny"]
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
    os.environ.update(env)
    sys.argv = ["train.py", *args]

    import torch

    from framework.cli.train import main

    torch.set_num_threads(1)
    if before is not None:
        before()
    sys.exit(main())


def fit(run_dir: Path, *extra: str) -> list[str]:
    """Command line of a tiny training in `run_dir`."""
    return ["fit", "--config", str(CONFIG), "--run.dir", str(run_dir), *extra]
