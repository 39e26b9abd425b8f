"""Requests: checked when they are made, and the same drag wherever they come from."""

import json
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from framework.cli.edit import COMMANDS, main, options, request_of
from framework.drag.edit_file import EditFile
from framework.errors import UserError
from framework.jobs.batch import drag_all
from framework.jobs.drag import drag
from framework.jobs.requests.drag import DragRequest
from framework.jobs.requests.invert import InvertRequest
from framework.jobs.watcher import Cancelled, Watcher
from tests.cli.conftest import save_small_model

POINTS = "5,8:12.25,8"
PAIRS = {"handles": [[5, 8]], "targets": [[12.25, 8]]}
HOW = {"steps": 3, "lr": 0.05, "preset": "draggan", "video": False}
FLAGS = ["--steps", "3", "--lr", "0.05", "--preset", "draggan", "--no-video"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("models") / "small", encoder=True)


def edit(folder: Path) -> EditFile:
    return EditFile.load(folder / "edit.safetensors")


@pytest.mark.parametrize("start", ["seed", "photograph", "latents", "edit"])
def test_python_flags_and_a_line_of_json_ask_for_the_same_drag(
    model, photograph, tmp_path, start, capsys
):
    folder = tmp_path / "first"
    drag(DragRequest(out=str(folder), model=str(model), seed=1, points=POINTS, **HOW))
    given = {
        "seed": {"seed": 3},
        "photograph": {"image": str(photograph()), "box": "5,0,35,30"},
        "latents": {"ws": str(folder / "edit.safetensors")},
        "edit": {"edit": str(folder / "edit.safetensors")},
    }[start]
    stages = {"stages": "embed"} if start == "photograph" else {}
    common = {"model": str(model), **HOW}
    drag(DragRequest(out=str(tmp_path / "python"), points=POINTS, **common, **given, **stages))

    words = [word for name, value in (given | stages).items() for word in (f"--{name}", str(value))]
    words += ["--model", str(model), "--points", POINTS, *FLAGS]
    assert main(["drag", *words, "--out", str(tmp_path / "flags")]) == 0

    tasks = tmp_path / "tasks.jsonl"
    tasks.write_text(json.dumps({"name": "row", **given, **PAIRS}))
    drag_all(DragRequest(out=str(tmp_path / "all"), tasks=str(tasks), **common, **stages))
    edits = [edit(tmp_path / name) for name in ("python", "flags", "all/row")]
    for other in edits[1:]:
        for name in ("start_ws", "handles", "ws", "points", "targets", "motion_loss", "step"):
            assert torch.equal(getattr(other, name), getattr(edits[0], name)), name
        assert other.settings == edits[0].settings and other.status == edits[0].status
        assert other.model_digest == edits[0].model_digest
    assert len(edits[0].ws) == 4


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({}, "give one of `seed`, `image`, `ws`, `edit` and `tasks` to start from; none given"),
        ({"seed": 1, "edit": "e"}, "`seed` and `edit` given"),
        ({"seed": 1}, "model: give a zoo name"),
        ({"seed": 1, "model": "m"}, 'points: give "x,y:x,y"'),
        ({"tasks": "t", "model": "m", "mask": "x.png"}, "mask x.png: stands in the rows"),
        ({"edit": "e", "box": "1,2,3,4"}, "box 1,2,3,4: only with `image`"),
        ({"image": "i", "points": POINTS, "box": "x"}, "box 'x': give left,top,right,bottom"),
        ({"image": "i", "points": POINTS, "rotate": 400.0}, "rotate 400: give degrees"),
        ({"image": "i", "points": POINTS, "align": "1,2:3,4", "box": "1,2,3,4"},
         "`align` and `box`: two points"),
        ({"image": "i", "points": POINTS, "at": 3}, "at 3: only with `edit`"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_when_the_request_is_made(given, complaint):
    with pytest.raises(UserError) as refused:
        DragRequest(out="o", **given)
    assert complaint in str(refused.value) and "--" not in str(refused.value)


def test_an_alignment_says_what_goes_there():
    with pytest.raises(UserError, match="align_to 1,2:3,4: say with `align` which points go there"):
        InvertRequest(photos=["a.png"], model="m", out="o", align_to="1,2:3,4")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_field_of_a_request_is_a_flag(command):
    request = request_of(COMMANDS[command])
    assert {field.name for field in fields(request)} == set(options(COMMANDS[command])) - {"json"}


class Shows(Watcher):
    """Remembers what it is shown, and ends the drag after two steps."""

    def __init__(self) -> None:
        self.steps, self.lines = [], []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def drag_step(self, step, last_step: int) -> None:
        self.steps.append(step.step)
        if step.step == 2:
            raise Cancelled


def test_who_looks_on_sees_every_step_and_can_end_a_drag(model, tmp_path, capsys):
    watcher, out = Shows(), tmp_path / "out"
    how = {**HOW, "steps": 100, "lr": 1e-4}
    outcome = drag(
        DragRequest(out=str(out), model=str(model), seed=1, points=POINTS, **how), watcher
    )
    assert watcher.steps == [0, 1, 2] and watcher.lines == ["preset draggan, 16x16 px picture"]
    assert outcome.status == "interrupted" and isinstance(outcome.stop, Cancelled)
    assert len(edit(out).ws) == 3
    assert capsys.readouterr() == ("", "")
