"""Methods and trackers by name: the files of `methods/` and `trackers/`. Does not need torch."""

import pkgutil
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

Kind = Literal["methods", "trackers"]


@cache
def names(kind: Kind) -> tuple[str, ...]:
    """All names of one kind."""
    folder = Path(__file__).parent / kind
    modules = pkgutil.iter_modules([str(folder)])
    return tuple(sorted(module.name.replace("_", "-") for module in modules))


def named(kind: Kind, name: str) -> Any:
    """What the file of that name defines: `run` of a method, `Tracker` of a tracker."""
    module = import_module(f"framework.drag.{kind}.{name.replace('-', '_')}")
    return module.run if kind == "methods" else module.Tracker
