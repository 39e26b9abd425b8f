"""A photograph to latents: encoders, and what is measured and improved with them.

Names are loaded when first used, so that a command's help can be read without loading torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from framework.inversion.encoder import Encoder, set_statistics
    from framework.inversion.inverted_image import InvertedImage
    from framework.inversion.irse50 import Encoder4Editing, GradualStyleEncoder
    from framework.inversion.latent_discriminator import LatentDiscriminator
    from framework.inversion.loading import build_encoder, encoder_weights
    from framework.inversion.settings import InversionSettings, RefineSettings, TuneSettings
    from framework.inversion.stages import invert
    from framework.inversion.statistics import StyleStatistics, style_statistics
    from framework.inversion.step import InversionStep
    from framework.inversion.style_encoder import StyleEncoder

__all__ = [
    "Encoder",
    "Encoder4Editing",
    "GradualStyleEncoder",
    "InversionSettings",
    "InversionStep",
    "InvertedImage",
    "LatentDiscriminator",
    "RefineSettings",
    "StyleEncoder",
    "StyleStatistics",
    "TuneSettings",
    "build_encoder",
    "encoder_weights",
    "invert",
    "set_statistics",
    "style_statistics",
]

_HOMES = {
    "Encoder": "encoder",
    "Encoder4Editing": "irse50",
    "GradualStyleEncoder": "irse50",
    "InversionSettings": "settings",
    "InversionStep": "step",
    "InvertedImage": "inverted_image",
    "LatentDiscriminator": "latent_discriminator",
    "RefineSettings": "settings",
    "StyleEncoder": "style_encoder",
    "StyleStatistics": "statistics",
    "TuneSettings": "settings",
    "build_encoder": "loading",
    "encoder_weights": "loading",
    "invert": "stages",
    "set_statistics": "encoder",
    "style_statistics": "statistics",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
