"""What can go wrong in a training ends it with one line, and never costs what was saved."""

import errno
import os
import resource
import signal
from pathlib import Path

import lightning
import pytest
import torch

from framework.errors import BrokenCheckpoint, UserError
from framework.formats.run_checkpoint import is_whole, latest_whole, read_checkpoint
from framework.training import checkpoint_io
from framework.training.callbacks import RunCheckpoints
from framework.training.checkpoint_io import WholeCheckpointIO
from framework.training.data import TrainingImages
from framework.training.status import StatusLine
from tests.training import processes
from tests.training.processes import finish, fit, start
from tests.training.tiny import tiny_module, train


class Spoil(lightning.Callback):
    """Puts NaN into one tensor after the second batch."""

    def __init__(self, name: str) -> None:
        self.name = name

    def on_train_batch_end(self, trainer, pl_module, *_) -> None:
        if pl_module.seen_images == 8:
            pl_module.state_dict()[self.name].view(-1)[0] = torch.nan


@pytest.mark.parametrize(
    "name", ["generator_ema.synthesis.b8.conv0.weight", "discriminator.b4.out.bias"]
)
# A7, A8
def test_weights_that_are_not_finite_are_never_saved(name, tmp_path):
    saving = RunCheckpoints(tmp_path, 0.008, 1, keep=5)
    with pytest.raises(UserError, match=f"^{name} is no longer finite"):
        train(tiny_module(ema_rampup=None, ema_kimg=1e6), 40, callbacks=(saving, Spoil(name)))
    saved = latest_whole(tmp_path)
    assert saved is not None and saved.name == "run-00000000008.ckpt"
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


def lose_the_way() -> None:
    from framework.training.stylegan2 import losses

    losses.mix_styles = lambda ws, *_: ws * torch.nan  # type: ignore[assignment]


# A6
def test_a_loss_that_stays_nan_ends_the_run_within_a_few_batches(tmp_path):
    run_dir, log = tmp_path / "run", tmp_path / "log"
    args = fit(run_dir, "--run.kimg", "1", "--run.tick_kimg", "0.004")
    assert finish(start(args, log, before=lose_the_way)) == 2
    said = log.read_text()
    assert said.strip().splitlines()[-1].startswith("error: Gmain: ")
    assert "gradients a step were not finite" in said and "Traceback" not in said
    assert said.count("tick ") <= 8
    assert latest_whole(run_dir) is None


def save(path: Path, size: int) -> None:
    WholeCheckpointIO().save_checkpoint({"dragline": {"format": 1}, "w": torch.ones(size)}, path)


def save_beyond_the_limit(path: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        save(path, 100_000)
    except UserError as error:
        assert str(path) in str(error) and "not saved" in str(error) and "\n" not in str(error)
    else:
        raise AssertionError("saved beyond the limit")


# A9
def test_a_full_disk_is_an_error_and_costs_no_checkpoint(tmp_path):
    path = tmp_path / "run-00000000004.ckpt"
    save(path, 1000)
    for target in (path, tmp_path / "run-00000000008.ckpt"):
        assert finish(processes.run(save_beyond_the_limit, target)) == 0
        assert sorted(p.name for p in tmp_path.iterdir()) == [
            path.name,
            path.with_suffix(".json").name,
        ]
        assert is_whole(path) and len(read_checkpoint(path)["w"]) == 1000


# A10
def test_an_error_while_saving_ends_the_training(tmp_path, monkeypatch):
    saving, written = RunCheckpoints(tmp_path, 0.004, 1, keep=5), []

    def write(checkpoint, path) -> None:
        if written:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        written.append(path)
        checkpoint_io_write(checkpoint, path)

    checkpoint_io_write = checkpoint_io.write_checkpoint
    monkeypatch.setattr(checkpoint_io, "write_checkpoint", write)
    with pytest.raises(UserError, match=r"00000000008.ckpt: not saved \(Permission denied; "):
        train(tiny_module(), 40, callbacks=(saving,))
    assert latest_whole(tmp_path) == written[0]


def test_an_unwritable_log_is_told_once_and_ends_nothing(tmp_path, capsys):
    missing = tmp_path / "gone"
    train(tiny_module(), 16, callbacks=(StatusLine(missing, 0.004, 0.016),))
    said = capsys.readouterr()
    assert said.out.count("tick ") == 4
    assert said.err.count(f"note: {missing}") == 1


def test_a_checkpoint_of_another_run_is_refused_by_the_module_itself(tmp_path):
    train(tiny_module(), 8, callbacks=(RunCheckpoints(tmp_path, 1, 1, keep=1),))
    saved = latest_whole(tmp_path)
    resumed = tiny_module()
    train(resumed, 16, checkpoint=saved)
    assert resumed.seen_images == 16
    with pytest.raises(UserError, match=r"seed 0, now 3"):
        train(tiny_module(seed=3), 16, checkpoint=saved)


def test_a_damaged_checkpoint_is_not_resumed(tmp_path):
    path = tmp_path / "run-00000000004.ckpt"
    save(path, 1000)
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 1
    path.write_bytes(held)
    with pytest.raises(BrokenCheckpoint, match="damaged"):
        WholeCheckpointIO().load_checkpoint(path)


def test_weights_alone_come_back_as_they_were(tmp_path):
    WholeCheckpointIO().save_checkpoint({"a.weight": torch.ones(2)}, tmp_path / "w.ckpt")
    assert list(WholeCheckpointIO().load_checkpoint(tmp_path / "w.ckpt")) == ["a.weight"]
    WholeCheckpointIO().remove_checkpoint(tmp_path / "w.ckpt")
    assert not list(tmp_path.iterdir())


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(UserError, match=r"--data\.batch_size 0"):
        TrainingImages(batch_size=0)
