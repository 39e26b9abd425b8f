"""Networks without their values: to be filled, or only to be looked at."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class Undrawn(TorchFunctionMode):
    """Leaves out the drawing of initial weights, which are about to be replaced: seconds.

    Their memory is never touched.
    """

    _DRAWING = frozenset({"kaiming_uniform_", "kaiming_normal_", "uniform_", "normal_"})

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Allocate instead of drawing; leave everything else as it is."""
        if function is torch.randn:
            function = torch.empty
        elif getattr(function, "__name__", "") in self._DRAWING:
            return args[0] if args else (kwargs or {}).get("tensor")
        return function(*args, **(kwargs or {}))


@contextmanager
def sketching() -> Iterator[None]:
    """Build networks that have shapes and take no memory, within the context.

    On the device "meta", and undrawn: torch draws and calculates there in Python, and the first
    time imports its compiler and SymPy, which takes as long as importing torch.
    """
    with torch.device("meta"), Undrawn():
        yield
