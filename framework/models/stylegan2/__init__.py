"""StyleGAN2: generator, discriminator, losses, augmentation and (in `module`) its training."""

from framework.models.stylegan2.discriminator import Discriminator
from framework.models.stylegan2.generator import Generator, PartialSynthesis

__all__ = ["Discriminator", "Generator", "PartialSynthesis"]
