"""`train.py validate`, and metrics during `fit`, from the command line."""

import json
import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from framework.cli.train_metrics import Metrics
from framework.evaluation.generator.measure import MetricSettings
from framework.formats.run_checkpoint import latest_whole, read_checkpoint
from framework.training.callbacks import RunCheckpoints, StopSignals
from tests.training.processes import CONFIG, finish, fit, start, wait_for

FEW = ["--metrics.features", "features64", "--metrics.fakes", "16", "--metrics.ppl", "6"]
AUTO = FEW[2:]  # whichever ruler is here, with a note
KINDS = {"kid_d", "pr_d", "swd", "ppl_d"}
NAMES = {
    f"Metrics/{name}"
    for name in ("kid_d", "kid_d_ci95", "precision_d", "recall_d", "swd16", "swd_mean", "ppl_d")
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """A user without a cache and without weights."""
    home = tmp_path_factory.mktemp("home")
    return {"XDG_CACHE_HOME": str(home), "TORCH_HOME": str(home / "torch")}


def said(args: list[str], log: Path, code: int, env: dict[str, str]) -> str:
    """What a command prints, having ended with `code`."""
    assert finish(start(args, log, env)) == code, log.read_text()
    return log.read_text()


@pytest.fixture(scope="module")
def trained(tmp_path_factory, environment) -> Path:
    """The folder of a run of six batches, measured after two, four and six."""
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    args = fit(run_dir, "--run.kimg", "0.024", "--run.metrics_kimg", "0.008", *FEW)
    said(args, run_dir.with_suffix(".log"), 0, {**environment, "WANDB_MODE": "offline"})
    return run_dir


def lines(run_dir: Path, kind: str) -> list[dict[str, Any]]:
    text = (run_dir / f"metric-{kind}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def report(text: str) -> dict[str, Any]:
    """The JSON line, which is the last."""
    return json.loads(text.splitlines()[-1])


# --- during fit --------------------------------------------------------------------------------


def test_a_training_measures_itself_and_says_how(trained):
    assert {path.name for path in trained.glob("metric-*")} == {f"metric-{k}.jsonl" for k in KINDS}
    for kind in KINDS:
        found = lines(trained, kind)
        assert [line["seen_kimg"] for line in found] == [0.008, 0.016, 0.024]
        assert all(line["metric"] == kind and line["protocol"]["data"] for line in found)
    numbers = [line["results"]["kid_d"] for line in lines(trained, "kid_d")]
    assert len(set(numbers)) == 3 and all(number > 0 for number in numbers)
    text = trained.with_suffix(".log").read_text()
    assert (
        len(re.findall(r"^metrics kimg 0\.0\d+ +kid_d \S+ .* ppl_d \S+ in \d+ s$", text, re.M)) == 3
    )
    assert "note: measuring" not in text  # the ruler was asked for


def test_a_run_with_metrics_is_bit_equal_to_one_without(trained, tmp_path, environment):
    args = fit(tmp_path / "run", "--run.kimg", "0.024", *FEW)
    said(args, tmp_path / "log", 0, environment)
    assert not list((tmp_path / "run").glob("metric-*"))
    one, other = (read_checkpoint(latest_whole(d) or d) for d in (trained, tmp_path / "run"))
    assert one["state_dict"].keys() == other["state_dict"].keys()
    assert all(torch.equal(one["state_dict"][n], v) for n, v in other["state_dict"].items())
    moments = [
        [s["exp_avg_sq"] for o in kept["optimizer_states"] for s in o["state"].values()]
        for kept in (one, other)
    ]
    assert len(moments[0]) > 10 and all(map(torch.equal, *moments))


def test_validate_measures_what_the_training_measured(trained, environment, tmp_path):
    args = ["validate", "--config", str(trained / "config.yaml"), "--run.wandb", "disabled"]
    first, second = (said(args, tmp_path / f"log{i}", 0, environment) for i in range(2))
    assert first == second and first.count("\n") == 1
    found = report(first)
    assert found["seen_kimg"] == 0.024 and set(found["protocol"]) == KINDS
    assert {name for name in found if name.startswith("Metrics/")} == NAMES
    for kind in KINDS:
        last = lines(trained, kind)[-1]
        assert last["protocol"] == found["protocol"][kind]
        assert {f"Metrics/{n}": v for n, v in last["results"].items()}.items() <= found.items()


def test_the_dashboard_gets_the_numbers_of_both(trained, environment, tmp_path):
    args = ["validate", "--config", str(trained / "config.yaml"), *FEW]
    files = list(trained.glob("wandb/offline-run-*/run-*.wandb"))
    said(args, tmp_path / "log", 0, {**environment, "WANDB_MODE": "offline"})
    files += set(trained.glob("wandb/offline-run-*/run-*.wandb")) - set(files)
    assert len(files) == 2 and files[0].name == files[1].name  # one run, two sessions
    for file in files:
        summary = summary_of(file)
        assert set(summary) >= NAMES and summary["Progress/kimg"] == 0.024
    kept = lines(trained, "kid_d")[-1]
    assert summary_of(files[0])["Metrics/kid_d"] == pytest.approx(kept["results"]["kid_d"])


def summary_of(file: Path) -> dict[str, Any]:
    """Last values of what W&B was told."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json", str(file)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)["summary"]


def test_a_resumed_run_forgets_what_was_measured_past_its_checkpoint(
    trained, environment, tmp_path
):
    run_dir = shutil.copytree(trained, tmp_path / "run")
    path = run_dir / "metric-kid_d.jsonl"
    later = json.dumps({**lines(run_dir, "kid_d")[-1], "seen_kimg": 0.9})
    path.write_text(f"{path.read_text()}{later}\n" + '{"metric": "kid')
    args = fit(run_dir, "--run.kimg", "0.028", "--run.metrics_kimg", "0.008", *FEW)
    said(args, tmp_path / "log", 0, environment)
    kimg = [line["seen_kimg"] for line in lines(run_dir, "kid_d")]
    assert kimg == [0.008, 0.016, 0.024, 0.028]


def test_a_signal_ends_a_measurement_and_the_run_is_saved(environment, tmp_path):
    run_dir, log, cache = tmp_path / "run", tmp_path / "log", tmp_path / "cache"
    many = ["--metrics.fakes", "1000000", "--metrics.cache", str(cache)]
    args = fit(run_dir, "--run.kimg", "1", "--run.metrics_kimg", "0.004", *many)
    process = start(args, log, environment)
    wait_for(lambda: list(cache.glob("*.safetensors")), process)  # the real pictures are done
    assert process.pid
    os.kill(process.pid, signal.SIGTERM)
    assert finish(process) == 128 + signal.SIGTERM, log.read_text()
    assert "the same command goes on" in log.read_text()
    held = read_checkpoint(latest_whole(run_dir) or run_dir)["dragline"]
    assert held["seen_images"] == 4
    assert not list(run_dir.glob("metric-*"))


def test_two_processes_measure_together(environment, tmp_path):
    """Each draws its share; one writes, and the training goes on."""
    run_dir, pair = tmp_path / "run", ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
    args = fit(run_dir, "--run.kimg", "0.008", "--run.metrics_kimg", "0.004", *AUTO, *pair)
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port = str(opened.getsockname()[1])
    launched = [
        start(args, tmp_path / f"log{rank}", {**environment, **as_rank(rank, port)})
        for rank in range(2)
    ]
    assert [finish(process) for process in launched] == [0, 0]
    assert [line["seen_kimg"] for line in lines(run_dir, "swd")] == [0.004, 0.008]
    texts = [(tmp_path / f"log{rank}").read_text() for rank in range(2)]
    assert [text.count("metrics kimg") for text in texts] == [2, 0]
    assert [text.count("note: measuring") for text in texts] == [1, 0]


def as_rank(rank: int, port: str) -> dict[str, str]:
    """What a launcher tells one of two processes."""
    names = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    return dict(zip(names, (str(rank), "0", "2", "127.0.0.1", port), strict=True))


def test_a_strategy_that_spawns_can_hand_the_callback_over():
    checkpoints = RunCheckpoints("x", 1, 1, 1)
    handed = pickle.loads(
        pickle.dumps(Metrics("x", 1, 1, MetricSettings(fakes=7), StopSignals(checkpoints)))
    )
    assert handed.settings.fakes == 7 and handed.signals.received == 0


# --- validate alone ------------------------------------------------------------------------------


def test_validate_measures_any_model_that_fits_the_pictures(environment, tmp_path, trained):
    args = ["validate", "--config", str(CONFIG), "--run.dir", str(tmp_path / "none"), *FEW]
    model = str(trained / "network-000000-024")
    one = [*args, "--metrics.model", model, "--data.size", "null"]  # the model's
    found = report(said(one, tmp_path / "log", 0, environment))
    assert found["model"] == model and found["protocol"]["kid_d"]["fakes"] == 16
    assert found["protocol"]["kid_d"]["data"]["size"] == "16x16"
    text = said([*args, "--metrics.model", "toycars64"], tmp_path / "log2", 2, environment)
    assert re.match(r"error: toycars64 draws 64x64 px.*the pictures are 16x16 px", text)
    assert not (tmp_path / "none").exists()


def test_a_generator_judged_by_its_own_opponent_is_said_to_be(environment, tmp_path, trained):
    model = str(trained / "network-000000-024")
    args = ["validate", "--config", str(CONFIG), *FEW, "--metrics.model", model]
    found = report(said([*args, "--metrics.features", model], tmp_path / "log", 0, environment))
    notes = {kind: "note" in protocol for kind, protocol in found["protocol"].items()}
    assert notes == {"kid_d": True, "pr_d": True, "ppl_d": True, "swd": False}
    assert "own opponent" in found["protocol"]["kid_d"]["note"]


def test_only_the_pictures_that_are_looked_at_are_drawn(environment, tmp_path, trained):
    """A million toy cars would take an hour."""
    args = ["validate", "--config", str(CONFIG), *FEW, "--data.source", "toycars:1000000"]
    args += ["--metrics.reals", "20", "--metrics.model", str(trained / "network-000000-024")]
    found = report(said(args, tmp_path / "log", 0, environment))
    assert found["protocol"]["kid_d"]["reals"] == 20
    assert found["protocol"]["kid_d"]["data"]["pictures"] == 1_000_000


MISTAKES = {
    "no run": (
        [],
        "holds no whole checkpoint to validate; --metrics.model MODEL measures any other",
    ),
    "too few": (["--metrics.model", "M", "--metrics.fakes", "1"], "--metrics.fakes 1: at least"),
    "no such model": (["--metrics.model", "/nowhere"], "--metrics.model /nowhere: no such"),
    "Inception nowhere": (
        ["--metrics.model", "M", "--metrics.features", "inception"],
        "--metrics.features inception: no weights-inception-2015-12-05-6726825d.pth",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(mistake, environment, tmp_path, trained):
    args, expected = MISTAKES[mistake]
    args = [str(trained / "network-000000-024") if arg == "M" else arg for arg in args]
    command = ["validate", "--config", str(CONFIG), "--run.dir", str(tmp_path / "none")]
    text = said([*command, *args], tmp_path / "log", 2, environment)
    assert text.startswith("error: ") and text.count("\n") == 1 and expected in text
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--run.metrics_kimg", "-1"], "--run.metrics_kimg -1.0"),
        (["--run.metrics_kimg", "1", "--metrics.model", "x"], "--metrics.model: only `validate`"),
    ],
)
def test_a_training_that_could_not_be_measured_does_not_begin(
    args, expected, environment, tmp_path
):
    text = said(fit(tmp_path / "run", *args), tmp_path / "log", 2, environment)
    assert expected in text and text.splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "run").exists()
