"""The folder of a report: records are saved as they come, so that no work is done twice."""

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from framework.errors import UserError
from framework.files import check_new_folder, open_in_place
from framework.media.images import read_image, save_png

RESULTS, PICTURES = "results.jsonl", "pictures"
_SESSION = "session"
Key = tuple[str, int]


class Record(NamedTuple):
    """The measurements of one kind, with its index among all of that kind.

    `facts` are JSON values, `images` the pictures to save, uint8 (H, W, C), by name.
    """

    kind: str
    index: int
    facts: dict[str, Any]
    images: dict[str, np.ndarray]


class ReportFolder:
    """A report's folder, locked by one process at a time; used in a `with`.

    Each record is one line of `results.jsonl`, written after its pictures. A line that a killed
    process left unfinished is dropped, and its record is made again.

    Args:
        out: New or empty folder, or the folder of the same report.
        form: Name of this form of report, in the first line.
        identity: Facts that must be equal for records to belong together; JSON values.
        session: Facts on this process: machine, date; JSON values.
        flag: The flag that set `out`, for messages.

    Raises:
        UserError: If the folder contains something else or another report, or is in use.
    """

    def __init__(
        self,
        out: str | Path,
        form: str,
        identity: Mapping[str, Any],
        session: Mapping[str, Any],
        flag: str = "--out",
    ) -> None:
        self.path, self._form = Path(out), form
        results = self.path / RESULTS
        if not results.is_file():
            check_new_folder(self.path, flag)
        self.path.mkdir(parents=True, exist_ok=True)
        self._file = open(results, "a+b", opener=open_in_place)
        try:
            _lock(self._file, f"{flag} {self.path}")
            self._lines = self._read()
            if not self._lines:
                self._append({"format": form, "identity": identity})
            self._check(json.loads(json.dumps(identity)), f"{flag} {self.path}")
            self._append({"kind": _SESSION, **session})
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def done(self) -> set[Key]:
        """Kinds and indices of the records so far."""
        return {(line["kind"], line["index"]) for line in self.records}

    @property
    def records(self) -> list[dict[str, Any]]:
        """All records with kind, index and facts."""
        return [line for line in self._lines[1:] if line["kind"] != _SESSION]

    @property
    def sessions(self) -> list[dict[str, Any]]:
        """Facts on the processes that worked on the report, in order."""
        sessions = [line for line in self._lines[1:] if line["kind"] == _SESSION]
        return [{n: value for n, value in line.items() if n != "kind"} for line in sessions]

    def keep(self, record: Record) -> None:
        """Save a record: its pictures, then its line."""
        folder = self._folder(record.kind, record.index)
        if record.images:
            folder.mkdir(parents=True, exist_ok=True)
        for name, image in record.images.items():
            save_png(folder / f"{name}.png", image)
        self._append({"kind": record.kind, "index": record.index, **record.facts})

    def image(self, kind: str, index: int, name: str, channels: int) -> np.ndarray | None:
        """Read a record's picture, uint8 (H, W, C); None if there is none."""
        path = self._folder(kind, index) / f"{name}.png"
        return read_image(path, channels) if path.exists() else None

    def _folder(self, kind: str, index: int) -> Path:
        return self.path / PICTURES / f"{kind}{index:04d}"

    def _read(self) -> list[dict[str, Any]]:
        """Read all complete lines; an unfinished line of a killed process is cut off."""
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        self._file.truncate(whole)
        try:
            lines = [json.loads(line) for line in data[:whole].splitlines()]
            if all(isinstance(line, dict) for line in lines):
                return lines
        except ValueError:
            pass
        raise UserError(f"{self.path / RESULTS}: damaged; give a new folder")

    def _check(self, identity: dict[str, Any], where: str) -> None:
        """Compare the identity of the records with that of this report."""
        head = self._lines[0]
        if head.get("format") != self._form:
            raise UserError(f"{where}: its {RESULTS} is no report's; give a new folder")
        if differing := ", ".join(differences(head["identity"], identity)):
            raise UserError(f"{where}: holds a report with another {differing}; give a new folder")

    def _append(self, facts: dict[str, Any]) -> None:
        line = json.dumps(facts)
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._lines.append(json.loads(line))  # as it would be read back


def _lock(file: Any, where: str) -> None:
    """Keep other processes out; the lock dies with this one, however it ends."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"{where}: another process is writing this report; wait for it, or give a new folder"
        ) from None
    except OSError:
        pass  # a file system without locks, on which nothing can be promised


def differences(stored: Any, ours: Any, name: str = "") -> list[str]:
    """Names of the values that differ, with dots between levels."""
    if not isinstance(stored, dict) or not isinstance(ours, dict):
        return [] if stored == ours else [name]
    return [
        differing
        for key in sorted({*stored, *ours})
        for differing in differences(stored.get(key), ours.get(key), f"{name}.{key}".lstrip("."))
    ]
