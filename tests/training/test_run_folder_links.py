"""What a run writes in place is never another file, and a folder is held as long as its run lives.

Rows B2f and B8f of docs/reliability.md; each test says which.
"""

import errno
import os
import shutil
from pathlib import Path

import lightning
import pytest

from framework.errors import UserError
from framework.files import append_line, open_in_place, whole_file
from framework.formats.run_checkpoint import checkpoint_path
from framework.training.callbacks import FolderWatch, RunCheckpoints
from framework.training.checkpoint_io import WholeCheckpointIO
from framework.training.failures import in_words
from framework.training.run_folder import WRITTEN_IN_PLACE, check_folder, lock_folder
from framework.training.status import StatusLine
from tests.training.test_faults_saving import refused
from tests.training.tiny import tiny_module, train


@pytest.fixture
def treasure(tmp_path) -> Path:
    file = tmp_path / "treasure"
    file.write_bytes(b"precious\n")
    return file


@pytest.mark.parametrize("name", [*WRITTEN_IN_PLACE, "metric-swd.jsonl"])
def test_a_link_in_a_run_folder_is_refused_and_its_target_stays(name, treasure, tmp_path):
    """B2f: before anything is written; also where the link leads nowhere."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    for target in (treasure, tmp_path / "nowhere"):
        (run_dir / name).symlink_to(target)
        with pytest.raises(UserError, match=rf"{name}: is a symbolic link"):
            check_folder(run_dir, "auto")
        (run_dir / name).unlink()
    assert treasure.read_bytes() == b"precious\n" and not (tmp_path / "nowhere").exists()


def test_the_lock_follows_no_link_and_empties_nothing(treasure, tmp_path):
    """B2f: a link, a second name of another file, a file that no run wrote, a pipe."""
    lock = tmp_path / "run" / ".lock"
    lock.parent.mkdir()
    lock.symlink_to(treasure)
    with pytest.raises(UserError, match="is a symbolic link"), lock_folder(lock.parent):
        pass
    lock.unlink()
    for make in (os.link, shutil.copyfile):
        make(treasure, lock)
        with lock_folder(lock.parent):
            pass
        assert lock.read_bytes() == treasure.read_bytes() == b"precious\n"
        lock.unlink()
    os.mkfifo(lock)
    with pytest.raises(UserError, match="not an ordinary file"), lock_folder(lock.parent):
        pass


def test_a_log_follows_no_link_and_parts_from_copies_of_itself(treasure, tmp_path):
    """B2f: a hard link is how `cp -l` copies; the copy must not grow with the run."""
    log = tmp_path / "log.txt"
    log.symlink_to(treasure)
    with pytest.raises(UserError, match="is a symbolic link"):
        append_line(log, "tick")
    log.unlink()
    os.link(treasure, log)
    append_line(log, "tick")
    append_line(log, "tock")
    assert log.read_bytes() == b"precious\ntick\ntock\n" and treasure.read_bytes() == b"precious\n"
    os.unlink(log)
    os.link(treasure, log)
    with open(log, "w", opener=open_in_place) as file:
        file.write("anew")
    assert (log.read_bytes(), treasure.read_bytes()) == (b"anew", b"precious\n")


def test_a_temporary_file_is_no_link_that_lay_in_wait(treasure, tmp_path):
    """B2f: the name of a temporary file can be guessed."""
    path = tmp_path / "grid.png"
    waiting = tmp_path / f".grid.{os.getpid()}.part.png"
    waiting.symlink_to(treasure)
    with whole_file(path) as temporary:
        temporary.write_bytes(b"picture")
    assert path.read_bytes() == b"picture" and not path.is_symlink()
    assert treasure.read_bytes() == b"precious\n" and not waiting.is_symlink()


# -------------------------------------------------------------------------- a folder that goes away


@pytest.mark.parametrize("happens", ["deleted", "moved", "replaced"])
def test_a_folder_that_went_away_is_noticed(happens, tmp_path):
    """B8f: by what it is, not by its name."""
    run_dir = tmp_path / "run"
    with lock_folder(run_dir) as held:
        held.check()
        (run_dir / ".lock").unlink()
        held.check()  # the folder is the same
        shutil.move(run_dir, tmp_path / "elsewhere")
        if happens == "deleted":
            shutil.rmtree(tmp_path / "elsewhere")
        if happens == "replaced":
            run_dir.mkdir()
        with pytest.raises(UserError, match=r"was deleted or moved.*writes nothing more"):
            held.check()


def test_who_deletes_the_lock_opens_no_door(tmp_path):
    """B8f: the folder itself is locked, too."""
    with lock_folder(tmp_path):
        (tmp_path / ".lock").unlink()
        with pytest.raises(UserError, match="is at work in it"), lock_folder(tmp_path):
            pass
    with lock_folder(tmp_path):
        pass


class Take(lightning.Callback):
    """Moves the run's folder away after the first batch, and may put another into its place."""

    def __init__(self, run_dir: Path, other: Path | None) -> None:
        self.run_dir, self.other = run_dir, other

    def on_train_batch_end(self, *_) -> None:
        self.run_dir.rename(self.run_dir.with_name("gone"))
        if self.other is not None:
            self.other.rename(self.run_dir)


