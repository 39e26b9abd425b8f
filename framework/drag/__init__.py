"""Points to latents: drag handle points of a generated picture to targets (Pan et al. 2023).

Names are loaded when first used, so that `framework.drag.settings` and `framework.drag.tasks` can
be read (for a command's help, for a task file) without loading torch.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from framework.drag.algorithm import drag
    from framework.drag.edit_file import EditFile
    from framework.drag.session import DragSession
    from framework.drag.settings import DragSettings
    from framework.drag.step import DragStep

__all__ = ["DragSession", "DragSettings", "DragStep", "EditFile", "drag"]

# The loop's file is `algorithm.py`: importing a module `drag.py` would put that module in the
# place of the function `drag` here.
_HOMES = {
    "DragSession": "session",
    "DragSettings": "settings",
    "DragStep": "step",
    "EditFile": "edit_file",
    "drag": "algorithm",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Room(ModuleType):
    """This package, callable: `framework.drag` names both it and the function in `framework`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.drag(*args, **kwargs)


sys.modules[__name__].__class__ = _Room
