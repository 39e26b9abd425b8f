"""One of two processes fails: all end, soon, with a reason and what was saved; rows D1-D9.

Two real processes and gloo on the CPU; the wall clock is the judge. docs/reliability.md says what
each row guarantees.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning
import pytest
import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from framework.formats.run_checkpoint import (
    checkpoint_path,
    is_whole,
    latest_whole,
    read_checkpoint,
)
from framework.media.images import save_png
from framework.training.failures import failures_in_words
from tests.training.processes import (
    TWO,
    children,
    ends,
    environment,
    finish,
    fit,
    free_port,
    logs,
    pair,
    run,
    start,
    wait_for,
)
from tests.training.tiny import tiny_data, tiny_module, train

EVERY = ("--run.tick_kimg", "0.004", "--run.checkpoint_kimg", "0.004", "--run.wandb", "disabled")
ENDLESS = ("--run.kimg", "1000", *EVERY)
SECONDS = 30
IS_GONE = "error: another process of this run is gone ("


def said(run_dir: Path, rank: int) -> str:
    log = logs(run_dir)[rank]
    return log.read_text() if log.exists() else ""


def last_line(run_dir: Path, rank: int) -> str:
    return said(run_dir, rank).splitlines()[-1]


def all_whole(run_dir: Path) -> bool:
    checkpoints = list((run_dir / "checkpoints").glob("*.ckpt"))
    return bool(checkpoints) and all(map(is_whole, checkpoints))


def under_way(run_dir: Path, both: list[BaseProcess]) -> None:
    """Wait until training is about to begin: the judge's clock does not measure imports."""
    deadline = time.monotonic() + 200
    while "training from" not in said(run_dir, 0) and both[0].exitcode is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def second_fails(failure: Callable[[], object]) -> None:
    """In the second of two processes, call `failure` before the fourth batch."""
    from framework.training.stylegan2.module import StyleGAN2Training

    step = StyleGAN2Training.training_step

    def training_step(self: Any, *batch: Any) -> None:
        if os.environ["LOCAL_RANK"] == "1" and self.seen_images == 12:
            failure()
        step(self, *batch)

    StyleGAN2Training.training_step = training_step  # type: ignore[method-assign]


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_other(victim, tmp_path):
    """D1."""
    run_dir = tmp_path / "run"
    with pair(run_dir, *ENDLESS) as both:
        wait_for(lambda: "tick 3 " in said(run_dir, 0), both[0])
        both[victim].kill()
        codes = ends(both, SECONDS)
    assert codes[victim] == -signal.SIGKILL and codes[1 - victim] == 2
    assert last_line(run_dir, 1 - victim).startswith(IS_GONE)
    assert all_whole(run_dir)


def second_divides() -> None:
    second_fails(lambda: 1 / 0)


def test_a_mistake_in_one_process_ends_both(tmp_path):
    """D2: the mistake shows where it is, the other says that it was not the one."""
    run_dir = tmp_path / "run"
    with pair(run_dir, *ENDLESS, before=second_divides) as both:
        under_way(run_dir, both)
        codes = ends(both, SECONDS)
    assert codes[0] == 2 and codes[1] not in (0, None)
    assert last_line(run_dir, 0).startswith(IS_GONE)
    assert "ZeroDivisionError" in said(run_dir, 1)
    assert "Traceback" not in said(run_dir, 0) and all_whole(run_dir)


def second_has_no_memory() -> None:
    def fail() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    second_fails(fail)


def test_lack_of_memory_in_one_process_ends_both(tmp_path):
    """D3: the one that lacks it names the flags, the other leaves with the same code."""
    run_dir = tmp_path / "run"
    with pair(run_dir, *ENDLESS, before=second_has_no_memory) as both:
        under_way(run_dir, both)
        assert ends(both, SECONDS) == [2, 2]
    assert last_line(run_dir, 1).startswith("error: out of memory: a step works on 2 pictures")
    assert last_line(run_dir, 0).startswith(IS_GONE)
    assert "Traceback" not in said(run_dir, 0) + said(run_dir, 1)
    assert all_whole(run_dir)


def second_loses_its_way() -> None:
    from framework.training.stylegan2 import losses

    if os.environ["LOCAL_RANK"] == "1":
        losses.mix_styles = lambda ws, *_: ws * torch.nan  # type: ignore[assignment]


def test_nan_in_one_process_is_the_same_error_in_both(tmp_path):
    """D3: all decide by the sum of their gradients."""
    run_dir = tmp_path / "run"
    with pair(run_dir, *ENDLESS, before=second_loses_its_way) as both:
        under_way(run_dir, both)
        assert ends(both, SECONDS) == [2, 2]
    lines = [last_line(run_dir, rank) for rank in range(2)]
    assert lines[0] == lines[1] and lines[0].startswith("error: Gmain: loss and gradients")
    assert all_whole(run_dir)


