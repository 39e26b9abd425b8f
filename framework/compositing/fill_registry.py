"""Ways to fill a hole by name: the files of `fill_methods/`. Does not need torch."""

import pkgutil
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

DEFAULT_METHOD = "criminisi"
_FOLDER = "fill_methods"


@cache
def fill_methods() -> tuple[str, ...]:
    """The names of all methods."""
    modules = pkgutil.iter_modules([str(Path(__file__).parent / _FOLDER)])
    return tuple(sorted(module.name.replace("_", "-") for module in modules))


def fill_method(name: str) -> Any:
    """The function `run` in the file of that name."""
    return import_module(f"framework.compositing.{_FOLDER}.{name.replace('-', '_')}").run
