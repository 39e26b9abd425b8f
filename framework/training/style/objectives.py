"""The objective of a decoder of styles."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from framework.models.style.network import StyleDecoder, restyled
from framework.models.style.statistics import moments
from framework.training.phases import Micro, Outcome, Phase
from framework.training.style.settings import StyleDecoderSettings
from framework.training.stylegan2.augment import random_flips

_DEEP = 3  # of the features: 1/8 of the picture, what it shows
_OWN = 4  # of so many pictures one gets its own style


def content_error(features: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Return how far pictures show something else (Huang and Belongie 2017, equation 12), (N,).

    The square error of the deepest features that are decoded, relative to their own mean square.
    """
    error = (features[_DEEP] - wanted[_DEEP]).square().mean(dim=(1, 2, 3))
    return error / wanted[_DEEP].square().mean(dim=(1, 2, 3)).clamp(min=1e-6)


def style_error(features: Sequence[Tensor], style: Sequence[Tensor]) -> Tensor:
    """Return how far moments are from a style's (Huang and Belongie 2017, equation 13), (N,).

    Each level counts relative to the style's mean square, and all alike.
    """
    errors = []
    for own, wanted in zip(features, style, strict=True):
        pairs = zip(moments(own), moments(wanted), strict=True)
        error = sum((a - b).square().mean(dim=(1, 2, 3)) for a, b in pairs)
        errors.append(error / wanted.square().mean(dim=(1, 2, 3)).clamp(min=1e-6))
    return torch.stack(errors).mean(dim=0)


@dataclass(frozen=True)
class Decoding:
    """What a decoded picture lacks of the content and of the style.

    Attributes:
        decoder: The network.
        features: Function from pictures to frozen features.
        patterns: Styles, uint8 (K, 3, H, W).
        settings: Settings of the run.
    """

    decoder: StyleDecoder
    features: Callable[[Tensor], list[Tensor]]
    patterns: Tensor
    settings: StyleDecoderSettings

    def phases(self) -> list[Phase]:
        """Return the one phase."""
        return [Phase("Smain", "Smain", self.decoder, 1, self.decode)]

    def decode(self, micro: Micro) -> Outcome:
        """Return the loss of a micro-batch; the first of four pictures get their own style."""
        pictures = micro.pictures()
        pictures = random_flips(pictures, micro.rng) if self.settings.mirror else pictures
        own = max(1, len(pictures) // _OWN)
        with torch.no_grad():
            content = self.features(pictures)
            style = self.features(self._styles(pictures, own, micro.rng))
            wanted = restyled(content, style, 1.0)
        made = self.decoder(wanted)
        seen = self.features(made)
        shows, manner = content_error(seen, wanted), style_error(seen, style)
        pixels = torch.zeros_like(shows)
        pixels[:own] = (made - pictures)[:own].abs().mean(dim=(1, 2, 3))
        settings = self.settings
        loss = shows + settings.style_weight * manner + settings.identity_weight * pixels
        stats = {"Loss/S/content": shows, "Loss/S/style": manner, "Loss/S/identity": pixels[:own]}
        return Outcome(loss.sum(), {name: value.detach() for name, value in stats.items()})

    def _styles(self, pictures: Tensor, own: int, rng: torch.Generator) -> Tensor:
        """Return a style for each picture: its own, another of the batch, or a pattern."""
        count, device = len(pictures), pictures.device
        picks = torch.randint(len(self.patterns), (count,), device=device, generator=rng)
        drawn = self.patterns.to(device)[picks].float() / 127.5 - 1
        other = pictures.roll(1, dims=0)
        from_code = torch.rand(count, 1, 1, 1, device=device, generator=rng) < 0.5
        styles = torch.where(from_code, drawn, other)
        return torch.cat([pictures[:own], styles[own:]])
