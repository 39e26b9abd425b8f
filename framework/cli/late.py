"""Imports that wait until they are needed: most of what `import lightning` takes.

Lightning imports all of torchmetrics for two classes (with it torchvision and SciPy, where they are
installed) and torch's compiler for one. Both packages are put in place unloaded; whatever is not
among the few names that Lightning takes at once loads the real package, then and there.
"""

import functools
import importlib.util
import inspect
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_LOADING = threading.RLock()
_WAITS = "__getattr__"  # Python's hook for names that a module does not have


@contextmanager
def put_off(packages: Mapping[str, Mapping[str, Callable[[], Any]]]) -> Iterator[None]:
    """Put packages in place unloaded, for imports within the context that need little of them.

    Afterwards the import of a part of a package loads all of it first, as usual.

    Args:
        packages: Dotted names, each with the names that are answered without loading and
            functions for their values. A package that is missing or loaded already is left alone.
    """
    late = [_put_in_place(name, stand_ins) for name, stand_ins in packages.items()]
    try:
        yield
    finally:
        for module in late:
            if module is not None and waits(module):
                del module.__path__


def _put_in_place(name: str, stand_ins: Mapping[str, Callable[[], Any]]) -> ModuleType | None:
    if name in sys.modules or (spec := importlib.util.find_spec(name)) is None:
        return None
    module = importlib.util.module_from_spec(spec)

    def answer(attribute: str) -> Any:
        """Return a stand-in without loading, or the real package's attribute (PEP 562)."""
        if attribute in stand_ins:
            return stand_ins[attribute]()
        # The import of a part begins with __path__; inspect and warnings ask for the others.
        if attribute.startswith("__") and attribute != "__path__":
            raise AttributeError(f"module {name!r} has no attribute {attribute!r}")
        return getattr(load(module), attribute)

    vars(module)[_WAITS] = answer
    sys.modules[name] = module
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, module)
    return module


def waits(module: ModuleType) -> bool:
    """Return whether a package's own code has not run yet."""
    return getattr(vars(module).get(_WAITS), "__module__", None) == __name__


def load(module: ModuleType) -> ModuleType:
    """Run a late package's own code, once; afterwards it is a module like any other."""
    with _LOADING:
        if waits(module):
            spec: Any = module.__spec__
            del vars(module)[_WAITS]
            module.__path__ = spec.submodule_search_locations
            spec.loader.exec_module(module)
    return module


def put_off_for_lightning() -> Any:
    """Return a context for importing Lightning without what only measuring and compiling need."""
    import torch  # noqa: F401  (the parent of one of them)

    return put_off({
        "torchmetrics": {
            "Metric": lambda: _metric("Metric"),
            "MetricCollection": lambda: _metric("MetricCollection"),
            "_logger": lambda: logging.getLogger("torchmetrics"),
        },
        "torch._dynamo": {"OptimizedModule": lambda: CompiledModule, "disable": lambda: disable},
    })  # fmt: skip


def _metric(name: str) -> Any:
    importlib.import_module("torchmetrics.utilities")  # first: `metric` and it import each other
    return getattr(importlib.import_module("torchmetrics.collections"), name)


class _SameInstances(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        real = vars(sys.modules["torch._dynamo"]).get("OptimizedModule")
        return real is not None and isinstance(instance, real)


class CompiledModule(metaclass=_SameInstances):
    """Stands for torch's `OptimizedModule`: nothing is one before the compiler is loaded."""


def disable(fn: Any = None, *args: Any, **options: Any) -> Any:
    """Do what `torch._dynamo.disable` does: nothing, until the compiler has been loaded."""
    if not inspect.isfunction(fn):
        return load(sys.modules["torch._dynamo"]).disable(fn, *args, **options)
    disabled: list[Callable[..., Any]] = []

    @functools.wraps(fn)
    def disabled_once_loaded(*inputs: Any, **named: Any) -> Any:
        dynamo = sys.modules["torch._dynamo"]
        if waits(dynamo):
            return fn(*inputs, **named)
        if not disabled:
            disabled.append(dynamo.disable(fn, *args, **options))
        return disabled[0](*inputs, **named)

    return disabled_once_loaded
