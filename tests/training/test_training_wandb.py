"""What W&B's own reader finds of a training that nobody was logged in for."""

import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.processes import finish, fit, start

OFFLINE = {"WANDB_MODE": "offline"}
NAMES = {
    "Loss/G/loss", "Loss/D/loss", "Loss/D/reg", "Loss/scores/real", "Loss/scores/fake",
    "Loss/signs/real", "Loss/signs/fake", "Loss/r1_penalty", "Progress/kimg", "Progress/tick",
    "Timing/sec_per_kimg", "Timing/sec_per_tick", "Timing/total_sec", "Timing/maintenance_sec",
    "Timing/Gmain", "Timing/Dmain", "Timing/Dreg", "Resources/cpu_mem_gb",
    "Resources/peak_gpu_mem_gb",
}  # fmt: skip


@functools.cache
def inspected(path: Path, *options: str) -> str:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", *options, "--json", str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def sessions(tmp_path_factory) -> tuple[Path, list[Path]]:
    """A run of two sessions: its folder, and W&B's file of each."""
    folder = tmp_path_factory.mktemp("wandb") / "run"
    files: list[Path] = []
    for kimg in ("0.016", "0.032"):
        args = fit(folder, "--run.kimg", kimg, "--run.tick_kimg", "0.016")
        assert finish(start(args, folder.with_suffix(".log"), OFFLINE)) == 0
        files += set((folder / "wandb").glob("offline-run-*/run-*.wandb")) - set(files)
    assert len(files) == 2
    return folder, files


def test_names_pictures_and_settings_are_there(sessions):
    _, (first, _) = sessions
    held = json.loads(inspected(first, "--summary"))
    assert set(held["summary"]) >= NAMES | {"Samples/reals", "Samples/fakes"}
    assert held["summary"]["Progress/kimg"] == 0.016
    assert held["state"] == "finished" and held["exit_code"] == 0
    assert held["config"]["model"]["init_args"]["r1_interval"] == 4
    assert held["config"]["facts"]["count"] == 64
    for name in ("Samples/reals", "Samples/fakes"):
        picture = held["summary"][name]
        file = first.parent / "files" / picture["path"]
        assert picture["_type"] == "image-file" and file.stat().st_size == picture["size"] > 1000


def test_what_w_and_b_was_told_is_what_stats_jsonl_says(sessions):
    folder, files = sessions
    lines = [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]
    for line, file in zip(lines, files, strict=True):
        summary = json.loads(inspected(file, "--summary"))["summary"]
        for name in NAMES:
            assert summary[name] == pytest.approx(line[name]["mean"]), name


def records(file: Path, kind: str) -> list[dict[str, Any]]:
    """What W&B's file holds of one kind, in its order."""
    lines = map(json.loads, inspected(file).splitlines())
    return [line[kind] for line in lines if line["type"] == kind]


def test_everything_is_drawn_against_kimg(sessions):
    metrics = records(sessions[1][0], "metric")
    axis = {m["name"]: m.get("step_metric") for m in metrics if "name" in m}
    for name in (NAMES | {"Samples/reals", "Samples/fakes"}) - {"Progress/kimg"}:
        assert axis[name] == "Progress/kimg", name


# H10, H11
def test_a_resumed_run_is_the_same_curve(sessions):
    folder, files = sessions
    ids = {json.loads(inspected(file, "--summary"))["run_id"] for file in files}
    assert ids == {(folder / "wandb-id.txt").read_text().strip()}


# H10
def test_a_resumed_run_repeats_no_point_of_its_curve(sessions):
    rows = [row["item"] for file in sessions[1] for row in records(file, "history")]
    names = ("Progress/kimg", "Progress/tick", "trainer/global_step")
    points = [tuple(row[name] for name in names) for row in rows if "Loss/G/loss" in row]
    assert points == [(0.016, 1, 4), (0.032, 2, 8)]
    for name, expected in (("reals", [0]), ("fakes", [0, 0.016, 0.032])):
        shown = [row["Progress/kimg"] for row in rows if f"Samples/{name}._type" in row]
        assert shown == expected


def test_a_failure_of_w_and_bs_is_told_once_and_ends_nothing(tmp_path, capsys):
    from framework.training.wandb_logger import KimgWandbLogger

    class Broken:
        def define_metric(self, *_, **__) -> None: ...

        def log(self, *_, **__) -> None:
            raise OSError("no space")

    logger = KimgWandbLogger(Broken(), tmp_path)
    logger._experiment = Broken()
    for kimg in range(3):
        logger.log_metrics({"Loss/G/loss": 1.0, "Progress/kimg": float(kimg)}, step=kimg)
    assert capsys.readouterr().err.count("note: W&B") == 1
