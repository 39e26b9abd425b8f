"""A run that was stopped and gone on with is the run that was never stopped, bit for bit."""

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from framework.formats.run_checkpoint import (
    checkpoint_path,
    is_whole,
    latest_whole,
    read_checkpoint,
)
from framework.training.callbacks import RunCheckpoints, StopSignals
from tests.training import processes
from tests.training.processes import finish, start, wait_for

MODEL = (
    "--model.regularization.pl_weight", "2", "--model.regularization.pl_interval", "3",
    "--model.regularization.lecam_weight", "0.3",
    "--model.augment", "ada", "--model.augmentation.ada_p", "0.3",
    "--model.augmentation.ada_kimg", "0.1",
)  # fmt: skip
EVERY_TWO = ("--run.checkpoint_kimg", "0.008", "--run.keep_checkpoints", "3")
ENDLESS = ("--run.kimg", "1000")


def fit(run_dir: Path, *extra: str) -> list[str]:
    """Command line of a tiny training that remembers all that a training can."""
    return processes.fit(run_dir, *MODEL, *extra)


def differing(a: Any, b: Any, path: str = "") -> list[str]:
    """Where two nested structures of tensors and plain values differ."""
    if isinstance(a, torch.Tensor):
        return [] if torch.equal(a, b) else [path]
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        return [found for key in a for found in differing(a[key], b[key], f"{path}/{key}")]
    if isinstance(a, list | tuple):
        assert len(a) == len(b), path
        pairs = enumerate(zip(a, b, strict=True))
        return [found for i, (x, y) in pairs for found in differing(x, y, f"{path}/{i}")]
    return [] if a == b else [path]


def state(run_dir: Path, images: int) -> dict[str, Any]:
    """What a run had become after so many images, without Lightning's loops."""
    held = read_checkpoint(checkpoint_path(run_dir, images))
    kept = ("state_dict", "optimizer_states", "dragline", "global_step")
    return {name: held[name] for name in kept}


