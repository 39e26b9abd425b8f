"""Several processes train as one does: gloo on the CPU, real processes."""

import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch

from framework.formats.run_checkpoint import checkpoint_path, latest_whole, read_checkpoint
from framework.media.images import save_png
from tests.training.processes import environment, finish, fit, free_port, run, start, wait_for
from tests.training.tiny import tiny_data, tiny_module, train

IMAGES, BATCH = 48, 8  # six batches, lazy R1 at the first and the fifth
VARIANTS: dict[str, dict[str, Any]] = {
    "classic": {"augment": "color,translation,cutout", "pl_weight": 2.0, "pl_interval": 3},
    "adaptive": {
        "loss": "relativistic", "r1_interval": None, "lecam_weight": 0.3,
        "augment": "ada", "ada_p": 0.5, "ada_kimg": 0.2, "transition_kimg": (0.01, 0.03),
    },
    "wasserstein": {"loss": "wgan-gp", "lecam_weight": 0.1, "augment": "ada", "ada_kimg": 0.5},
}  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of six pictures, in folders."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for i in range(12):
        path = folder / ("bright", "dark")[i % 2] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        save_png(path, rng.integers(0, 128, (16, 16, 3), dtype=np.uint8) + 127 * (i % 2 == 0))
    return folder


class Keep(lightning.Callback):
    """Keeps what each process has at the end."""

    def __init__(self, out: str) -> None:
        self.out, self.seeds = out, []

    def on_train_start(self, trainer, pl_module) -> None:
        compute = pl_module._outcome

        def outcome(phase: Any, micro: Any, rng: torch.Generator) -> Any:
            self.seeds.append(rng.initial_seed())
            return compute(phase, micro, rng)

        pl_module._outcome = outcome

    def on_train_end(self, trainer, pl_module) -> None:
        state = pl_module.state_dict()
        state["moments"] = torch.cat(
            [s["exp_avg_sq"].flatten() for o in trainer.optimizers for s in o.state.values()]
        )
        torch.save((state, self.seeds), f"{self.out}-{trainer.global_rank}.pt")


def train_and_save(
    out: str, source: str, variant: str, env: dict[str, str], trainer: dict[str, Any]
) -> None:
    """Train in this process; it may be one of two, or start others itself."""
    os.environ.update(env)
    torch.set_num_threads(1)
    module = tiny_module(micro_batch=2, mbstd_group_size=2, **VARIANTS[variant])
    data = tiny_data(batch_size=BATCH, source=source, labels="folders")
    train(module, IMAGES, data, callbacks=(Keep(out),), **trainer)


def kept(out: Path, rank: int = 0) -> tuple[dict[str, torch.Tensor], list[int]]:
    """State at the end of a process, and what its random numbers began with."""
    return torch.load(f"{out}-{rank}.pt", weights_only=True)


@pytest.fixture(scope="module")
def alone(pictures, tmp_path_factory) -> Callable[[str], tuple[dict[str, torch.Tensor], list[int]]]:
    """What one process comes to, in four micro-batches a batch."""

    @functools.cache
    def train_alone(variant: str) -> tuple[dict[str, torch.Tensor], list[int]]:
        out = tmp_path_factory.mktemp("alone") / "state"
        assert finish(run(train_and_save, str(out), str(pictures), variant, {}, {})) == 0
        return kept(out)

    return train_alone


def check_pair(out: Path, state: dict[str, torch.Tensor], seeds: list[int]) -> None:
    (first, of_first), (second, of_second) = (kept(out, rank) for rank in range(2))
    assert all(torch.equal(first[name], second[name]) for name in state)
    for name, value in state.items():
        torch.testing.assert_close(first[name], value, atol=2e-5, rtol=1e-4, msg=name)
    assert sorted(of_first + of_second) == sorted(seeds)
    assert not set(of_first) & set(of_second) and len(set(seeds)) == len(seeds)


@pytest.mark.parametrize(
    ("variant", "strategy"), [("classic", "auto"), *((variant, "ddp") for variant in VARIANTS)]
)
# H3, H5, H19
def test_two_processes_come_to_what_one_comes_to(variant, strategy, alone, pictures, tmp_path):
    out, port, trainer = tmp_path / "state", free_port(), {"strategy": strategy, "devices": 2}
    pair = [
        run(train_and_save, str(out), str(pictures), variant, environment(rank, port), trainer)
        for rank in range(2)
    ]
    assert [finish(process) for process in pair] == [0, 0]
    check_pair(out, *alone(variant))


