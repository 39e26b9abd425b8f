"""`edit.py import`: a model folder of another program's file."""

from pathlib import Path
from shlex import quote

from framework.cli.terminal import Terminal
from framework.jobs.requests.files import ImportRequest


def import_(request: ImportRequest, terminal: Terminal, json: bool = False) -> None:
    """Make a model folder of another program's file.

    Opens NVIDIA's .pkl (PyTorch and TensorFlow), rosinality's, pSp's and e4e's .pt, state dicts,
    and what a training run wrote; docs/formats.md has the table. What a file is, is seen in it, and
    nothing in it is run. The other commands take such files as --model, too; a folder opens faster,
    is checked by digests, and says in its card what was kept.

    Examples::

      python edit.py import downloads/network-snapshot.pkl --out models/cats
      python edit.py import e4e_ffhq_encode.pt --half --out models/faces

    Args:
        json: End with one line of JSON: folder, dialect, source, sha256, networks, notes, files.
    """
    from framework.jobs.files import import_file

    report = import_file(request)
    facts = {name: report.provenance[name] for name in ("dialect", "source", "sha256", "notes")}
    files = [report.folder / name for name in report.files]
    print(f"{request.file}: {facts['dialect']}")
    print("\n".join(report.lines()))
    for note in facts["notes"]:
        print(f"note: {note}")
    print(f"{report.folder}: {', '.join(report.files)}; {megabytes(*files)}")
    label = " --class 0" if report.networks["generator"]["c_dim"] else ""
    print(f"try: python edit.py generate --model {quote(str(report.folder))} --seeds 1-16{label}"
          f" --grid --out {quote(f'out/{report.folder.resolve().name}')}")  # fmt: skip
    if json:
        terminal.json(
            {"folder": str(report.folder), **facts, "networks": report.networks,
             "files": list(map(str, files))}
        )  # fmt: skip


def megabytes(*files: Path) -> str:
    """Return the total size of files in MB, as text."""
    return f"{sum(file.stat().st_size for file in files) / 1e6:.1f} MB"
