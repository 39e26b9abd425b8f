"""A model with what reads its texts and its pictures, as the measurements of texts use it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from framework.control.describing import described, nearest
from framework.errors import UserError, blame
from framework.formats import open_model
from framework.formats.text_file import NAME, load_text_encoder, makes_one
from framework.inversion.embed import codes_of
from framework.models.alignment.code_space import Belief
from framework.models.digest import state_digest
from framework.models.encoders.loading import build_encoder
from framework.models.encoders.style_encoder import StyleEncoder
from framework.models.frozen import NOISE_MODE
from framework.models.stylegan2 import Discriminator, Generator
from framework.models.stylegan2.statistics import styles_of_seeds
from framework.models.text.encoder import TextEncoder

LOOKS = 4
_PSI, _AT_ONCE = 0.7, 16


@dataclass(frozen=True, eq=False)
class TextModel:
    """A model with what reads its texts and its pictures.

    Attributes:
        generator: The generator.
        encoder: Its encoder of pictures.
        texts: Its text encoder.
        discriminator: Its discriminator, if it has one.
    """

    generator: Generator
    encoder: StyleEncoder
    texts: TextEncoder
    discriminator: Discriminator | None

    @classmethod
    def open(cls, model: str, text_encoder: str | None) -> Self:
        """Open a model with its own text encoder, or that of a file or folder.

        Raises:
            UserError: If it has no encoder of pictures, or no text encoder is its own.
        """
        with blame("model", model):
            opened = open_model(model)
            generator = opened.network("generator")
            if "encoder" not in opened.networks:
                raise UserError("has no encoder of pictures, which a text needs")
            encoder = build_encoder(opened.encoder(), generator)
            path = opened.path / NAME if text_encoder is None else text_encoder
            if text_encoder is None and not (opened.path / NAME).is_file():
                raise UserError(f"has no text encoder; {makes_one(model)} trains one")
        with blame("text_encoder", str(path)):
            texts = load_text_encoder(path, generator.digest, state_digest(encoder), model)
            texts.check_packages()
        own = opened.network("discriminator") if "discriminator" in opened.networks else None
        return cls(generator, encoder, texts, own)

    @torch.no_grad()
    def draw(self, ws: Tensor) -> Tensor:
        """Draw pictures, (N, C, H, W) in [-1, 1]."""
        parts = [self.generator.synthesis(w, noise_mode=NOISE_MODE) for w in ws.split(_AT_ONCE)]
        return torch.cat(parts).clamp(-1, 1)

    def codes(self, pictures: Tensor) -> Tensor:
        """Read the codes of pictures."""
        parts = pictures.split(_AT_ONCE)
        return torch.cat([codes_of(self.generator, self.encoder, part) for part in parts])

    def changed(
        self, texts: Sequence[str], ws: Tensor, keep: bool = False, strength: float = 1.0
    ) -> Tensor:
        """Change pictures to what texts say, as the verb `text` does; latents of each text."""
        belief, parts = self.texts.read(texts), []
        for rows in torch.arange(len(texts)).split(_AT_ONCE):
            said = Belief(belief.mean[rows], belief.log_std[rows])
            steps = described(self.texts.space, said, ws[rows], self._read, strength, keep)
            parts.append(nearest(steps, LOOKS)[1].ws)
        return torch.cat(parts)

    def _read(self, ws: Tensor) -> Tensor:
        return self.codes(self.draw(ws))

    def seeds(self, count: int, seed: int) -> Tensor:
        """Latents of random pictures."""
        styles = torch.cat([*styles_of_seeds(self.generator, count, seed, at_once=_AT_ONCE)])
        return self.generator.mapping.truncate(styles, _PSI)
