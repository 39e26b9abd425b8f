"""Nothing that goes wrong while saving, or after it, costs what was saved.

Rows A1-A20 of docs/reliability.md; each test says which.
"""

import json
import resource
import shutil
import signal
import tempfile
from pathlib import Path

import lightning
import pytest
import torch

from framework.errors import UserError
from framework.formats.run_checkpoint import (
    FORMAT_VERSION,
    checkpoint_path,
    is_whole,
    latest_whole,
    manifest_path,
    newest_first,
    prune,
    read_checkpoint,
    write_checkpoint,
)
from framework.training.callbacks import RunCheckpoints
from tests.training.processes import contents, finish, fit, run, start, wait_for
from tests.training.tiny import tiny_module, train

ENDLESS = ("--run.kimg", "1000", "--run.tick_kimg", "0.004", "--run.wandb", "disabled")


def refused(run_dir: Path, *extra: str, before=None) -> str:
    """The one line with which a training that goes on in `run_dir` ends."""
    log = run_dir.with_suffix(".log")
    args = fit(run_dir, "--run.kimg", "0.1", "--run.wandb", "disabled", *extra)
    assert finish(start(args, log, before=before)) == 2, log.read_text()
    said = log.read_text()
    assert "Traceback" not in said and said.count("error: ") == 1
    return said.splitlines()[-1]


# ------------------------------------------------------------------------------- while it is saved


def test_saving_needs_no_other_place_than_the_runs(tmp_path, monkeypatch):
    """A2: the folder for temporary files may lie on another disk, be full or not be there."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    train(tiny_module(), 8, callbacks=(RunCheckpoints(tmp_path, 0.004, 1, keep=5),))
    assert [is_whole(path) for path in newest_first(tmp_path)] == [True, True]


class SpoilOptimizer(lightning.Callback):
    """Puts NaN into what an optimizer remembers after the second batch, the weights still good."""

    def on_train_batch_end(self, trainer, pl_module, *_) -> None:
        if pl_module.seen_images == 8:
            weight = pl_module.discriminator.b4.out.weight
            trainer.optimizers[1].state[weight]["exp_avg_sq"].view(-1)[0] = torch.nan


def test_an_optimizer_that_is_not_finite_is_never_saved(tmp_path):
    """A7: its next step would carry the NaN into the weights."""
    saving = RunCheckpoints(tmp_path, 0.004, 1, keep=5)
    with pytest.raises(UserError, match=r"^exp_avg_sq of discriminator\.b4\.out\.weight in its"):
        train(tiny_module(), 40, callbacks=(SpoilOptimizer(), saving))
    assert [path.name for path in newest_first(tmp_path)] == ["run-00000000004.ckpt"]
    assert latest_whole(tmp_path) is not None


def limit_files() -> None:
    """A full disk: no file may become larger than a settings file."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_a_full_disk_ends_the_command_with_what_is_missing(begun):
    """A9."""
    before = contents(begun / "checkpoints")
    line = refused(begun, before=limit_files)
    assert "run-00000000080.ckpt: not saved (" in line and "MB needed, " in line
    assert "MB free" in line and "the same command goes on" in line
    assert contents(begun / "checkpoints") == before
    assert finish(start(fit(begun, "--run.kimg", "0.012"), begun.with_suffix(".again"))) == 0


def test_a_folder_that_cannot_be_written_to_is_not_passed_over(tmp_path):
    """A10: Lightning's own writer would say nothing, and save nothing."""
    (tmp_path / "checkpoints").write_text("a file in the way")
    saving = RunCheckpoints(tmp_path, 0.004, 1, keep=5)
    with pytest.raises(UserError, match=r"run-00000000004.ckpt: not saved \(File exists"):
        train(tiny_module(), 8, callbacks=(saving,))


CONTENT = {"dragline": {"format": FORMAT_VERSION, "seen_images": 7}, "w": torch.arange(500.0)}


def rewrite_and_die(path: Path) -> None:
    """Rewrite a checkpoint and be killed at its manifest's end, its file not yet in place."""
    from framework.formats import run_checkpoint as module

    def write_and_die(*args: object) -> None:
        write_text(*args)
        signal.raise_signal(signal.SIGKILL)

    write_text = module.write_text
    module.write_text = write_and_die  # type: ignore[assignment]
    write_checkpoint({**CONTENT, "w": torch.zeros(600)}, path)


def test_a_kill_between_manifest_and_file_costs_no_checkpoint(tmp_path):
    """A1: also where a checkpoint is written again under its own name, and again after that."""
    path = checkpoint_path(tmp_path, 7)
    write_checkpoint(CONTENT, path)
    for _ in range(2):
        assert finish(run(rewrite_and_die, path)) == -signal.SIGKILL
        assert len(read_checkpoint(path)["w"]) == 500
    write_checkpoint({**CONTENT, "w": torch.zeros(600)}, path)
    assert len(read_checkpoint(path)["w"]) == 600