@pytest.mark.parametrize("taken", [False, True], ids=["gone", "taken by another run"])
def test_a_run_whose_folder_is_gone_writes_nothing_more(taken, tmp_path):
    """B8f: neither into its own, which it would make anew in parts, nor into another run's."""
    run_dir, other, watch = tmp_path / "run", tmp_path / "other", FolderWatch()
    other.mkdir()
    writers = (StatusLine(run_dir, 0.004, 1), RunCheckpoints(run_dir, 0.004, 1, keep=5))
    with (
        pytest.raises(UserError, match="was deleted or moved"),
        lock_folder(run_dir) as watch.folder,
    ):
        taking = Take(run_dir, other if taken else None)
        train(tiny_module(), 40, callbacks=(taking, watch, *writers))
    assert run_dir.exists() == taken and not any(run_dir.glob("*"))
    assert [path.name for path in (tmp_path / "gone").iterdir()] == [".lock"]


def test_a_checkpoint_does_not_bring_a_deleted_folder_back(tmp_path):
    """B8f."""
    with pytest.raises(UserError, match="not saved"):
        WholeCheckpointIO().save_checkpoint({"dragline": {}}, checkpoint_path(tmp_path / "run", 4))
    assert not any(tmp_path.iterdir())


def test_what_fails_in_a_folder_that_went_away_failed_for_that(tmp_path):
    """B8f: whatever it is that notices first."""
    with (
        pytest.raises(UserError, match="was deleted or moved"),
        lock_folder(tmp_path / "run") as held,
    ):
        shutil.rmtree(held.path)
        (held.path / "fakes.png").touch()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("could not create a primitive"), "out of memory: fewer"),
        (RuntimeError("std::bad_alloc"), "out of memory: fewer"),
        (RuntimeError("can't start new thread"), "out of memory: fewer"),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), "out of memory: fewer"),
        (OSError(errno.EFBIG, "File too large", "grid.png"), "grid.png: File too large; the last"),
        (OSError(errno.ENOSPC, "No space left", "run.json"), "run.json: No space left; the last"),
        (RuntimeError("shapes do not match"), None),
    ],
)
def test_every_way_to_say_that_memory_or_a_disk_is_full_is_one_line(error, words):
    """B8f: a library's own words for it, too; a fault of the program's stays one."""
    told = in_words(error, lambda on_gpu: "on a GPU" if on_gpu else "fewer")
    assert (told is None) == (words is None) and (words is None or words in str(told))


def test_a_link_where_a_log_was_ends_a_run_before_it_begins(begun, treasure):
    """B2f: at the command line."""
    (begun / "log.txt").unlink()
    (begun / "log.txt").symlink_to(treasure)
    assert "log.txt: is a symbolic link" in refused(begun)
    assert treasure.read_bytes() == b"precious\n"
