"""Dragline: train a StyleGAN2 on your own pictures, take hold of a point and pull.

The names below are imported when they are first used: `import framework` costs milliseconds, and
a command line that only prints its help never loads torch.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from framework.compositing.photograph import Photograph as Photograph
    from framework.control.directions_file import Directions as Directions
    from framework.control.layers import LayerMap as LayerMap
    from framework.drag.algorithm import drag_points as drag_points
    from framework.drag.edit_file import EditFile as EditFile
    from framework.drag.session import DragSession as DragSession
    from framework.drag.settings import DragSettings as DragSettings
    from framework.drag.step import DragStep as DragStep
    from framework.errors import UserError as UserError
    from framework.formats import load_discriminator as load_discriminator
    from framework.formats import load_editor as load_editor
    from framework.formats import load_encoder_parts as load_encoder_parts
    from framework.formats import load_generator as load_generator
    from framework.formats import save_model_folder as save_model_folder
    from framework.inversion.inverted_image import InvertedImage as InvertedImage
    from framework.inversion.settings import InversionSettings as InversionSettings
    from framework.inversion.settings import RefineSettings as RefineSettings
    from framework.inversion.settings import TuneSettings as TuneSettings
    from framework.inversion.stages import invert as invert
    from framework.media.images import to_float as to_float
    from framework.media.images import to_uint8 as to_uint8
    from framework.media.masks import read_mask as read_mask
    from framework.models.encoders.loading import build_encoder as build_encoder
    from framework.models.features.distance import choose_distance as choose_distance
    from framework.models.stylegan2.work import synthesis_gflop as synthesis_gflop
    from framework.threads import shorten_spin as shorten_spin
    from framework.threads import use_threads as use_threads

__version__ = "0.1.0"

_HOMES = {
    "Directions": "control.directions_file",
    "DragSession": "drag.session",
    "DragSettings": "drag.settings",
    "DragStep": "drag.step",
    "EditFile": "drag.edit_file",
    "InversionSettings": "inversion.settings",
    "InvertedImage": "inversion.inverted_image",
    "LayerMap": "control.layers",
    "Photograph": "compositing.photograph",
    "RefineSettings": "inversion.settings",
    "TuneSettings": "inversion.settings",
    "UserError": "errors",
    "build_encoder": "models.encoders.loading",
    "choose_distance": "models.features.distance",
    "drag_points": "drag.algorithm",
    "invert": "inversion.stages",
    "load_discriminator": "formats",
    "load_editor": "formats",
    "load_encoder_parts": "formats",
    "load_generator": "formats",
    "read_mask": "media.masks",
    "save_model_folder": "formats",
    "shorten_spin": "threads",
    "synthesis_gflop": "models.stylegan2.work",
    "to_float": "media.images",
    "to_uint8": "media.images",
    "use_threads": "threads",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    """Import a public name from its home on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"framework.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


# `python -m framework.…` imports its package, and with it torch, before its own code runs.
if sys.argv[:1] == ["-m"] and any(word.startswith("framework.") for word in sys.orig_argv):
    import_module("framework.threads").shorten_spin()