@pytest.mark.parametrize("variant", VARIANTS)
# H5
def test_training_moved_everything_much_further_than_the_tolerance(variant, alone):
    """Or the comparison would compare how both began."""
    state, _ = alone(variant)
    begun = tiny_module(mbstd_group_size=2, **VARIANTS[variant])
    begun.assemble((16, 16), 3, 2, torch.device("cpu"), BATCH)
    fixed = (
        ".noise_const",
        ".resample_filter",
        "generator_ema.synthesis.",
        "generator_ema.mapping.",
    )
    for name, value in begun.state_dict().items():
        if not any(part in name for part in fixed):
            assert (state[name] - value).abs().max() > 2e-4, name
    assert state["generator.mapping.embed.weight"].shape == (8, 2)
    const = "generator_ema.synthesis.b4.const"
    assert (state[const] - begun.state_dict()[const]).abs().max() > 0


@pytest.mark.parametrize(
    "strategy", ["ddp_fork", pytest.param("ddp_spawn", marks=pytest.mark.slow)]
)
# H19
def test_processes_that_the_trainer_starts_do_so_too(strategy, alone, pictures, tmp_path):
    out, trainer = tmp_path / "state", {"strategy": strategy, "devices": 2}
    process = run(train_and_save, str(out), str(pictures), "classic", {}, trainer)
    assert finish(process, 400) == 0
    check_pair(out, *alone("classic"))


# H19
def test_ddp_of_one_process_is_one_process(alone, pictures, tmp_path):
    out, trainer = tmp_path / "state", {"strategy": "ddp", "devices": 1}
    env = {**environment(0, free_port()), "WORLD_SIZE": "1"}
    assert finish(run(train_and_save, str(out), str(pictures), "classic", env, trainer)) == 0
    (state, seeds), (expected, expected_seeds) = kept(out), alone("classic")
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert seeds == expected_seeds


TWO = (
    "--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp",
    "--model.micro_batch", "2", "--run.resume", "auto",
)  # fmt: skip


def start_two(run_dir: Path, log: Path, *extra: str) -> list[Any]:
    """`train.py fit` as a launcher starts it, twice."""
    port = free_port()
    args = fit(run_dir, *TWO, *extra)
    logs = [log, log.with_suffix(".second")]
    return [start(args, logs[rank], environment(rank, port)) for rank in range(2)]


# D8
def test_a_run_goes_on_with_another_number_of_processes(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    args = ("--model.micro_batch", "2", "--run.kimg", "0.032")
    assert finish(start(fit(one, *args), tmp_path / "log")) == 0
    pair = start_two(two, tmp_path / "log2", "--run.kimg", "0.02")
    assert [finish(process) for process in pair] == [0, 0]
    assert finish(start(fit(two, *args), tmp_path / "log2")) == 0
    assert "from 0.02 to 0.032 kimg" in (tmp_path / "log2").read_text()
    assert "training from" not in (tmp_path / "log2.second").read_text()
    a, b = (read_checkpoint(checkpoint_path(folder, 32))["state_dict"] for folder in (one, two))
    for name, value in a.items():
        torch.testing.assert_close(b[name], value, atol=2e-5, rtol=1e-4, msg=name)


# D4
def test_a_signal_to_the_second_process_alone_stops_and_saves_both(tmp_path):
    run_dir, log = tmp_path / "run", tmp_path / "log"
    pair = start_two(run_dir, log, "--run.kimg", "1000", "--run.tick_kimg", "0.004")
    wait_for(lambda: log.exists() and "tick 1 " in log.read_text(), pair[0])
    os.kill(pair[1].pid, signal.SIGTERM)
    # The second ends with 0: Lightning would kill the first if a helper ended with anything else.
    assert [finish(process) for process in pair] == [143, 0]
    assert latest_whole(run_dir) is not None
    assert "the same command goes on" in log.read_text()
    assert "Traceback" not in log.read_text() + log.with_suffix(".second").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["helper", "first"])
# D1
def test_a_killed_process_takes_the_others_with_it(victim, tmp_path):
    """As people start it: the first process starts the second."""
    run_dir = tmp_path / "run"
    args = [*fit(run_dir, *TWO), "--run.kimg", "1000", "--run.checkpoint_kimg", "0.004"]
    first = subprocess.Popen([sys.executable, "train.py", *args], start_new_session=True)
    deadline = time.monotonic() + 300
    while latest_whole(run_dir) is None:
        assert first.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    (helper,) = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
    os.kill(int(helper) if victim == "helper" else first.pid, signal.SIGKILL)
    assert first.wait(60) != 0
    while Path(f"/proc/{helper}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert latest_whole(run_dir) is not None
