"""The record of a run beside its checkpoints, `run.json`: what it wrote, how far it came.

Older runs have no record, and one that cannot be read counts as none: then nothing is known to be
the run's, so nothing is deleted.
"""

import json
from pathlib import Path
from typing import Any

from framework.files import write_text

RECORD = "run.json"


def read_record(run_dir: str | Path) -> dict[str, Any]:
    """Return a run's record; empty if there is none."""
    try:
        record = json.loads((Path(run_dir) / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def update_record(run_dir: str | Path, **changes: Any) -> None:
    """Change entries of a run's record; JSON values."""
    record = {**read_record(run_dir), **changes}
    write_text(Path(run_dir) / RECORD, json.dumps(record, indent=1) + "\n")
