"""Training runs as a page shows them: growing numbers, sheets over kimg, names without paths."""

import json
from pathlib import Path

import pytest

from framework.errors import UserError
from framework.studio.models import Models
from framework.studio.runs import Runs
from framework.studio.server import Studio
from tests.studio.conftest import HOST, PORT, ask


def line(kimg: float, **values: float) -> str:
    numbers = {"Progress/kimg": kimg, **{f"Loss/{name}": value for name, value in values.items()}}
    moments = {name: {"num": 1, "mean": value, "std": 0.0} for name, value in numbers.items()}
    return json.dumps({**moments, "timestamp": 1.0}) + "\n"


@pytest.fixture
def folder(tmp_path, tiny_model) -> Path:
    """Two runs, and what is none."""
    run = tmp_path / "runs" / "cars"
    run.mkdir(parents=True)
    (run / "stats.jsonl").write_text(line(1, G=2.0) + line(2, G=1.5))
    for name in ("fakes_init", "fakes000010", "fakes000002", "fakes000002-500", "reals", "Évil"):
        (run / f"{name}.png").write_bytes(b"\x89PNG" + name.encode())
    (run / "secret.txt").write_text("secret")
    (run / "metric-kid_d.jsonl").write_text(
        json.dumps({"results": {"kid_d": 0.1, "bad": None}, "seen_kimg": 2}) + "\nhalf a li"
    )
    (run / "network-000010").symlink_to(tiny_model)
    (tmp_path / "runs" / "empty").mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "stats.jsonl").write_text(line(1))
    (tmp_path / "runs" / "link").symlink_to(outside)
    return tmp_path / "runs"


def test_numbers_come_as_they_are_written(folder):
    runs, stats = Runs(str(folder)), folder / "cars/stats.jsonl"
    first = runs.progress("cars")
    assert [tick["Loss/G"] for tick in first["ticks"]] == [2.0, 1.5]
    assert runs.progress("cars", first["place"])["ticks"] == []
    whole = line(3, G=1.0)
    with open(stats, "a") as file:
        file.write(whole[:20])
        file.flush()
        assert runs.progress("cars", first["place"]) == {**first, "ticks": []}
        file.write(whole[20:])
    again = runs.progress("cars", first["place"])
    assert [tick["Progress/kimg"] for tick in again["ticks"]] == [3]
    stats.write_text(line(1, G=2.0))  # it resumed from an earlier checkpoint
    assert runs.progress("cars", again["place"])["place"] < again["place"]
    assert len(runs.progress("cars", again["place"])["ticks"]) == 1


def test_lines_that_are_none_are_left_out(folder):
    bad = ["nonsense", "[]", '{"Loss/G": {"mean": 1}}', '{"Progress/kimg": 3}', "[" * 9999]
    text = "\n".join(bad) + "\n" + line(4, G=float("nan"), D=1.0)
    (folder / "cars/stats.jsonl").write_text(text)
    (tick,) = Runs(str(folder)).progress("cars")["ticks"]
    assert tick == {"Progress/kimg": 4, "Loss/D": 1.0}


def test_sheets_stand_in_the_order_of_their_kimg(folder):
    shown = Runs(str(folder)).progress("cars")
    assert shown["sheets"] == {
        "fakes": [
            [0.0, "fakes_init.png"], [2.0, "fakes000002.png"], [2.5, "fakes000002-500.png"],
            [10.0, "fakes000010.png"],
        ],
        "reals": [[0.0, "reals.png"]],
    }  # fmt: skip
    assert shown["metrics"] == {"kid_d": [[2.0, 0.1]]}


def test_snapshots_are_models_to_choose(folder):
    models = Models(None, None, "cpu", Runs(str(folder)))
    assert models.names[-1] == "cars/network-000010"
    assert models.open("cars/network-000010").img_size == (64, 64)
    assert Runs(str(folder)).progress("cars")["snapshot"] == "cars/network-000010"


def test_a_run_alone_is_a_folder_of_one(folder):
    assert Runs(str(folder / "cars")).names == ["cars"] == Runs(str(folder)).names
    assert Runs(None).names == [] and Runs(str(folder / "empty")).names == []
    with pytest.raises(UserError, match=r"^runs .*no such folder"):
        Runs(str(folder / "nothing"))


@pytest.fixture
def app(folder):
    return Studio(Models(None, None, "cpu", Runs(str(folder)))).app(HOST, PORT)


def test_the_page_gets_its_runs(app):
    assert json.loads(ask(app, "/runs.json").body) == ["cars"]
    assert b"runs.js" in ask(app, "/runs").body
    assert json.loads(ask(app, "/runs/cars/progress.json").body)["metrics"]
    assert ask(app, "/runs/cars/sheets/reals.png").body.startswith(b"\x89PNG")


# F13
def test_names_of_runs_and_sheets_are_no_paths(app, folder):
    (folder / "cars/link.png").symlink_to(folder / "cars/secret.txt")
    for run in ("..", "link", "empty", "", "cars/..", "/etc", "a" * 300, "cars\0", "outside"):
        assert ask(app, f"/runs/{run}/progress.json").status in (400, 404), run
        assert ask(app, f"/runs/{run}/sheets/reals.png").status in (400, 404), run
    for sheet in (
        "secret.txt",
        "link.png",
        "../cars/reals.png",
        "..",
        "/etc/passwd",
        "",
        "Évil.png",
    ):
        answer = ask(app, f"/runs/cars/sheets/{sheet}")
        assert answer.status in (400, 404) and b"secret" not in answer.body, sheet
    for place in ("-1", "1e9", "x", "9" * 40, "٣"):
        answer = ask(app, "/runs/cars/progress.json", query=f"place={place}")
        assert answer.status == 200 and json.loads(answer.body)["ticks"]
