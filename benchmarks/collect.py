"""Make one JSON file and one Markdown page of what benchmarks/gpu.sh left: `collect.py OUT`."""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

WORDS = {"0": "passed", "124": "out of time", "137": "out of time", "missing": "not there"}


def read_parts(folder: Path) -> dict[str, dict[str, Any]]:
    """Outcome, seconds, log and numbers of each part, in the order in which they ran.

    gpu.sh numbers the parts: files' times can be equal on a coarse file system.
    """
    parts = {}
    statuses = {path: path.read_text().split() for path in folder.glob("*.status")}
    for path, (_, status, seconds) in sorted(statuses.items(), key=lambda item: int(item[1][0])):
        log, numbers = path.with_suffix(".log"), path.with_suffix(".json")
        parts[path.stem] = {
            "outcome": WORDS.get(status, f"failed ({status})"),
            "seconds": int(seconds),
            "log": log.read_text(errors="replace") if log.exists() else "",
            "numbers": json.loads(numbers.read_text()) if numbers.exists() else None,
        }
    return parts


def page(machine: dict[str, Any], parts: dict[str, dict[str, Any]]) -> str:
    """The table of parts, followed by the tables that they printed."""
    lines = ["# Measured", "", ", ".join(f"{k} {v}" for k, v in machine.items()), ""]
    lines += ["| part | outcome | seconds | last words |", "|---|---|---|---|"]
    for name, part in parts.items():
        last = (part["log"].strip().splitlines() or [""])[-1][:120]
        lines.append(f"| {name} | {part['outcome']} | {part['seconds']} | {plain(last)} |")
    for name, part in parts.items():
        if part["log"].count("\n|") > 1:
            lines += ["", f"## {name}", "", part["log"].strip()]
    return "\n".join(lines) + "\n"


def plain(text: str) -> str:
    """Make a text fit into a cell of a table."""
    return text.replace("|", "/").strip("/ ")


def main() -> int:
    """Write OUT/gpu.json and OUT/gpu.md; return 1 if a part did not pass."""
    from benchmarks.machine import facts

    out = Path(sys.argv[1])
    parts = read_parts(out / "parts")
    import torch

    machine = facts("cuda" if torch.cuda.is_available() else "cpu")
    (out / "gpu.json").write_text(json.dumps({"machine": machine, "parts": parts}, indent=1))
    (out / "gpu.md").write_text(page(machine, parts))
    print(f"{out}/gpu.json {out}/gpu.md")
    return int(any(part["outcome"] not in ("passed", "not there") for part in parts.values()))


if __name__ == "__main__":
    sys.exit(main())
