"""Methods and trackers by name: every file of `methods/` and `trackers/` is one. Needs no torch."""

import pkgutil
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

Kind = Literal["methods", "trackers"]


@cache
def names(kind: Kind) -> tuple[str, ...]:
    """All names of a kind."""
    folder = Path(__file__).parent / kind
    return tuple(sorted(module.name for module in pkgutil.iter_modules([str(folder)])))


def named(kind: Kind, name: str) -> Any:
    """What a file is there for: `run` of a method, `Tracker` of a tracker."""
    module = import_module(f"framework.drag.{kind}.{name}")
    return module.run if kind == "methods" else module.Tracker
