"""Rows of a task file: of every kind, and bad ones among them."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from framework.cli.edit import main
from framework.drag.edit_file import EditFile
from tests.cli.conftest import save_small_model

POINTS = "5,8:6,8"
FEW = ("--steps", "1", "--no-video", "--preset", "draggan")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture
def latents(tmp_path) -> torch.Tensor:
    """Three pictures' latents, in files of three kinds."""
    ws = torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(0))
    torch.save({"car.png": ws[0], "bus.png": ws[1], "van.png": ws[2]}, tmp_path / "three.pt")
    np.savez(tmp_path / "three.npz", w=ws.numpy())
    save_file({"ws": ws}, tmp_path / "three.safetensors")
    return ws


def drag(model: Path, *flags: object) -> int:
    return main(["drag", "--model", str(model), *FEW, *map(str, flags)])


def start(folder: Path) -> torch.Tensor:
    return EditFile.load(folder / "edit.safetensors").start_ws[0]


# C4f
def test_rows_of_every_kind_are_done_and_every_bad_one_is_named(
    model, latents, photograph, tmp_path, capsys
):
    photo = photograph("car.png", (40, 30))
    photograph("tiny.png", (16, 16))
    stages = ("--stages", "refine", "--refine-steps", "1")
    invert = ["invert", str(photo), "--model", str(model), *stages]
    assert main([*invert, "--out", str(tmp_path / "inv")]) == 0
    assert drag(model, "--seed", 3, "--points", POINTS, "--out", tmp_path / "edit") == 0
    rows: list[object] = [
        {"name": "seed", "seed": 3, "points": POINTS},
        "no JSON",
        {"name": "inverted", "image": "inv/car.inv.safetensors", "points": POINTS},
        {"name": "edit", "edit": "edit/edit.safetensors", "points": POINTS},
        {"name": "named", "image": "three.pt", "pick": "bus.png", "points": POINTS},
        {"name": "numbered", "ws": "three.npz", "pick": 1, "points": POINTS},
        {"name": "last", "ws": "three.safetensors", "points": POINTS},
        {"name": "photo", "image": "car.png", "box": "5,0,35,30", "points": POINTS},
        {"name": "away", "image": "nowhere.png", "points": POINTS},
        {"name": "outside", "seed": 3, "points": "5,8:90,8"},
        {"name": "four", "ws": "three.pt", "pick": 3, "points": POINTS},
        {"name": "mask", "seed": 3, "points": POINTS, "mask": "tiny.pgn"},
    ]
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (tmp_path / "tasks.jsonl").write_text("\n".join(lines))
    capsys.readouterr()
    flags = ("--tasks", tmp_path / "tasks.jsonl", "--stages", "refine", "--json")
    out = tmp_path / "out"
    assert drag(model, *flags, "--out", out) == 2
    said = capsys.readouterr()
    bad = ["line_2", "line_9", "line_10", "line_11", "line_12"]
    for name, reason in zip(
        bad,
        ("not JSON", "image .*nowhere.png", "target 0 .*outside", "pick 3: .*three.pt holds",
         "mask .*tiny.pgn"),
        strict=True,
    ):  # fmt: skip
        told = [line for line in said.err.splitlines() if line.startswith(f"{name}: ")]
        assert len(told) == 1 and re.search(reason, told[0]), (name, said.err)
    assert "0 (car.png), 1 (bus.png), 2 (van.png); give a number or a name" in said.err
    assert said.err.endswith(f"error: 5 of 12 tasks failed: {', '.join(bad)}\n")
    assert json.loads(said.out.splitlines()[-1])["failed"] == bad
    good = ["seed", "inverted", "edit", "named", "numbered", "last", "photo"]
    results = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [r["name"] for r in results if "error" in r] == bad
    assert [r["name"] for r in results if "error" not in r] == good
    assert {path.name for path in out.iterdir()} == {*good, "results.jsonl"}
    for name, number in (("named", 1), ("numbered", 1), ("last", 2)):
        torch.testing.assert_close(start(out / name), latents[number])
    assert torch.equal(start(out / "edit"), EditFile.load(out / "seed/edit.safetensors").ws[-1])
    assert (out / "photo" / "pasted.png").exists() and "inversion" in results[-1]


# C4f
@pytest.mark.parametrize("file", ["three.pt", "three.npz", "three.safetensors"])
def test_any_of_several_latents_is_dragged(model, latents, tmp_path, capsys, file):
    image = ("--image", tmp_path / file, "--points", POINTS)
    for number in range(3):
        out = tmp_path / f"out{number}"
        assert drag(model, *image, "--pick", number, "--out", out) == 0
        torch.testing.assert_close(start(out), latents[number])
    assert drag(model, *image, "--out", tmp_path / "last") == 0
    assert "3 pictures; the last is dragged, --pick" in capsys.readouterr().err
    torch.testing.assert_close(start(tmp_path / "last"), latents[2])
    for pick in ("3", "tram", "-1", "9" * 5000):
        assert drag(model, *image, f"--pick={pick}", "--out", tmp_path / "none") == 2
        said = capsys.readouterr().err
        names = "0 (car.png), 1 (bus.png), 2 (van.png)" if file == "three.pt" else "0, 1, 2;"
        assert said.startswith("error: --pick ") and names in said and said.count("\n") == 1
    assert not (tmp_path / "none").exists()


def test_nothing_is_written_where_no_row_can_be_done(model, tmp_path, capsys):
    (tmp_path / "tasks.jsonl").write_text('{\n{"seed": -1, "points": "5,8:6,8"}\n')
    flags = ("--tasks", tmp_path / "tasks.jsonl", "--out", tmp_path / "out")
    assert drag(model, *flags) == 2
    said = capsys.readouterr().err
    assert "2 of 2 tasks cannot be done: line 1: not JSON" in said and said.count("\n") == 1
    assert "line 2: seed -1" in said and not (tmp_path / "out").exists()


@pytest.mark.parametrize("flag", ["--points", "--mask", "--pick", "--photo"])
def test_what_stands_in_the_rows_is_no_flag(model, tmp_path, capsys, flag):
    assert drag(model, "--tasks", "t", flag, "1", "--out", tmp_path / "out") == 2
    assert capsys.readouterr().err.startswith(f"error: {flag} 1: stands in the rows")
