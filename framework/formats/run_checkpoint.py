"""Run checkpoints on disk: verified by digests, read without running anything in them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from framework.errors import BrokenCheckpoint, reason_of
from framework.files import sha256_file, whole_file, write_text

FORMAT_VERSION = 1
_NAME = re.compile(r"run-(\d+)\.ckpt")


def checkpoint_path(run_dir: str | Path, seen_images: int) -> Path:
    """Return the path of the checkpoint after `seen_images`."""
    return Path(run_dir) / "checkpoints" / f"run-{seen_images:011d}.ckpt"


def manifest_path(checkpoint: Path) -> Path:
    """Return the path of the manifest, which holds a checkpoint's SHA-256 and size."""
    return checkpoint.with_suffix(".json")


def write_checkpoint(checkpoint: dict[str, Any], path: str | Path) -> None:
    """Write tensors and plain values to `path`, whole or not at all, and a manifest beside it.

    The manifest comes first, and also covers the file that is replaced: after a crash there may be
    a manifest without its checkpoint, never a checkpoint without a manifest.
    """
    path = Path(path)
    path.parent.mkdir(exist_ok=True)  # its own parent must exist: a deleted run stays deleted
    with whole_file(path) as temporary:
        torch.save(checkpoint, temporary)
        facts: dict[str, Any] = _facts(temporary)
        if is_whole(path):
            facts["replaces"] = _facts(path)
        write_text(manifest_path(path), json.dumps(facts) + "\n")


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a run checkpoint to the CPU; code in it is never run.

    Raises:
        BrokenCheckpoint: If the file does not match its manifest, cannot be read, or is newer
            than this version.
    """
    path = Path(path)
    check_whole(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a parser may raise anything on an untrusted file
        raise BrokenCheckpoint(f"{path}: not a readable checkpoint ({reason_of(error)})") from error
    return check_description(checkpoint, path)


def check_whole(path: Path) -> None:
    """Refuse a checkpoint that is missing or does not match its manifest."""
    if not path.is_file():
        raise BrokenCheckpoint(f"{path}: no such checkpoint")
    if not is_whole(path):
        raise BrokenCheckpoint(f"{path}: damaged or incomplete, its manifest does not fit")


def check_description(checkpoint: Any, path: Path) -> dict[str, Any]:
    """Refuse a value read from `path` that is not a run checkpoint, or is of a newer format."""
    if not isinstance(checkpoint, dict) or "dragline" not in checkpoint:
        raise BrokenCheckpoint(f"{path}: not a run checkpoint of dragline's")
    facts = checkpoint["dragline"]
    version = facts.get("format") if isinstance(facts, dict) else None
    if type(version) is not int or version < 1:
        raise BrokenCheckpoint(f"{path}: not a run checkpoint of dragline's (it names no format)")
    if version > FORMAT_VERSION:
        raise BrokenCheckpoint(
            f"{path}: written in format {version}, this version reads up to {FORMAT_VERSION}; "
            "update dragline"
        )
    return checkpoint


def is_whole(path: Path) -> bool:
    """Whether a checkpoint exists and matches its manifest."""
    try:
        size = path.stat().st_size
        fitting = [facts["sha256"] for facts in _vouched(path) if facts["bytes"] == size]
        return bool(fitting) and sha256_file(path) in fitting
    except OSError:
        return False


def _facts(path: Path) -> dict[str, Any]:
    return {"sha256": sha256_file(path), "bytes": path.stat().st_size}


def _vouched(path: Path) -> list[dict[str, Any]]:
    """Return digest and size of each content that a checkpoint's manifest accepts.

    There are two while one file replaces another, since a process can be killed between the
    manifest and the rename.
    """
    try:
        facts = json.loads(manifest_path(path).read_text(encoding="utf-8"))
        contents = [facts, facts["replaces"]] if "replaces" in facts else [facts]
        return [{"sha256": one["sha256"], "bytes": one["bytes"]} for one in contents]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def newest_first(run_dir: str | Path) -> Iterator[Path]:
    """Yield all checkpoints of a run by images seen, most first, whole or not."""
    folder = Path(run_dir) / "checkpoints"
    checkpoints = [(int(m[1]), p) for p in folder.glob("*.ckpt") if (m := _NAME.fullmatch(p.name))]
    return (path for _, path in sorted(checkpoints, reverse=True))


def latest_whole(run_dir: str | Path) -> Path | None:
    """Return the newest checkpoint that matches its manifest; None if there is none."""
    return next((path for path in newest_first(run_dir) if is_whole(path)), None)


def remove_checkpoint(path: str | Path) -> None:
    """Delete a checkpoint and its manifest."""
    Path(path).unlink(missing_ok=True)
    manifest_path(Path(path)).unlink(missing_ok=True)


def prune(run_dir: str | Path, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints of a run, and never its newest whole one."""
    older = list(newest_first(run_dir))[keep:]
    good = latest_whole(run_dir) if older else None
    for path in older:
        if path != good:
            remove_checkpoint(path)


def set_damaged_aside(run_dir: str | Path) -> list[Path]:
    """Rename checkpoints newer than the newest whole one, so that they no longer count.

    A run that resumes from an older checkpoint would otherwise keep them among the newest.

    Returns:
        Their new names.
    """
    good, aside = latest_whole(run_dir), []
    for path in newest_first(run_dir) if good else ():
        if path == good:
            break
        aside.append(path.with_name(path.name + ".damaged"))
        path.replace(aside[-1])
        manifest_path(path).unlink(missing_ok=True)
    return aside
