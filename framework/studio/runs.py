"""Training runs on this disk, as a page shows them: numbers, sheets of pictures, snapshots."""

import json
import math
import re
from pathlib import Path
from typing import Any

from framework.errors import UserError

STATS = "stats.jsonl"
MOST_RUNS, MOST_SHEETS = 200, 2000
MOST_READ_BYTES = 4 * 1024**2  # of stats.jsonl at a time
MOST_SHEET_BYTES = 64 * 1024**2
_SHEET = re.compile(r"[a-z][a-z_]{0,40}?(_init|\d{6}(-\d{3})?)?\.png")
_SNAPSHOT = re.compile(r"network-\d{6}(-\d{3})?")
_METRIC = re.compile(r"metric-[\w.-]{1,80}\.jsonl")
KIMG = "Progress/kimg"


class Runs:
    """The runs in a folder, by their names; nothing in them is changed.

    Args:
        folder: A run's folder, or a folder of runs; None for none.

    Raises:
        UserError: If there is no such folder.
    """

    def __init__(self, folder: str | None) -> None:
        self._folder = None if folder is None else Path(folder)
        if self._folder is not None and not self._folder.is_dir():
            raise UserError(f"{folder}: no such folder", "runs")

    @property
    def names(self) -> list[str]:
        """The names of the runs there are now, the newest first."""
        return [*self._found()]

    def snapshots(self) -> dict[str, str]:
        """Return the model folders of all runs: paths by names such as `cars/network-000400`."""
        return {
            f"{name}/{path.name}": str(path)
            for name, run in self._found().items()
            for path in sorted(run.glob("network-*"), reverse=True)
            if _SNAPSHOT.fullmatch(path.name) and (path / "config.json").is_file()
        }

    def progress(self, name: str, place: int = 0) -> dict[str, Any]:
        """Return what is new in a run's numbers since a place in its file, and all of its sheets.

        Args:
            name: Name of the run.
            place: What an earlier answer gave as `place`.

        Returns:
            `ticks`, the means of each tick by name, `place`, `sheets` by their beginning as
            [kimg, file] in order, `metrics` by name as [kimg, value], `snapshot`, the name of the
            newest model folder, or None.

        Raises:
            UserError: If there is no such run.
        """
        run = self._run(name)
        ticks, place = _ticks(run / STATS, place)
        snapshots = [snapshot for snapshot in self.snapshots() if snapshot.startswith(f"{name}/")]
        return {
            "place": place,
            "ticks": ticks,
            "sheets": _sheets(run),
            "metrics": _metrics(run),
            "snapshot": snapshots[0] if snapshots else None,
        }

    def sheet(self, name: str, file: str) -> bytes:
        """Return a sheet's file.

        Raises:
            UserError: If there is no such run or sheet.
        """
        run = self._run(name)
        path = run / file
        if not _SHEET.fullmatch(file) or path.is_symlink() or not path.is_file():
            raise UserError("no such sheet")
        if path.stat().st_size > MOST_SHEET_BYTES:
            raise UserError("this sheet is too large to be shown")
        return path.read_bytes()

    def _run(self, name: str) -> Path:
        run = self._found().get(name)
        if run is None:
            raise UserError("no such run")
        return run

    def _found(self) -> dict[str, Path]:
        folder = self._folder
        if folder is None:
            return {}
        if (folder / STATS).is_file():
            return {folder.resolve().name: folder}
        root = folder.resolve()
        runs = [
            path.parent
            for path in folder.glob(f"*/{STATS}")
            if path.resolve().is_relative_to(root) and path.is_file()
        ]
        runs.sort(key=lambda run: (run / STATS).stat().st_mtime, reverse=True)
        return {run.name: run for run in runs[:MOST_RUNS]}


def _ticks(path: Path, place: int) -> tuple[list[dict[str, float]], int]:
    """Read whole lines from a place on; a line that is being written waits for the next time."""
    size = path.stat().st_size
    place = place if 0 <= place <= size else 0  # a run that resumed has cut its file
    with open(path, "rb") as file:
        file.seek(place)
        data = file.read(MOST_READ_BYTES)
    whole = data[: data.rfind(b"\n") + 1]
    lines = (_object(line) for line in whole.splitlines())
    return [tick for line in lines if (tick := _means(line))], place + len(whole)


def _object(line: bytes) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _means(line: dict[str, Any]) -> dict[str, float]:
    """Return the finite means of a line, if it says at how many kimg it was."""
    means = {name: v["mean"] for name, v in line.items() if isinstance(v, dict) and "mean" in v}
    means = {name: value for name, value in means.items() if _is_finite(value)}
    return means if KIMG in means else {}


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _sheets(run: Path) -> dict[str, list[list[Any]]]:
    """Return the sheets by what they show: [kimg, file], 0 for the untrained network."""
    found: dict[str, list[list[Any]]] = {}
    for path in sorted(run.glob("*.png"))[:MOST_SHEETS]:
        match = _SHEET.fullmatch(path.name)
        if match is None:
            continue
        mark = match[1] or ""
        shows = path.stem.removesuffix(mark)
        kimg, _, images = mark.partition("-")
        at = 0.0 if not kimg.isdigit() else int(kimg) + int(images or 0) / 1000
        found.setdefault(shows, []).append([at, path.name])
    return {shows: sorted(sheets) for shows, sheets in found.items()}


def _metrics(run: Path) -> dict[str, list[list[float]]]:
    """Return what was measured on snapshots: [kimg, value] by name."""
    found: dict[str, list[list[float]]] = {}
    for path in sorted(run.glob("metric-*.jsonl")):
        if not _METRIC.fullmatch(path.name) or path.stat().st_size > MOST_READ_BYTES:
            continue
        for line in map(_object, path.read_bytes().splitlines()):
            kimg, results = line.get("seen_kimg"), line.get("results")
            if _is_finite(kimg) and isinstance(results, dict):
                for name, value in results.items():
                    if _is_finite(value):
                        found.setdefault(name, []).append([float(kimg or 0), value])
    return found
