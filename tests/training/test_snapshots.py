"""What a run keeps of its model folders, how they are called, and what is there when it is stopped.

Rows A5f and D9f of docs/reliability.md; each test says which.
"""

import itertools
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning
import pytest
import yaml

from framework.formats import open_model
from framework.formats.used_by import USED_BY, mark_used
from framework.training.run_record import RECORD
from framework.training.snapshot_folders import (
    free_name,
    latest_model,
    note_written,
    own_models,
    prune_snapshots,
    snapshot_name,
)
from framework.training.snapshots import Snapshots
from tests.training.tiny import tiny_module, train

ROOT = Path(__file__).resolve().parents[2]


def write(run_dir: Path, images: int, interim: bool = False, keep: int = 0) -> Path:
    """What a snapshot does, with a model folder of two small files."""
    name = free_name(run_dir, images, {"seen": images})
    folder = run_dir / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(f'{{"provenance": {{"seen": {images}}}}}')
    (folder / "generator.safetensors").write_bytes(b"weights")
    note_written(run_dir, name, interim)
    prune_snapshots(run_dir, keep, set())
    return folder


def names(run_dir: Path) -> list[str]:
    return sorted(path.name for path in run_dir.glob("network-*"))


def test_only_what_the_run_wrote_counts_and_the_newest_stays(tmp_path):
    """A5f: beside a user's own folder, whatever its name sorts as."""
    for own in ("network-best", "network-000000", "network-999999"):
        (tmp_path / own).mkdir()
        (tmp_path / own / "config.json").write_text("{}")
    for images in (20_000, 40_000, 60_000):
        assert write(tmp_path, images, keep=1).is_dir()
    kept = ["network-000000", "network-000060", "network-999999", "network-best"]
    assert names(tmp_path) == kept


def test_a_run_that_fell_back_keeps_what_it_writes_then(tmp_path):
    """A5f: the newest is the one written last, not the one of most images."""
    write(tmp_path, 40_000, keep=1)
    write(tmp_path, 20_000, keep=1)
    assert names(tmp_path) == ["network-000020"]


def test_all_stay_where_none_is_to_go(tmp_path):
    """A5f."""
    for images in (1000, 2000, 3000):
        write(tmp_path, images, interim=images == 2000)
    assert names(tmp_path) == ["network-000001", "network-000002", "network-000003"]


def test_without_a_record_nothing_is_deleted(tmp_path):
    """A5f: runs of before it, and a record that cannot be read."""
    for record in (None, "{", "[]", '{"snapshots": 3}', '{"snapshots": [{"name": 1}]}'):
        write(tmp_path, 1000)
        (tmp_path / RECORD).unlink() if record is None else (tmp_path / RECORD).write_text(record)
        write(tmp_path, 2000, keep=1)
        assert names(tmp_path) == ["network-000001", "network-000002"], record