# ----------------------------------------------------------------------------------- what is kept


def damage(path: Path) -> None:
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 1
    path.write_bytes(held)


def test_the_last_good_checkpoint_is_never_deleted(tmp_path):
    """A1: not even if newer ones, which are to be kept, turn out to be damaged."""
    paths = [checkpoint_path(tmp_path, seen) for seen in (1, 2, 3, 4)]
    for path in paths:
        write_checkpoint(CONTENT, path)
    for path in paths[2:]:
        damage(path)
    prune(tmp_path, keep=2)
    assert list(newest_first(tmp_path)) == [paths[3], paths[2], paths[1]]
    assert latest_whole(tmp_path) == paths[1]


def test_a_run_that_falls_back_keeps_what_it_saves_then(begun):
    """A1: damaged checkpoints that are newer do not count among those to keep."""
    newer = checkpoint_path(begun, 999)
    shutil.copy(checkpoint_path(begun, 8), newer)
    newer.write_bytes(b"half")
    log = begun.with_suffix(".log")
    args = fit(begun, "--run.kimg", "0.016", "--run.keep_checkpoints", "1")
    assert finish(start(args, log)) == 0
    assert f"note: damaged, set aside: {newer}.damaged" in log.read_text()
    assert list(newest_first(begun)) == [checkpoint_path(begun, 16)]
    assert latest_whole(begun) == checkpoint_path(begun, 16)
    assert newer.with_name(newer.name + ".damaged").read_bytes() == b"half"


# ------------------------------------------------------------------------------------ going on


def test_everything_that_makes_it_another_run_is_named_at_once(begun):
    """A16: before a step is taken, and before anything is written."""
    before = contents(begun)
    changed = ("--data.size", "32", "--data.channels", "1", "--model.networks.z_dim", "4")
    line = refused(begun, *changed)
    for words in (
        "generator.img_size [16, 16], now [32, 32]",
        "generator.img_channels 3, now 1",
        "generator.z_dim 8, now 4",
        "other pictures: size [16, 16], now [32, 32]",
    ):
        assert words in line, line
    assert contents(begun) == before


def test_a_run_of_a_newer_version_is_left_as_it_is(begun):
    """A17."""
    path = checkpoint_path(begun, 8)
    held = read_checkpoint(path)
    held["dragline"]["format"] = FORMAT_VERSION + 1
    write_checkpoint(held, path)
    before = contents(begun)
    line = refused(begun)
    assert f"written in format {FORMAT_VERSION + 1}, this version reads up to" in line
    assert "update dragline" in line and contents(begun) == before


def test_a_run_of_an_older_version_goes_on_and_its_file_stays(begun):
    """A17: what it did not know of yet, it had at its default."""
    path = checkpoint_path(begun, 8)
    held = read_checkpoint(path)
    del held["dragline"]["discriminator"]["architecture"], held["dragline"]["layout"]
    write_checkpoint(held, path)
    before = path.read_bytes(), manifest_path(path).read_bytes()
    args = fit(begun, "--run.kimg", "0.012", "--run.wandb", "disabled")
    assert finish(start(args, begun.with_suffix(".log"))) == 0
    assert (path.read_bytes(), manifest_path(path).read_bytes()) == before
    assert (
        "architecture" in read_checkpoint(checkpoint_path(begun, 12))["dragline"]["discriminator"]
    )


def kimgs(run_dir: Path) -> list[float]:
    lines = (run_dir / "stats.jsonl").read_text().splitlines()
    return [json.loads(line)["Progress/kimg"]["mean"] for line in lines]


def test_a_killed_run_leaves_a_log_that_can_be_read(tmp_path):
    """A20: a broken last line is dropped by whoever goes on, and no line comes twice."""
    run_dir, log = tmp_path / "run", tmp_path / "log"
    process = start(fit(run_dir, *ENDLESS, "--run.checkpoint_kimg", "0.016"), log)
    wait_for(lambda: len(list(newest_first(run_dir))) and "tick 7" in log.read_text(), process)
    process.kill()
    finish(process)
    lines = (run_dir / "stats.jsonl").read_text().splitlines()
    assert all(json.loads(line) for line in lines[:-1])
    with open(run_dir / "stats.jsonl", "a") as file:
        file.write(lines[0][:40])
    saved = latest_whole(run_dir)
    assert saved is not None
    end = int(saved.stem.split("-")[1]) + 8
    args = (*ENDLESS, "--run.kimg", str(end / 1000))
    assert finish(start(fit(run_dir, *args), log)) == 0
    assert kimgs(run_dir) == [images / 1000 for images in range(4, end + 1, 4)]