@pytest.mark.parametrize("told", [(0,), (0, 1)], ids=["first", "group"])
def test_a_signal_stops_both_with_one_checkpoint(told, tmp_path):
    """D4: SIGTERM to the first process or to the group (to the second alone: another file).

    The second ends with 0: Lightning would kill the first if a helper ended with anything else.
    """
    run_dir = tmp_path / "run"
    rarely = ("--run.kimg", "1000", "--run.tick_kimg", "0.004", "--run.wandb", "disabled")
    with pair(run_dir, *rarely) as both:
        wait_for(lambda: "tick 2 " in said(run_dir, 0), both[0])
        for rank in told:
            os.kill(both[rank].pid, signal.SIGTERM)
        assert ends(both, SECONDS) == [143, 0]
    assert len(list((run_dir / "checkpoints").glob("*.ckpt"))) == 1 and all_whole(run_dir)
    assert "the same command goes on" in said(run_dir, 0)
    assert "Traceback" not in said(run_dir, 0) + said(run_dir, 1)


FORKED = (
    "--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp_fork",
)  # fmt: skip


@pytest.mark.parametrize("told", ["parent", "group"])
def test_a_process_that_only_waits_passes_a_signal_on(told, tmp_path):
    """D4: where the trainer forks or spawns all who train. Ctrl-C reaches them twice, then."""
    run_dir, log = tmp_path / "run", tmp_path / "log"
    args = fit(run_dir, *FORKED, "--run.kimg", "1000", "--run.tick_kimg", "0.004")
    parent = start(args, log)
    forked: list[int] = []
    try:
        wait_for(lambda: log.exists() and "tick 2 " in log.read_text(), parent)
        assert parent.pid is not None
        forked = children(parent.pid)
        for pid in [*(forked if told == "group" else []), parent.pid]:
            os.kill(pid, signal.SIGINT)
        assert ends([parent], SECONDS) == [130]
        assert len(forked) == 2 and not any(Path(f"/proc/{pid}").exists() for pid in forked)
    finally:
        for pid in (*forked, parent.pid or 0):
            if pid and Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGKILL)
    assert len(list((run_dir / "checkpoints").glob("*.ckpt"))) == 1 and all_whole(run_dir)
    assert "the same command goes on" in log.read_text() and "Traceback" not in log.read_text()