def reason(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Why the first of two snapshots stays although one is to be kept; it does, with one line."""
    first, second = write(run_dir, 1000), write(run_dir, 2000)
    told: set[str] = set()
    for _ in range(2):
        prune_snapshots(run_dir, 1, told)
    assert first.is_dir() and second.is_dir()
    said = capsys.readouterr().err
    assert said.startswith(f"note: {first} stays beyond --run.keep_snapshots 1: ")
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize("where", ["runs/mine/network-000001", "/x/runs/mine/network-000001/a.pt"])
def test_what_the_settings_of_a_run_beside_it_name_stays(where, tmp_path, capsys):
    """A5f: an encoder trained on it, a run begun from it."""
    other = tmp_path / "runs/encoder/config.yaml"
    other.parent.mkdir(parents=True)
    other.write_text(f"model:\n  init_args:\n    generator: {where}\n")
    assert f"{other} names it" in reason(tmp_path / "runs/mine", capsys)
    other.write_text("model:\n  init_args:\n    generator: runs/mine/network-000001-500\n")
    prune_snapshots(tmp_path / "runs/mine", 1, set())
    assert names(tmp_path / "runs/mine") == ["network-000002"]


def test_what_something_elsewhere_is_built_on_stays_as_long_as_that_is_there(tmp_path, capsys):
    """A5f: an edit, an inverted photograph, a run in another place."""
    run_dir, edit = tmp_path / "run", tmp_path / "out" / "edit.safetensors"
    first = write(run_dir, 1000)
    (run_dir / "config.yaml").write_text("run:\n")
    edit.parent.mkdir()
    edit.touch()
    for _ in range(2):
        mark_used(first / "generator.safetensors", edit)
    assert (first / USED_BY).read_text() == f"{edit}\n"
    assert f"{edit} is built on it" in reason(run_dir, capsys)
    edit.unlink()
    prune_snapshots(run_dir, 1, set())
    assert names(run_dir) == ["network-000002"]


def test_other_models_are_not_written_into(tmp_path):
    """A5f: a shipped model, a folder that no run holds."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    mark_used(tmp_path / "model", tmp_path)
    mark_used("vehicles64", tmp_path)
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["config.json"]


def add_a_file(folder: Path) -> None:
    (folder / "keep").touch()


def train_it_further(folder: Path) -> None:
    (folder / "config.json").write_text('{"provenance": "mine"}')


def put_a_link(folder: Path) -> None:
    shutil.move(folder, folder.parent.parent / "moved")
    folder.symlink_to(folder.parent.parent / "moved")


@pytest.mark.parametrize("change", [add_a_file, train_it_further, put_a_link])
def test_what_the_user_made_his_own_stays(change, tmp_path, capsys):
    """A5f: with a marker, with other weights, with a link to another place."""
    run_dir = tmp_path / "run"
    first = write(run_dir, 1000)
    change(first)
    write(run_dir, 2000)
    prune_snapshots(run_dir, 1, set())
    assert first.is_dir() and "stays beyond" in capsys.readouterr().err


def test_a_folder_of_somebody_elses_is_not_written_over(tmp_path):
    """A5f: but one that was never finished, or holds the very same, is."""
    mine = tmp_path / "network-000001"
    mine.mkdir()
    assert free_name(tmp_path, 1000, {"seen": 1}) == "network-000001"
    (mine / "config.json").write_text('{"provenance": {"seen": 1}}')
    assert free_name(tmp_path, 1000, {"seen": 1}) == "network-000001"
    assert free_name(tmp_path, 1000, {"seen": 2}) == "network-000001-new"


def test_names_of_snapshots_are_distinct(tmp_path):
    """A5f: also below a thousand images, and between thousands."""
    counts = [4, 8, 200, 400, 1000, 1004, 20_000, 20_500]
    assert [snapshot_name(count) for count in counts] == [
        "000000-004", "000000-008", "000000-200", "000000-400", "000001", "000001-004", "000020",
        "000020-500",
    ]  # fmt: skip
    snapshots = Snapshots(tmp_path, 0.2, 0.5)
    marked: list[int] = []
    snapshots._write = lambda _t, _m, images: marked.append(images)  # type: ignore[method-assign]
    for seen in (208, 416, 512):  # batches that do not divide the marks
        snapshots.at_mark(SimpleNamespace(), SimpleNamespace(seen_images=seen))  # type: ignore[arg-type]
    assert marked == [200, 400, 500]


class StopAfter(lightning.Callback):
    """Ends a training as a signal does, after so many images."""

    def __init__(self, images: int) -> None:
        self.images = images

    def on_train_batch_end(self, trainer, pl_module, *_) -> None:
        trainer.should_stop = pl_module.seen_images >= self.images


def run(run_dir: Path, *callbacks: lightning.Callback, keep: int = 0, **trainer: Any) -> None:
    run_dir.mkdir(exist_ok=True)
    snapshots = Snapshots(run_dir, 0.008, 0.016, keep)
    train(tiny_module(), 16, callbacks=(snapshots, *callbacks), **trainer)


@pytest.mark.parametrize(
    ("callbacks", "limits"),
    [((StopAfter(4),), {}), ((), {"max_steps": 1})],
    ids=["signal", "limit"],
)
def test_a_run_that_is_stopped_leaves_a_model_of_what_it_reached(callbacks, limits, tmp_path):
    """D9f: and a limit of the trainer's is such a stop, too."""
    run(tmp_path, *callbacks, **limits)
    assert names(tmp_path) == ["network-000000-004"]
    generator = open_model(tmp_path / "network-000000-004").network("generator")
    assert generator.provenance["seen_kimg"] == 0.004  # type: ignore[index]
    assert (tmp_path / "fakes000000-004.png").is_file()
    assert [one.interim for one in own_models(tmp_path)] == [True]


def test_what_a_stop_left_goes_with_the_next_snapshot_and_pushes_none_out(tmp_path):
    """D9f: however often a run is stopped, its regular snapshots are those to keep."""
    write(tmp_path, 1000, keep=2)
    write(tmp_path, 2000, keep=2)
    write(tmp_path, 2400, interim=True, keep=2)
    write(tmp_path, 2800, interim=True, keep=2)
    assert names(tmp_path) == ["network-000001", "network-000002", "network-000002-800"]
    write(tmp_path, 3000, keep=2)
    assert names(tmp_path) == ["network-000002", "network-000003"]


def test_a_run_that_finishes_writes_its_model_once(tmp_path):
    """D9f: the end is a mark; nothing more is left."""
    run(tmp_path, keep=1)
    assert names(tmp_path) == ["network-000000-016"]
    assert latest_model(tmp_path) == tmp_path / "network-000000-016"


def test_a_run_of_before_the_record_has_a_newest_model_too(tmp_path):
    """D9f."""
    assert latest_model(tmp_path) is None
    for name in ("network-000020", "network-000040", "network-000060"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").touch()
    shutil.rmtree(tmp_path / "network-000060")
    assert latest_model(tmp_path) == tmp_path / "network-000040"


# ----------------------------------------------------------------------------------- what docs name


def commands() -> list[tuple[str, list[str]]]:
    """Every command line of README, docs and the training command's help, with its page."""
    pages = [
        ROOT / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
        ROOT / "framework/cli/train.py",
    ]
    found = []
    for page in pages:
        text = page.read_text("utf-8").replace("\\\\\n", " ").replace("\\\n", " ")
        lines = re.findall(r"^\s+(python (?:train|edit)\.py .*)$", text, re.M)
        found += [(page.name, line.split()) for line in lines]
    return found


def test_no_page_names_a_snapshot_that_its_own_command_deletes():
    """A5f: what is there once the run that a page begins has ended."""
    runs, named = {}, []
    for page, words in commands():
        options = dict(itertools.pairwise(words))
        if words[1:3] == ["train.py", "fit"] and "--run.dir" in options:
            settings = yaml.safe_load((ROOT / options["--config"]).read_text("utf-8"))["run"]
            given = {key.removeprefix("--run."): options[key] for key in options if "--run." in key}
            settings |= {key: yaml.safe_load(value) for key, value in given.items()}
            runs.setdefault(options["--run.dir"], (page, kept_at_the_end(settings)))
        named += [(page, w) for w in words if re.fullmatch(r".*/network-\d[\d-]*", w)]
    assert "runs/mine" in runs and named
    for page, path in named:
        run_dir, _, name = path.rpartition("/")
        assert run_dir not in runs or name in runs[run_dir][1], f"{page}: {path} is deleted"


def kept_at_the_end(settings: dict[str, Any]) -> list[str]:
    """The snapshots that a run with such settings has in the end."""
    every, total = round(settings["snapshot_kimg"] * 1000), round(settings["kimg"] * 1000)
    marks = [*range(every, total, every), total]
    return [
        f"network-{snapshot_name(mark)}" for mark in marks[-settings.get("keep_snapshots", 0) :]
    ]
