"""Adversarial losses of both networks, as pure functions of logits.

All take the logits of generated pictures or of real ones, and return a value for each logit;
weighting, averaging and logging happen elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

LossName = Literal["nonsaturating", "hinge", "wgan-gp", "relativistic"]
# A penalty on real pictures, on real and generated ones, or on pictures in between.
Penalty = Literal["r1", "r1+r2", "interpolates"]


def nonsaturating_generator(fake_logits: Tensor) -> Tensor:
    """-log sigmoid(D(G(z))) (Goodfellow et al. 2014, section 3)."""
    return F.softplus(-fake_logits)


def nonsaturating_discriminator(fake_logits: Tensor, real_logits: Tensor) -> Tensor:
    """-log(1 - sigmoid(D(G(z)))) - log sigmoid(D(x)) (Goodfellow et al. 2014, equation 1)."""
    return F.softplus(fake_logits) + F.softplus(-real_logits)


def negative_logit(fake_logits: Tensor) -> Tensor:
    """-D(G(z)), the generator's loss beside a hinge or Wasserstein discriminator."""
    return -fake_logits


def hinge_discriminator(fake_logits: Tensor, real_logits: Tensor) -> Tensor:
    """max(0, 1 + D(G(z))) + max(0, 1 - D(x)) (Miyato et al. 2018, equation 16)."""
    return F.relu(1 + fake_logits) + F.relu(1 - real_logits)


def wasserstein_discriminator(fake_logits: Tensor, real_logits: Tensor) -> Tensor:
    """D(G(z)) - D(x) (Gulrajani et al. 2017, equation 3, without its penalty)."""
    return fake_logits - real_logits


def relativistic_discriminator(fake_logits: Tensor, real_logits: Tensor) -> Tensor:
    """-log sigmoid(D(x) - D(G(z))), each generated picture beside a real one (RpGAN).

    Jolicoeur-Martineau 2019; Huang et al. 2024 (R3GAN), equation 2, add R1 and R2.
    """
    return F.softplus(fake_logits - real_logits)


def lecam(
    fake_logits: Tensor, real_logits: Tensor, fake_anchor: Tensor, real_anchor: Tensor
) -> Tensor:
    """Penalty on real logits far above the mean of generated ones, and vice versa (LeCam).

    Tseng et al. 2021; one-sided as in the authors' code.

    Args:
        fake_logits: Logits D(G(z)).
        real_logits: Logits D(x).
        fake_anchor: Running mean of D(G(z)).
        real_anchor: Running mean of D(x).
    """
    real = F.relu(real_logits - fake_anchor).square()
    return real + F.relu(real_anchor - fake_logits).square()


@dataclass(frozen=True)
class AdversarialLoss:
    """Both sides of a loss, and the gradient penalty that belongs to it.

    Attributes:
        generator: The generator's loss, from the logits of generated pictures.
        discriminator: The discriminator's, from those of generated and of real pictures.
        relative: Whether logits of real pictures are subtracted from the generator's, in pairs.
        penalty: Where the discriminator's gradient is penalised.
    """

    generator: Callable[[Tensor], Tensor]
    discriminator: Callable[[Tensor, Tensor], Tensor]
    relative: bool = False
    penalty: Penalty = "r1"


LOSSES: dict[LossName, AdversarialLoss] = {
    "nonsaturating": AdversarialLoss(nonsaturating_generator, nonsaturating_discriminator),
    "hinge": AdversarialLoss(negative_logit, hinge_discriminator),
    "wgan-gp": AdversarialLoss(negative_logit, wasserstein_discriminator, penalty="interpolates"),
    "relativistic": AdversarialLoss(
        nonsaturating_generator, relativistic_discriminator, relative=True, penalty="r1+r2"
    ),
}
