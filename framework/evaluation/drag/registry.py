"""Protocols of the benchmark by name: the files of `protocols/`."""

import pkgutil
from functools import cache
from importlib import import_module
from pathlib import Path

from framework.evaluation.drag.protocol import DragProtocol


@cache
def protocol_names() -> tuple[str, ...]:
    """All names."""
    folder = str(Path(__file__).parent / "protocols")
    return tuple(sorted(module.name for module in pkgutil.iter_modules([folder])))


def protocol(name: str) -> DragProtocol:
    """The protocol of that name."""
    return import_module(f"framework.evaluation.drag.protocols.{name}").PROTOCOL
