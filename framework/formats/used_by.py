"""Notes in a run's snapshot on what is built on it, so that the run does not delete it."""

from pathlib import Path

from framework.errors import UserError
from framework.files import append_line

USED_BY = "used-by.txt"
_RUN = "config.yaml"


def mark_used(model: str | Path, by: str | Path) -> None:
    """Note in a run's snapshot that `by` is built on it; a no-op for any other model.

    A snapshot that cannot be written to is left as it is: its run cannot delete it either.

    Args:
        model: The opened model: a name, a folder, a file in it.
        by: The run folder or the file that depends on it.
    """
    folder = Path(model)
    folder = folder.parent if folder.is_file() else folder
    if not (folder / "config.json").is_file() or not (folder.parent / _RUN).is_file():
        return
    line = " ".join(str(Path(by).resolve()).splitlines())
    try:
        if line not in _lines(folder):
            append_line(folder / USED_BY, line)
    except (OSError, UserError):
        pass


def users(folder: Path) -> list[str]:
    """List what is noted as built on a snapshot and still exists."""
    return [line for line in _lines(folder) if Path(line).exists()]


def _lines(folder: Path) -> list[str]:
    try:
        text = (folder / USED_BY).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()]