def all_lack_memory() -> None:
    from framework.training.stylegan2.module import StyleGAN2Training

    def training_step(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    StyleGAN2Training.training_step = training_step  # type: ignore[method-assign]


def test_what_forked_processes_say_is_one_line_too(tmp_path):
    """D3."""
    log = tmp_path / "log"
    args = fit(tmp_path / "run", *FORKED, *ENDLESS)
    assert finish(start(args, log, before=all_lack_memory), 60) == 2
    assert log.read_text().splitlines()[-1].startswith("error: out of memory: a step works on 2")
    assert "Traceback" not in log.read_text()


# ------------------------------------------------------------------------- equal steps, equal state


class Keep(lightning.Callback):
    """Keeps what a process has at the end, and how many batches it took."""

    def __init__(self, out: str) -> None:
        self.out = out

    def on_train_end(self, trainer, pl_module) -> None:
        state = {
            **pl_module.state_dict(),
            "batches": torch.tensor(trainer.fit_loop.total_batch_idx),
        }
        torch.save(state, f"{self.out}-{trainer.global_rank}.pt")


def train_together(out: str, source: str, rank: int, port: str) -> None:
    """Twenty batches of 8, of 3 pictures, with everything that a training remembers."""
    os.environ.update(environment(rank, port))
    torch.set_num_threads(1)
    module = tiny_module(
        micro_batch=4, augment="ada", ada_p=0.5, ada_kimg=0.5, pl_weight=2.0, lecam_weight=0.3
    )
    data = tiny_data(batch_size=8, source=source)
    train(module, 160, data, (Keep(out),), strategy="ddp", devices=2)


def test_three_pictures_keep_two_processes_in_step(tmp_path):
    """D5, D9, H4: no share is uneven; after 20 batches p, path length and all else are equal."""
    rng = torch.Generator().manual_seed(0)
    for i in range(3):
        pixels = torch.randint(256, (16, 16, 3), dtype=torch.uint8, generator=rng)
        (tmp_path / "photos").mkdir(exist_ok=True)
        save_png(tmp_path / "photos" / f"{i}.png", pixels.numpy())
    port, out = free_port(), str(tmp_path / "state")
    both = [run(train_together, out, str(tmp_path / "photos"), rank, port) for rank in range(2)]
    try:
        assert ends(both, 90) == [0, 0]
    finally:
        for process in both:
            process.kill()
    first, second = (torch.load(f"{out}-{rank}.pt", weights_only=True) for rank in range(2))
    torch.testing.assert_close(second, first, rtol=0, atol=0)
    assert first["batches"] == 19
    assert abs(first["augmenter.p"] - 0.5) > 0.1 and first["path_length.mean.value"] > 0


def keep_what_was_loaded() -> None:
    """Each process saves its state, optimizers included, when training is about to start."""
    from framework.training.callbacks import StopAtKimg

    begin = StopAtKimg.on_train_start

    def on_train_start(self: Any, trainer: Any, pl_module: Any) -> None:
        optimizers = [optimizer.state_dict() for optimizer in trainer.optimizers]
        state = {"state_dict": pl_module.state_dict(), "optimizer_states": optimizers}
        torch.save(state, f"{os.environ['KEEP']}-{trainer.global_rank}.pt")
        begin(self, trainer, pl_module)

    StopAtKimg.on_train_start = on_train_start  # type: ignore[method-assign]


def test_two_processes_go_on_from_what_one_saved(tmp_path, monkeypatch):
    """D8: both begin with all of it, bit for bit (from two to one: another file)."""
    run_dir, kept = tmp_path / "run", tmp_path / "kept"
    args = fit(run_dir, "--model.micro_batch", "2", "--run.kimg", "0.012", *EVERY)
    assert finish(start(args, tmp_path / "log")) == 0
    saved = read_checkpoint(checkpoint_path(run_dir, 12))
    more = ("--run.kimg", "0.02", *EVERY)
    with pair(run_dir, *more, before=keep_what_was_loaded, env={"KEEP": str(kept)}) as both:
        assert ends(both, 60) == [0, 0]
    for rank in range(2):
        loaded = torch.load(f"{kept}-{rank}.pt", weights_only=True)
        for part, value in loaded.items():
            torch.testing.assert_close(value, saved[part], rtol=0, atol=0)
    assert latest_whole(run_dir) == checkpoint_path(run_dir, 20)


# --------------------------------------------------------------------------------- the connection


def second_dozes() -> None:
    second_fails(lambda: time.sleep(8))


def test_a_process_that_does_not_answer_is_told(tmp_path):
    """D6: after the time that the strategy was given."""
    run_dir = tmp_path / "run"
    patience = ("--trainer.strategy", "DDPStrategy", "--trainer.strategy.timeout", "0:00:03")
    with pair(run_dir, *ENDLESS, *patience, before=second_dozes) as both:
        under_way(run_dir, both)
        assert ends(both, SECONDS) == [2, 2]
    line = last_line(run_dir, 0)
    assert line.startswith("error: another process of this run did not answer in time (")
    assert "3000ms" in line and "Traceback" not in said(run_dir, 0)
    assert all_whole(run_dir)


def test_a_port_that_is_taken_is_named(tmp_path):
    """D7."""
    run_dir = tmp_path / "run"
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with pair(run_dir, *ENDLESS, port=port) as both:
            under_way(run_dir, both)
            assert ends(both[:1], SECONDS) == [2]
    assert last_line(run_dir, 0).startswith(
        f"error: MASTER_PORT {port} is taken by another program"
    )
    assert "Traceback" not in said(run_dir, 0)


def test_helpers_do_not_outlive_the_process_that_started_them():
    """D2, D7: one that waits for it would wait for half an hour."""
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    launcher = _SubprocessScriptLauncher(LightningEnvironment(), 2, 1)
    launcher.procs.append(helper)
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(launcher=launcher))
    try:
        with pytest.raises(ZeroDivisionError), failures_in_words(trainer, None, None):
            raise ZeroDivisionError
        assert helper.wait(SECONDS) == -signal.SIGKILL
    finally:
        helper.kill()


@pytest.mark.slow
def test_helpers_end_with_a_job_that_cannot_begin(tmp_path):
    """D7: as people start it, the first process starting the second."""
    args = fit(tmp_path / "run", *TWO, *ENDLESS)
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        env = {**os.environ, "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
        first = subprocess.Popen(
            [sys.executable, "train.py", *args], env=env, stderr=subprocess.PIPE, text=True
        )
        try:
            wait_until(lambda: children(first.pid), 200)
            (helper,) = children(first.pid)
            error = first.communicate(timeout=200)[1]
        finally:
            first.kill()
    assert first.returncode == 2 and f"MASTER_PORT {port} is taken" in error.splitlines()[-1]
    wait_until(lambda: not Path(f"/proc/{helper}").exists(), SECONDS)


def wait_until(condition: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_jobs_on_one_machine_find_ports_of_their_own(tmp_path):
    """D7: as long as nobody sets MASTER_PORT."""
    jobs = []
    for name in ("one", "two"):
        args = (*FORKED, "--run.kimg", "0.008", *EVERY)
        jobs.append(start(fit(tmp_path / name, *args), tmp_path / f"{name}.log"))
    try:
        assert ends(jobs, 120) == [0, 0]
    finally:
        for job in jobs:
            job.kill()
    for name in ("one", "two"):
        assert all_whole(tmp_path / name)
