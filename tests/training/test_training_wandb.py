"""What W&B's own reader finds of a training that nobody was logged in for."""

import functools
import json
import shutil
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
    "Timing/sec_per_kimg", "Timing/sec_per_tick", "Timing/total_sec", "Timing/cpu_sec",
    "Timing/maintenance_sec",
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
    assert held["config"]["model"]["init_args"]["regularization"]["r1_interval"] == 4
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


# A13f
def test_steps_and_times_only_rise_over_all_sessions(sessions):
    rows = [row for file in sessions[1] for row in records(file, "history")]
    steps = [row["item"]["_step"] for row in rows]
    assert steps == sorted(set(steps)) and steps[0] == 0
    first, second = (row["item"] for row in rows if "Timing/total_sec" in row["item"])
    assert first["_step"] >= 16 and second["_step"] >= 32
    spent = second["Timing/sec_per_tick"] + first["Timing/total_sec"]
    assert second["Timing/total_sec"] > first["Timing/total_sec"]
    assert second["Timing/total_sec"] >= spent - 1e-6


class Recorder:
    """Takes what a W&B run is told."""

    def __init__(self, step: int = 0) -> None:
        self.step, self.steps = step, []

    def define_metric(self, *_, **__) -> None: ...

    def log(self, _table: dict, step: int) -> None:
        self.steps.append(step)


# A13f
@pytest.mark.parametrize(("server", "first"), [(0, 17), (40, 40)])
def test_steps_go_on_from_what_a_killed_session_had_reached(server, first, tmp_path):
    from framework.training.wandb_logger import KimgWandbLogger

    run = Recorder(server)
    logger = KimgWandbLogger(run, tmp_path, reached_images=16)
    logger._experiment = run
    for kimg in (0.008, 0.012, 0.016, 0.1, 0.1):  # from a checkpoint of before
        logger.log_metrics({"Loss/G/loss": 1.0, "Progress/kimg": kimg})
    assert run.steps == [first, first + 1, first + 2, 100, 101]


# A13f
def test_times_go_on_after_a_kill_too(tmp_path):
    from framework.training.run_folder import clean_up, reached
    from framework.training.run_record import update_record

    def line(kimg: float, sec: float) -> str:
        means = {"Progress/kimg": kimg, "Timing/total_sec": sec}
        return json.dumps({name: {"mean": mean} for name, mean in means.items()})

    (tmp_path / "stats.jsonl").write_text(f"{line(0.008, 10)}\n{line(0.016, 20)}\n{{half")
    for _ in range(2):  # a session that was killed before its first line changes nothing
        before = reached(tmp_path)
        clean_up(tmp_path, 0.008)
        update_record(tmp_path, reached=before)
        assert before == (16, 20.0)
    assert (tmp_path / "stats.jsonl").read_text() == f"{line(0.008, 10)}\n"


def opened_ids(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The ids that W&B runs are opened with from now on; each new one gets a number."""
    from framework.training import wandb_logger

    asked: list[str | None] = []

    def open_run(*_, id: str | None, **__) -> Any:
        asked.append(id)
        run = Recorder()
        run.id = id or f"new{len(asked)}"  # type: ignore[attr-defined]
        return run

    monkeypatch.setattr(wandb_logger, "open_run", open_run)
    monkeypatch.delenv("WANDB_RUN_ID", raising=False)
    return asked


# A13f
def test_a_copied_folder_gets_a_run_of_its_own_and_a_moved_one_keeps_it(
    tmp_path, monkeypatch, capsys
):
    from framework.training.wandb_logger import open_logger

    asked, run_dir = opened_ids(monkeypatch), tmp_path / "run"
    run_dir.mkdir()
    open_logger(run_dir, "offline", {})
    shutil.copytree(run_dir, tmp_path / "copy")
    open_logger(run_dir, "offline", {})
    assert asked == [None, "new1"] and capsys.readouterr().err == ""
    open_logger(tmp_path / "copy", "offline", {})
    said = capsys.readouterr().err
    assert asked[2:] == [None] and said.count("\n") == 1
    assert f"is a copy of {run_dir}" in said and "WANDB_RUN_ID=new1" in said
    run_dir.rename(tmp_path / "moved")
    open_logger(tmp_path / "moved", "offline", {})
    open_logger(tmp_path / "copy", "offline", {})
    assert asked[3:] == ["new1", "new3"]
    (tmp_path / "moved" / "run.json").unlink()  # a run of before
    open_logger(tmp_path / "moved", "offline", {})
    monkeypatch.setenv("WANDB_RUN_ID", "chosen")
    open_logger(tmp_path / "moved", "offline", {})
    assert asked[5:] == ["new1", "chosen"]


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
