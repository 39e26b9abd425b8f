"""What W&B is told of drags: curves, a strip of pictures, a batch's table; and a sweep of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from wandb.sdk.launch.sweeps import utils as sweeps

from framework.cli.edit import build_parser
from framework.jobs.batch import drag_all
from framework.jobs.drag import drag
from framework.jobs.outcomes import DragBatchOutcome
from framework.jobs.requests.drag import DragRequest
from framework.jobs.tasks import read_tasks

ROOT = Path(__file__).resolve().parents[2]
SWEEP = ROOT / "configs" / "edit" / "sweep" / "drag.yaml"


def read(folder):
    """What W&B's own reader finds in a folder of offline runs."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json"]
    return json.loads(subprocess.check_output([*command, str(folder / "wandb")]))


@pytest.fixture(scope="module")
def one(tiny_model, tmp_path_factory):
    out = tmp_path_factory.mktemp("one") / "out"
    drag(
        DragRequest(
            model=str(tiny_model), seed=3, points="20,40:24,40", out=str(out), steps=3,
            video=False, wandb="offline", preset="small",
        )
    )  # fmt: skip
    return out


def test_a_drag_has_curves_and_a_strip_of_pictures(one):
    summary = read(one)["summary"]
    last = [json.loads(line) for line in (one / "stats.jsonl").read_text().splitlines()][-1]
    for name in ("motion_loss", "distance_px_mean", "drift_mean", "step_size"):
        assert summary[f"Drag/{name}"] == pytest.approx(last[name])
    assert last["step_size"] > 0 and 0 <= summary["Drag/confidence_min"] <= 1
    strip = summary["Drag/strip"]
    assert strip["_type"] == "image-file" and strip["width"] > 3 * strip["height"]


def test_a_step_size_is_the_length_of_the_update(one):
    lines = [json.loads(line) for line in (one / "stats.jsonl").read_text().splitlines()]
    assert "step_size" not in lines[0]
    # Adam's first step moves each of 6 x 24 latents by the learning rate.
    assert lines[1]["step_size"] == pytest.approx(0.01 * (6 * 24) ** 0.5, rel=1e-3)


@pytest.fixture
def tasks(tmp_path):
    path = tmp_path / "tasks.jsonl"
    path.write_text(
        '{"name": "good", "seed": 3, "points": "20,40:24,40"}\n'
        '{"seed": 4, "points": "20,40:99,40"}\n'
    )
    return path


@pytest.mark.parametrize("sweep", [False, True])
def test_a_batch_has_a_table_and_in_a_sweep_no_other_run(
    sweep, tiny_model, tasks, tmp_path, monkeypatch
):
    if sweep:
        monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
        monkeypatch.setenv("WANDB_RUN_ID", "r1")
    out = tmp_path / "out"
    request = DragRequest(
        model=str(tiny_model), tasks=str(tasks), out=str(out), steps=1, video=False,
        wandb="offline",
    )  # fmt: skip
    drag_all(request)
    assert (out / "good" / "wandb").exists() != sweep
    found = read(out)
    assert found["summary"]["Batch/drags"]["_type"] == "table-file"
    assert found["summary"]["Batch/drags"]["nrows"] == 2
    assert found["summary"]["Batch/tasks"] == 2 and found["config"]["steps"] == 1
    (table,) = (out / "wandb").rglob("*.table.json")
    rows = json.loads(table.read_text())
    columns = rows["columns"]
    by_name = {row[columns.index("name")]: dict(zip(columns, row)) for row in rows["data"]}  # noqa: B905
    assert by_name["good"]["steps"] == 1 and by_name["good"]["error"] is None
    assert "outside the picture" in by_name["line_2"]["error"]


def agents_command(config, values):
    """The words that an agent of W&B starts, by its own functions."""
    arguments = {"args": {name: {"value": value} for name, value in values.items()}}
    macros = sweeps.create_sweep_command_args(arguments)
    macros |= {"interpreter": ["python"], "program": [config["program"]]}
    words = []
    for word in sweeps.create_sweep_command(list(config["command"])):
        macro = word.startswith("${") and word.endswith("}")
        words += macros[word[2:-1]] if macro else [word]
    return words


def test_the_sweep_is_one_that_wandb_understands(monkeypatch):
    config = sweeps.load_sweep_config(str(SWEEP))
    assert config == yaml.safe_load(SWEEP.read_text("utf-8"))
    assert set(config) == {"program", "method", "metric", "parameters", "command"}
    assert config["method"] in ("grid", "random", "bayes")
    assert config["metric"]["goal"] in ("minimize", "maximize")
    group, number = config["metric"]["name"].split("/")
    assert group == "Batch" and number in DragBatchOutcome(count=0, results=Path()).to_dict()
    assert (ROOT / config["program"]).is_file()


@pytest.mark.parametrize("end", ["first", "last"])
def test_what_an_agent_starts_is_a_drag(end, tmp_path):
    config = sweeps.load_sweep_config(str(SWEEP))
    index = 0 if end == "first" else -1
    values = {
        name: p["values"][index] if "values" in p else p["min" if end == "first" else "max"]
        for name, p in config["parameters"].items()
    }
    words = agents_command(config, values)
    # The shell is run for what it adds to the words.
    said = subprocess.run(
        [*words[:2], words[2].replace("exec", "printf '%s\\n'"), *words[3:]],
        env={"WANDB_RUN_ID": "abc", "PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
    )  # fmt: skip
    interpreter, program, *flags = said.stdout.splitlines()
    assert (interpreter, program) == ("python", "edit.py")
    chosen = build_parser("drag").parse_args(flags)["drag"].as_dict()
    known = {name: chosen[name] for name in chosen if name != "json"}
    request = DragRequest(**{"class_" if n == "class" else n: v for n, v in known.items()})
    assert request.out == "out/sweep/abc" and not request.video
    assert {name: getattr(request, name) for name in values} == values
    tasks, wrong = read_tasks(ROOT / str(request.tasks), (64, 64))
    assert len(tasks) == 8 and not wrong
