"""A run's folder: one training at a time, of one kind of run, without the rests of accidents."""

import fcntl
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from framework.checkpoint import latest_whole, newest_first, set_damaged_aside
from framework.errors import UserError
from framework.files import write_text

CONFIG, STATS = "config.yaml", "stats.jsonl"
_LOCK = ".lock"
# Where the same numbers are computed with, not what: a run may go on on another machine.
_MACHINE = ("low_precision", "low_precision_blocks", "conv_clamp")
# Settings that came after the first runs were written, and what those had.
_LATER: dict[str, Any] = {"architecture": "resnet", "label_fade": False}


def check_folder(folder: Path, resume: str) -> None:
    """Look whether a run may begin or go on in `folder`; nothing is written.

    Raises:
        UserError: If the folder holds something else, or a run that must not be resumed.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--run.dir {folder}: is a file; give a new folder")
    if not folder.is_dir() or not any(path.name != _LOCK for path in folder.iterdir()):
        return
    if resume == "never":
        raise UserError(f"--run.dir {folder}: already holds a run; give a new folder")
    if not (folder / CONFIG).is_file():
        raise UserError(f"--run.dir {folder}: holds files but no run; give a new folder")


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run; None for a run that begins.

    Raises:
        UserError: If there are checkpoints and not one is whole.
    """
    checkpoint = latest_whole(folder)
    if checkpoint is None and any(newest_first(folder)):
        raise UserError(f"--run.dir {folder}: none of its checkpoints is whole; give a new folder")
    return checkpoint


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep every other training out of `folder`, which is created.

    The lock is the operating system's, so it dies with its process, however that ends; the process
    number in the file is for the message.

    Raises:
        UserError: If a training is at work in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 32).decode("ascii", "replace").strip() or "unknown"
            raise UserError(
                f"--run.dir {folder}: another training (process {holder}) is at work in it; "
                "wait for it, stop it, or give a new folder"
            ) from None
        except OSError:
            pass  # a file system without locks: nothing can be promised there
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(handle)


def check_same_run(held: dict[str, Any], ours: dict[str, Any]) -> None:
    """Compare what a checkpoint says it is with what is asked for.

    Args:
        held: What a checkpoint keeps under `dragline`; may hold more than `ours`.
        ours: What must not change, nested tables of plain values.

    Raises:
        UserError: Naming every setting that differs, with both values.
    """
    old, new = _flat(held), _flat(ours)
    for name in new:
        old.setdefault(name, _LATER.get(name.split(".")[-1], "unset"))
    differing = [
        f"{name} {old[name]}, now {new[name]}"
        for name in sorted(new)
        if old[name] != new[name] and name.split(".")[-1] not in _MACHINE
    ]
    if differing:
        raise UserError(
            f"the run in this folder was begun with other settings: {'; '.join(differing)}. "
            "Give a new --run.dir, or the old settings"
        )


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, its names joined by dots."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat


def clean_up(folder: Path, seen_kimg: float) -> None:
    """Remove what a killed training left: half-written files, and statistics past its checkpoint.

    Checkpoints that are damaged are set aside and named. Only with the folder locked: to a training
    at work these files are its own.
    """
    for path in set_damaged_aside(folder):
        print(f"note: damaged, set aside: {path}", file=sys.stderr, flush=True)
    for place in (folder, folder / "checkpoints", *folder.glob("network-*")):
        for rest in place.glob(".*.part*"):
            rest.unlink(missing_ok=True)
    if (folder / STATS).is_file():
        keep_until(folder / STATS, seen_kimg, lambda line: line["Progress/kimg"]["mean"])


def keep_until(path: Path, seen_kimg: float, kimg_of: Callable[[Any], float]) -> None:
    """Remove from a log of JSON lines what lies beyond `seen_kimg`, and broken lines.

    Args:
        path: The log; not touched if all of it can stay.
        seen_kimg: Thousands of images that the run goes on from.
        kimg_of: Where a line, decoded, belongs.
    """

    def stays(line: str) -> bool:
        try:
            return float(kimg_of(json.loads(line))) <= seen_kimg
        except (ValueError, KeyError, TypeError):
            return False

    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    kept = [line for line in lines if stays(line)]
    if len(kept) < len(lines):
        write_text(path, "".join(f"{line}\n" for line in kept))
