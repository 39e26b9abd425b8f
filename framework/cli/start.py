"""The start of the training command line, before torch and Lightning are imported."""

import hashlib
import io
import shutil
import sys
from contextlib import redirect_stdout
from importlib import metadata
from pathlib import Path
from typing import Any

from framework.cli.late import put_off_for_lightning
from framework.files import cache_folder, write_text
from framework.threads import shorten_spin

HELP = ("--help", "-h")
_ROOT = Path(__file__).resolve().parents[1]
_HELP_IS_OF = ("torch", "lightning", "jsonargparse", "docstring-parser")


def train(args: Any = None) -> int:
    """Run `train.py`, or `dragline-train`; return the exit code."""
    words = sys.argv[1:] if args is None else args
    if isinstance(words, list) and len(words) <= 2 and words and words[-1] in HELP:
        return _print_help([*words[:-1], HELP[0]])
    return _train(args)


def _train(args: Any) -> int:
    shorten_spin()
    with put_off_for_lightning():
        from framework.cli.train import main

    return main(args)


def _print_help(words: list[str]) -> int:
    """Print a help text from the cache; making it takes as long as starting a run."""
    file = cache_folder("help") / f"{'-'.join(words).strip('-')[:40]}.txt"
    key = _digest(words)
    try:
        first, _, text = file.read_text("utf-8").partition("\n")
    except (OSError, ValueError):
        first = text = ""
    code = 0
    if first != key:
        output = io.StringIO()
        with redirect_stdout(output):
            code = _train(words)
        text = output.getvalue()
        if code == 0:
            _keep(file, f"{key}\n{text}")
    sys.stdout.write(text)
    return code


def _digest(words: list[str]) -> str:
    """Return a digest of what a help text depends on: words, width, our source, the libraries."""
    digest = hashlib.sha256(repr((words, shutil.get_terminal_size().columns)).encode())
    digest.update(repr([sys.version, *map(metadata.version, _HELP_IS_OF)]).encode())
    for source in sorted(_ROOT.rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _keep(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError:
        pass  # it is made again next time