def ticks(run_dir: Path) -> list[dict[str, Any]]:
    """Statistics of each tick, without times and memory."""
    lines = (run_dir / "stats.jsonl").read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if k.split("/")[0] in ("Loss", "Progress")}
        for line in lines
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve batches of four pictures without a stop; R1 at batches 0, 4 and 8."""
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    args = ("--run.kimg", "0.048", "--run.checkpoint_kimg", "0.004", "--run.keep_checkpoints", "99")
    args += ("--run.tick_kimg", "0.004")
    assert finish(start(fit(run_dir, *args), run_dir.with_suffix(".log"))) == 0
    return run_dir


# H2
def test_marks_are_met_exactly_and_the_end_is_one(whole):
    names = [path.name for path in sorted((whole / "checkpoints").glob("*.ckpt"))]
    assert names == [f"run-{images:011d}.ckpt" for images in range(4, 49, 4)]
    assert all(is_whole(path) for path in (whole / "checkpoints").glob("*.ckpt"))
    kimgs = [tick["Progress/kimg"]["mean"] for tick in ticks(whole)]
    assert kimgs == [images / 1000 for images in range(4, 49, 4)]
    assert [tick["Progress/tick"]["mean"] for tick in ticks(whole)] == list(range(1, 13))
    held = state(whole, 48)
    assert held["global_step"] == 12 and held["dragline"]["seen_images"] == 48
    assert {path.name for path in whole.iterdir()} == {
        ".lock", "config.yaml", "stats.jsonl", "log.txt", "checkpoints", "reals.png",
        "fakes_init.png", "fakes000000-048.png", "network-000000-048", "run.json",
    }  # fmt: skip


def test_training_changes_everything_it_should(whole):
    """Or the comparisons below would compare nothing."""
    first, last = state(whole, 4), state(whole, 48)
    changed = set(differing(first["state_dict"], last["state_dict"]))
    fixed = {f"/{n}" for n in first["state_dict"] if n.endswith(("noise_const", "resample_filter"))}
    assert changed == {f"/{name}" for name in first["state_dict"]} - fixed
    assert differing(first["optimizer_states"], last["optimizer_states"])


@pytest.mark.parametrize("stops", [(16,), (20, 36)], ids=["before-a-penalty", "between-penalties"])
# A5, H10, H12
def test_the_same_command_again_is_bit_equal(whole, tmp_path, stops):
    run_dir = tmp_path / "run"
    for images in (*stops, 48):
        args = ("--run.kimg", str(images / 1000), "--run.tick_kimg", "0.004")
        assert finish(start(fit(run_dir, *args), tmp_path / "log")) == 0
    assert differing(state(run_dir, 48), state(whole, 48)) == []
    assert ticks(run_dir) == ticks(whole)
    said = (tmp_path / "log").read_text()
    assert f"training from {stops[-1] / 1000:g} to 0.048 kimg" in said


def test_a_run_of_before_settings_had_groups_goes_on_by_its_own_config(whole, tmp_path):
    run_dir = tmp_path / "run"
    args = ("--run.kimg", "0.016", "--run.tick_kimg", "0.004")
    assert finish(start(fit(run_dir, *args), tmp_path / "log")) == 0
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    given = config["model"]["init_args"]
    groups = [name for name, value in given.items() if isinstance(value, dict)]
    flat = {name: value for group in groups for name, value in given.pop(group).items()}
    config["model"]["init_args"] = {**given, **flat}
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config))
    command = ["fit", "--config", str(run_dir / "config.yaml"), "--run.kimg", "0.048"]
    assert finish(start(command, tmp_path / "log")) == 0
    assert len(flat) > 20 and differing(state(run_dir, 48), state(whole, 48)) == []
    assert ticks(run_dir) == ticks(whole)


def test_a_finished_run_has_nothing_to_do(whole, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*.ckpt")}
    assert finish(start(fit(whole, "--run.kimg", "0.048"), tmp_path / "log")) == 0
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*.ckpt")} == before
    assert len(ticks(whole)) == 12


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"]
)
# A3, A4
def test_a_signal_saves_and_ends_with_its_code(whole, tmp_path, number, code):
    run_dir, log = tmp_path / "run", tmp_path / "log"
    process = start(fit(run_dir, *ENDLESS, "--run.tick_kimg", "0.004"), log)
    wait_for(lambda: log.exists() and "tick 1 " in log.read_text(), process)
    assert process.pid is not None
    os.kill(process.pid, number)
    assert finish(process) == code
    said = log.read_text()
    assert "the same command goes on" in said and "Traceback" not in said and "Error" not in said
    saved = latest_whole(run_dir)
    assert saved is not None and len(list((run_dir / "checkpoints").glob("*.ckpt"))) == 1
    images = int(saved.stem.split("-")[1])
    (model,) = run_dir.glob("network-*")  # D9f: of what was reached, and it is said where
    assert f"the model so far is {model}" in said and model.name.endswith(f"{images % 1000:03d}")
    assert len(ticks(run_dir)) == images // 4
    if images <= 48:
        assert differing(state(run_dir, images), state(whole, images)) == []


def test_a_signal_before_the_first_batch_ends_at_once(tmp_path):
    log = tmp_path / "log"
    process = start(fit(tmp_path / "run", *ENDLESS), log, before=signal_when_setting_up)
    assert finish(process) == 143
    assert "Traceback" not in log.read_text()
    assert not (tmp_path / "run" / "checkpoints").exists()


def signal_when_setting_up() -> None:
    from framework.training.snapshots import Snapshots

    Snapshots.setup = lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM)  # type: ignore


def two_signals_in_one_batch() -> None:
    signals = StopSignals(RunCheckpoints("unused", 1, 1, 1))
    with signals.handling():
        signals.on_train_start(None, None)  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("still here")


# A3
def test_a_second_signal_ends_at_once():
    assert finish(processes.run(two_signals_in_one_batch)) == 130


def sessions_on_demand(asked: Connection) -> None:
    """Let the command begin its work in a fork, each time that it is asked to.

    The command line is read once and not twenty times, which would take half of the time.
    """
    from framework.cli.train import TrainCLI

    fit = TrainCLI.fit

    def serve(self: Any, **kwargs: Any) -> None:
        while asked.recv():
            pid = os.fork()
            if not pid:
                return fit(self, **kwargs)
            asked.send(pid)
            asked.send(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    TrainCLI.fit = serve  # type: ignore[method-assign]


@pytest.fixture
def session(tmp_path) -> Iterator[Callable[..., Any]]:
    """A training of which nothing is left after the `with`: `kill -9` has ended it by then."""
    asking, asked = multiprocessing.Pipe()
    (tmp_path / "elsewhere").mkdir()
    env, before = {"TMPDIR": str(tmp_path / "elsewhere")}, partial(sessions_on_demand, asked)
    args = fit(tmp_path / "run", *ENDLESS, *EVERY_TWO)
    process = start(args, tmp_path / "log", env, before)

    @contextmanager
    def killed() -> Iterator[BaseProcess]:
        asking.send(True)
        pid = asking.recv()
        try:
            yield process
        finally:
            os.kill(pid, signal.SIGKILL)
            assert asking.recv() == -signal.SIGKILL

    yield killed
    asking.send(False)
    assert finish(process) == 0


# A1, A2
def test_twenty_kills_leave_only_whole_checkpoints(whole, session, tmp_path):
    """Half of them while a checkpoint is being written, half at any moment after one was."""
    run_dir, log, elsewhere = tmp_path / "run", tmp_path / "log", tmp_path / "elsewhere"
    checkpoints, rng, caught = run_dir / "checkpoints", random.Random(0), 0

    def files(pattern: str) -> set[str]:
        return {path.name for path in checkpoints.glob(pattern)}

    for attempt in range(20):
        old, rests = files("run-*.ckpt"), files(".*.part*")
        with session() as process:
            if attempt % 2:
                wait_for(lambda: files(".*.part.ckpt") - rests, process)  # noqa: B023
            else:
                wait_for(lambda: files("run-*.ckpt") - old, process)  # noqa: B023
                time.sleep(rng.uniform(0, 0.15))
        caught += bool(files(".*.part.ckpt"))
        assert all(is_whole(checkpoints / name) for name in files("run-*.ckpt"))
        assert not list(elsewhere.rglob("*.ckpt"))
    assert caught >= 5  # really in the middle of writing
    last = latest_whole(run_dir)
    assert last is not None
    assert read_checkpoint(last)["dragline"]["seen_images"] == int(last.stem.split("-")[1])
    end = max(int(last.stem.split("-")[1]), 48) + 8
    for folder in (run_dir, tmp_path / "again"):
        args = fit(folder, "--run.kimg", str(end / 1000), *EVERY_TWO)
        assert finish(start(args, log)) == 0
    assert differing(state(run_dir, end), state(tmp_path / "again", end)) == []
    assert not files(".*.part*")
