"""The model folders of a run: which are its own, and which may be deleted for newer ones."""

import json
import re
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from framework.files import sha256_file
from framework.formats.used_by import USED_BY, users
from framework.training.run_folder import CONFIG
from framework.training.run_record import read_record, update_record

_DESCRIPTION = "config.json"
PREFIX = "network-"


@dataclass(frozen=True)
class OwnModel:
    """A model folder that a run wrote.

    Attributes:
        name: Name of the folder.
        digest: SHA-256 of its `config.json`, which has the digests of its weights.
        files: Names of all files that were written into it.
        interim: Whether it is the state at a stop between two snapshots.
    """

    name: str
    digest: str
    files: list[str]
    interim: bool = False


def snapshot_name(images: int) -> str:
    """Return `000200` for 200 thousand images, `000200-500` for 500 more."""
    kimg, rest = divmod(images, 1000)
    return f"{kimg:06d}-{rest:03d}" if rest else f"{kimg:06d}"


def own_models(run_dir: Path) -> list[OwnModel]:
    """Return the model folders that a run wrote and that still exist, in the order of writing."""
    try:
        listed = [OwnModel(**entry) for entry in read_record(run_dir).get("snapshots", [])]
    except TypeError:
        return []
    return [one for one in listed if (run_dir / one.name / _DESCRIPTION).is_file()]


def latest_model(run_dir: Path) -> Path | None:
    """Return the newest model folder of a run; None if it has none."""
    own = own_models(run_dir)
    if own:
        return run_dir / own[-1].name
    others = sorted(run_dir.glob(f"{PREFIX}*/{_DESCRIPTION}"))
    return others[-1].parent if others else None


def free_name(run_dir: Path, images: int, provenance: dict[str, Any]) -> str:
    """Return a name for a new model folder, which nothing that this run did not write has.

    Args:
        run_dir: Run folder.
        images: Images seen, from which the name is made.
        provenance: The model's provenance: a folder with the same one may be written again.
    """
    name = PREFIX + snapshot_name(images)
    own = {one.name for one in own_models(run_dir)}
    while name not in own and not _may_be_replaced(run_dir / name, provenance):
        name += "-new"
    return name


def _may_be_replaced(folder: Path, provenance: dict[str, Any]) -> bool:
    """Return whether a folder is missing, was never finished, or has the same provenance."""
    if folder.is_symlink():
        return False
    description = folder / _DESCRIPTION
    if not description.exists():
        return not folder.exists() or all(p.name.startswith(".") for p in folder.iterdir())
    try:
        saved_provenance = json.loads(description.read_text(encoding="utf-8"))["provenance"]
        return saved_provenance == json.loads(json.dumps(provenance))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def note_written(run_dir: Path, name: str, interim: bool) -> None:
    """Record that the run wrote a model folder just now."""
    folder = run_dir / name
    files = sorted(path.name for path in folder.iterdir())
    one = OwnModel(name, sha256_file(folder / _DESCRIPTION), files, interim)
    _record(run_dir, [*(w for w in own_models(run_dir) if w.name != name), one])


def _record(run_dir: Path, entries: list[OwnModel]) -> None:
    update_record(run_dir, snapshots=[asdict(one) for one in entries])


def prune_snapshots(run_dir: Path, keep: int, noted: set[str]) -> None:
    """Delete model folders older than the newest `keep`, and those of stops in between.

    Only folders that the run wrote count and are deleted. The newest always stays, and so does,
    with a note, one that was changed since or that something else is built on.

    Args:
        run_dir: Run folder.
        keep: Number of folders to keep; 0 keeps all.
        noted: Names of folders with a printed note; new ones are added.
    """
    own = own_models(run_dir)
    if not keep or not own:
        return
    regular = [one for one in own if not one.interim]
    older = {one.name for one in regular[:-keep]} | {one.name for one in own[:-1] if one.interim}
    deleted_names = set()
    for one in own:
        if one.name not in older or one is own[-1]:
            continue
        reason = _why_kept(run_dir, one)
        if reason is None:
            shutil.rmtree(run_dir / one.name, ignore_errors=True)
            deleted_names.add(one.name)
        elif one.name not in noted:
            noted.add(one.name)
            print(
                f"note: {run_dir / one.name} stays beyond --run.keep_snapshots {keep}: {reason}",
                file=sys.stderr,
            )
    _record(run_dir, [one for one in own if one.name not in deleted_names])


def _why_kept(run_dir: Path, one: OwnModel) -> str | None:
    """Return why a folder must not be deleted; None if it may be."""
    folder = run_dir / one.name
    if folder.is_symlink() or sha256_file(folder / _DESCRIPTION) != one.digest:
        return "it is not as the run wrote it"
    if by := users(folder):
        return f"{by[0]} is built on it"
    others = sorted({path.name for path in folder.iterdir()} - {*one.files, USED_BY})
    if others:
        return f"it holds {others[0]}, which the run did not write"
    place = re.compile(re.escape(f"{run_dir.resolve().name}/{one.name}") + r"(?![\w-])")
    for config in sorted(run_dir.resolve().parent.glob(f"*/{CONFIG}")):
        if config.parent != run_dir.resolve() and _names(config, place):
            return f"{config} names it"
    return None


def _names(config: Path, place: re.Pattern[str]) -> bool:
    try:
        return place.search(config.read_text(encoding="utf-8", errors="replace")) is not None
    except OSError:
        return False
