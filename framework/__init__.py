"""Dragline: train a StyleGAN2 on your own pictures, take hold of a point and pull.

The names below are imported when they are first used: `import framework` costs milliseconds, and
a command line that only prints its help never loads torch.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from framework.drag import DragSession as DragSession
    from framework.drag import DragSettings as DragSettings
    from framework.drag import DragStep as DragStep
    from framework.drag import EditFile as EditFile
    from framework.drag import drag as drag
    from framework.errors import UserError as UserError
    from framework.formats import load_discriminator as load_discriminator
    from framework.formats import load_encoder_parts as load_encoder_parts
    from framework.formats import load_generator as load_generator
    from framework.formats import save_model_folder as save_model_folder
    from framework.inversion import InversionSettings as InversionSettings
    from framework.inversion import InvertedImage as InvertedImage
    from framework.inversion import RefineSettings as RefineSettings
    from framework.inversion import TuneSettings as TuneSettings
    from framework.inversion import build_encoder as build_encoder
    from framework.inversion import invert as invert
    from framework.media.images import to_float as to_float
    from framework.media.images import to_uint8 as to_uint8
    from framework.media.masks import read_mask as read_mask
    from framework.media.photograph import Photograph as Photograph
    from framework.models.work import synthesis_gflop as synthesis_gflop
    from framework.perceptual.distance import choose_distance as choose_distance
    from framework.threads import shorten_spin as shorten_spin
    from framework.threads import use_threads as use_threads

__version__ = "0.1.0"

_HOMES = {
    "DragSession": "framework.drag",
    "DragSettings": "framework.drag",
    "DragStep": "framework.drag",
    "EditFile": "framework.drag",
    "InversionSettings": "framework.inversion",
    "InvertedImage": "framework.inversion",
    "Photograph": "framework.media.photograph",
    "RefineSettings": "framework.inversion",
    "TuneSettings": "framework.inversion",
    "UserError": "framework.errors",
    "build_encoder": "framework.inversion",
    "choose_distance": "framework.perceptual.distance",
    "drag": "framework.drag",
    "invert": "framework.inversion",
    "load_discriminator": "framework.formats",
    "load_encoder_parts": "framework.formats",
    "load_generator": "framework.formats",
    "read_mask": "framework.media.masks",
    "save_model_folder": "framework.formats",
    "shorten_spin": "framework.threads",
    "synthesis_gflop": "framework.models.work",
    "to_float": "framework.media.images",
    "to_uint8": "framework.media.images",
    "use_threads": "framework.threads",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    """Import a public name from its home on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(_HOMES[name])
    if name == "drag":
        return home
    value = getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


class _CallableModule(ModuleType):
    """A module that is called for the function of its own name."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        return getattr(self, "drag")(*args, **options)  # noqa: B009


class _Package(ModuleType):
    """This package: whatever was imported first, `framework.drag` can be called and looked into.

    Python binds the sub-package `framework.drag` over the function of the same name as soon as
    anything in it is imported; without this, `from framework import drag` would be a function or
    a module depending on what ran before.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "drag" and type(value) is ModuleType:
            value.__class__ = _CallableModule
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

# `python -m framework.…` imports its room, and with it torch, before a line of its own runs.
if sys.argv[:1] == ["-m"] and any(word.startswith("framework.") for word in sys.orig_argv):
    import_module("framework.threads").shorten_spin()
