"""A model opened once, and its networks as they are needed."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from framework.cli.common import pick_device, with_its_threads
from framework.errors import blame

if TYPE_CHECKING:
    import numpy as np
    import torch

    from framework.formats.opening import OpenedModel
    from framework.inversion.familiarity import Familiarity
    from framework.models.encoders.style_encoder import StyleEncoder
    from framework.models.stylegan2 import Discriminator, Generator


@dataclass
class Networks:
    """A model's networks, frozen, on one device, each loaded when it is first asked for.

    Args:
        model: Zoo name, folder or file.
        device: What `--device` says.
    """

    model: str
    device: str = "auto"

    @cached_property
    def where(self) -> "torch.device":
        """The device."""
        return pick_device(self.device)

    @cached_property
    def opened(self) -> "OpenedModel":
        """The model looked into, the C allocator tuned for its networks."""
        from framework.formats.opening import open_model
        from framework.ops.memory import tune_malloc

        tune_malloc()
        with blame("--model", self.model):
            return open_model(self.model)

    @cached_property
    def generator(self) -> "Generator":
        """The averaged generator."""
        where = self.where  # first, for it is known at once whether it is here
        with blame("--model", self.model):
            return with_its_threads(self.opened.network("generator").to(where))

    @cached_property
    def discriminator(self) -> "Discriminator | None":
        """The generator's opponent, if the model has one."""
        if "discriminator" not in self.opened.held:
            return None
        with blame("--model", self.model):
            return self.opened.network("discriminator").to(self.where)

    @cached_property
    def encoder(self) -> "StyleEncoder | None":
        """Photographs to latents, if the model has one."""
        if "encoder" not in self.opened.held:
            return None
        from framework.models.encoders.loading import build_encoder

        with blame("--model", self.model):
            return build_encoder(self.opened.encoder(), self.generator)

    @cached_property
    def familiarity(self) -> "Familiarity | None":
        """What tells whether a picture is of the model's kind; None without a discriminator."""
        if self.discriminator is None:
            return None
        from framework.inversion.familiarity import familiarity
        from framework.models.features.distance import DiscriminatorDistance

        distance = DiscriminatorDistance(self.discriminator).to(self.where)
        return familiarity(self.generator, distance)

    def strangeness(self, picture: "np.ndarray") -> float | None:
        """How far a picture, uint8 (H, W, C), is from the model's own, in what those are usually.

        None where nothing tells; beyond `framework.inversion.familiarity.FAMILIAR` it is probably
        of something else.
        """
        from framework.media.images import to_float

        if self.familiarity is None:
            return None
        found = self.familiarity.strangeness(to_float(picture[None]).to(self.where)).item()
        return round(found, 3) if math.isfinite(found) else None
