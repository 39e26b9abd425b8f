"""A run's folder: one process at a time trains in it, and leftovers of accidents are removed."""

import fcntl
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from framework.errors import UserError
from framework.files import check_no_link, open_in_place, write_text
from framework.formats.run_checkpoint import latest_whole, newest_first, set_damaged_aside
from framework.training.run_record import read_record

CONFIG, STATS = "config.yaml", "stats.jsonl"
LOG = "log.txt"
_LOCK = ".lock"
WRITTEN_IN_PLACE = (_LOCK, LOG, STATS)  # all else is written beside and renamed


def check_folder(folder: Path, resume: str) -> None:
    """Check that a run may begin or go on in `folder`; nothing is written.

    Raises:
        UserError: If the folder holds something else, or a run that must not be resumed.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; give a new folder", "run.dir")
    if not folder.is_dir():
        return
    for path in (*(folder / name for name in WRITTEN_IN_PLACE), *folder.glob("metric-*.jsonl")):
        check_no_link(path)
    if not any(path.name != _LOCK for path in folder.iterdir()):
        return
    if resume == "never":
        raise UserError(f"{folder}: already holds a run; give a new folder", "run.dir")
    if not (folder / CONFIG).is_file():
        raise UserError(f"{folder}: holds files but no run; give a new folder", "run.dir")


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest whole checkpoint of a run; None for a run that begins.

    Raises:
        UserError: If there are checkpoints and not one is whole.
    """
    checkpoint = latest_whole(folder)
    if checkpoint is None and any(newest_first(folder)):
        raise UserError(f"{folder}: none of its checkpoints is whole; give a new folder", "run.dir")
    return checkpoint


class LockedFolder:
    """A run folder that this process, and no other, works in.

    Two locks of the operating system, which end with their process, however that ends: one on the
    folder itself, which nobody can delete without deleting the folder, and one on a file in it, for
    the process number and for file systems that lock only files.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        self._file = -1
        try:
            self._file = open_in_place(path / _LOCK, os.O_RDWR)
            for handle in (self._folder, self._file):
                self._lock(handle)
            self._sign()
        except BaseException:
            self.close()
            raise

    def _lock(self, handle: int) -> None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self._signature() or "unknown"
            raise UserError(
                f"{self.path}: another training run (process {holder}) is at work in it; "
                "wait for it, stop it, or give a new folder",
                "run.dir",
            ) from None
        except OSError:
            pass  # a file system without locks

    def _signature(self) -> str:
        """Return the process number in the file; empty if there is none."""
        text = os.pread(self._file, 32, 0).decode("ascii", "replace").strip()
        return text if text.isdecimal() else ""

    def _sign(self) -> None:
        """Write our process number, unless the file has something that no run wrote."""
        if os.fstat(self._file).st_size and not self._signature():
            return
        try:
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)
            os.ftruncate(self._file, len(f"{os.getpid()}\n"))
        except OSError:
            pass  # a full disk: the lock holds without the number

    def check(self) -> None:
        """Check that the folder is still in its place; otherwise nothing must be written.

        Raises:
            UserError: If it was deleted, moved or replaced.
        """
        ours = os.fstat(self._folder)
        try:
            now = os.stat(self.path)
        except OSError:
            now = None
        if now is None or (now.st_dev, now.st_ino) != (ours.st_dev, ours.st_ino):
            raise UserError(
                f"{self.path}: was deleted or moved while the run was at work in it; "
                "the run ends and writes nothing more. If it was moved, give its new place",
                "run.dir",
            )

    def close(self) -> None:
        """Release both locks."""
        for handle in (self._folder, self._file):
            if handle >= 0:
                os.close(handle)


@contextmanager
def lock_folder(folder: Path) -> Iterator[LockedFolder]:
    """Create `folder` and keep every other run out of it.

    Raises:
        UserError: If another run works in it; after a failure, if the folder is gone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    locked_folder = LockedFolder(folder)
    try:
        yield locked_folder
    except Exception:
        locked_folder.check()  # a missing folder is the cause of whatever failed
        raise
    finally:
        locked_folder.close()


class Reached(NamedTuple):
    """How far a run ever came, also past the checkpoint that it goes on from.

    Attributes:
        images: Images seen, by the last line of statistics.
        total_sec: Seconds of training, over all sessions.
    """

    images: int = 0
    total_sec: float = 0.0


def reached(folder: Path) -> Reached:
    """Return how far a run came, by its statistics and by its record."""
    images, total_sec = _noted(read_record(folder).get("reached"))
    for line in _stats_lines(folder):
        try:
            table = json.loads(line)
            images = max(images, round(table["Progress/kimg"]["mean"] * 1000))
            total_sec = max(total_sec, float(table["Timing/total_sec"]["mean"]))
        except (ValueError, KeyError, TypeError, OverflowError):
            continue
    return Reached(images, total_sec)


def _noted(noted: Any) -> Reached:
    try:
        return Reached(int(noted[0]), float(noted[1]))
    except (ValueError, KeyError, TypeError, IndexError, OverflowError):
        return Reached()


def _stats_lines(folder: Path) -> list[str]:
    try:
        return (folder / STATS).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def clean_up(folder: Path, seen_kimg: float) -> None:
    """Remove what a killed run left: half-written files, and statistics past its checkpoint.

    Damaged checkpoints are set aside and named. The folder must be locked: a run at work needs
    these files.
    """
    for path in set_damaged_aside(folder):
        print(f"note: damaged, set aside: {path}", file=sys.stderr, flush=True)
    for place in (folder, folder / "checkpoints", *folder.glob("network-*")):
        for rest in place.glob(".*.part*"):
            if rest.is_symlink() or rest.is_file():
                rest.unlink(missing_ok=True)
    if (folder / STATS).is_file():
        keep_until(folder / STATS, seen_kimg, lambda line: line["Progress/kimg"]["mean"])


def keep_until(path: Path, seen_kimg: float, kimg_of: Callable[[Any], float]) -> None:
    """Remove from a log of JSON lines what lies beyond `seen_kimg`, and broken lines.

    Args:
        path: The log; not touched if all of it can stay.
        seen_kimg: Thousands of images from which the run goes on.
        kimg_of: Function from a decoded line to its thousands of images.
    """

    def stays(line: str) -> bool:
        try:
            return float(kimg_of(json.loads(line))) <= seen_kimg
        except (ValueError, KeyError, TypeError):
            return False

    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    staying = [line for line in lines if stays(line)]
    if len(staying) < len(lines):
        write_text(path, "".join(f"{line}\n" for line in staying))
