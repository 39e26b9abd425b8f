"""Ways to give a photograph another picture's style, by name. Does not need torch."""

import pkgutil
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

DEFAULT_METHOD = "gatys"
BY_DECODER = "adain"  # the method that needs a trained decoder
LEAST_WORK_PX, MOST_WORK_PX, MOST_STEPS, MOST_STRENGTH = 8, 2048, 1000, 10  # of the settings
_FOLDER = "methods"


@cache
def style_methods() -> tuple[str, ...]:
    """The names of all methods."""
    modules = pkgutil.iter_modules([str(Path(__file__).parent / _FOLDER)])
    return tuple(sorted(module.name for module in modules))


def style_method(name: str) -> Any:
    """The module of that name; see `framework.style.methods`."""
    return import_module(f"framework.style.{_FOLDER}.{name}")
