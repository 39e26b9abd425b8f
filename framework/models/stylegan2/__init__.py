"""StyleGAN2: generator, discriminator, their layers, and statistics of styles."""

from framework.models.stylegan2.discriminator import Discriminator
from framework.models.stylegan2.generator import Generator, PartialSynthesis

__all__ = ["Discriminator", "Generator", "PartialSynthesis"]
