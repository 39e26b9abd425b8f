"""Date, machine and libraries of a process that measures."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from framework.evaluation.stopwatch import memory_protocol
from framework.machine import processor

_LIBRARIES = ("torch", "torchmetrics", "numpy", "pillow")


def session_facts(device: torch.device) -> dict[str, Any]:
    """Date, machine and libraries of this process."""
    name = processor()
    if device.type == "cuda":
        name = f"{torch.cuda.get_device_name(device)} ({name})"
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device.type,
        "processor": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory": memory_protocol(device),
        "python": platform.python_version(),
        **{library: _version(library) for library in ("dragline", *_LIBRARIES)},
    }


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
