"""Examining this machine: what it has, what will be used, whether it works, even without torch."""

import importlib
import platform
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from framework.command_line import TORCHVISION_MISMATCH
from framework.dashboard import resolve_mode
from framework.errors import UserError
from framework.jobs.requests.files import DoctorRequest
from framework.media import video
from framework.threads import affinity

PACKAGES = ("torch", "torchvision", "lightning", "wandb", "numpy", "pillow", "safetensors")
ROOM_NEEDED_GB = 1.0


@dataclass(frozen=True)
class Examination:
    """The facts, the problems that prevent an edit, and the notes about lesser ones."""

    facts: dict[str, Any]
    problems: list[UserError]
    notes: list[str]


def examine(request: DoctorRequest) -> Examination:
    """Gather the facts, and time one picture."""
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        **{name: _version(name) for name in PACKAGES},
        "cpus": len(affinity()),
        "ffmpeg": video.ffmpeg_executable(),
        "wandb_mode": resolve_mode(),
        "disk_free_gb": round(shutil.disk_usage(Path.cwd()).free / 1e9, 1),
    }
    problems: list[UserError] = []
    notes = []
    if facts["ffmpeg"] is None:
        notes.append("no ffmpeg: pip install imageio-ffmpeg, or drag without a video")
    if facts["disk_free_gb"] < ROOM_NEEDED_GB:
        notes.append(f"{facts['disk_free_gb']} GB free here: edits need up to {ROOM_NEEDED_GB}")
    if reason := _missing("torch"):
        problems.append(UserError(f"torch cannot be imported ({reason})"))
        return Examination(facts, problems, notes)
    facts["torchvision_fits"] = not _missing("torchvision")
    if not facts["torchvision_fits"]:
        problems.append(UserError(TORCHVISION_MISMATCH))
    from framework.jobs import torch_facts

    facts |= torch_facts.facts()
    try:
        facts |= torch_facts.timed_picture(request.model or next(iter(facts["zoo"]), None),
                                           request.device)  # fmt: skip
    except UserError as error:
        problems.append(error)
    return Examination(facts, problems, notes)


def _missing(package: str) -> str:
    """Return why a package cannot be imported, in a line; "" if it can."""
    try:
        importlib.import_module(package)
    except (ImportError, RuntimeError, OSError) as error:
        return str(error).splitlines()[0]
    return ""


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
