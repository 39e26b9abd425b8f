"""Style in one pass: features get the style's moments, a trained decoder makes a picture of them.

Huang and Belongie 2017 (Arbitrary style transfer in real-time with adaptive instance
normalization). A small decoder leaves colours pale, so they are set afterwards.
"""

from collections.abc import Iterator

from torch import Tensor

from framework.compositing.filling import FillStep
from framework.errors import UserError
from framework.models.frozen import gradients
from framework.models.style.network import restyled
from framework.style.colours import in_colours_of
from framework.style.settings import StyleNetworks, StyleSettings

KEEPS_EDGES = False


def run(
    content: Tensor, style: Tensor, networks: StyleNetworks, settings: StyleSettings
) -> Iterator[FillStep]:
    """Adapt and decode."""
    if networks.decoder is None:
        raise UserError(": give a folder that the training of a decoder wrote", "decoder")
    with gradients(False):
        features, wanted = networks.features(content), networks.features(style)
        made = networks.decoder(restyled(features, wanted, min(1.0, settings.strength)))
    height, width = content.shape[2:]
    made = made[:, :, :height, :width]  # sides that are odd were padded
    assert made.shape == content.shape
    yield FillStep(in_colours_of(made.clamp(-1, 1), style, settings.strength), "decoding", 1, 1)
