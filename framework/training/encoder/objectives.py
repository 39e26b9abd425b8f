"""What each phase of an encoder's training computes on a micro-batch.

The encoder reads pictures, the frozen generator draws what was read, and the difference trains the
encoder; discriminators of pictures and of styles, where they are wanted, train beside it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.inversion.losses import pixel_loss
from framework.models.encoders.latent_discriminator import LatentDiscriminator
from framework.models.encoders.style_encoder import StyleEncoder
from framework.models.features.distance import DiscriminatorDistance, Distance
from framework.models.features.similarity import Similarity
from framework.models.stylegan2 import Discriminator, Generator
from framework.models.stylegan2.statistics import StyleStatistics
from framework.models.stylegan2.styles import style_vectors
from framework.training.encoder import losses
from framework.training.encoder.settings import Discriminators, Schedule, Weights, in_images
from framework.training.phases import Micro, Outcome, Phase
from framework.training.stylegan2.augment import random_flips
from framework.training.stylegan2.losses import r1_penalty


class Made(NamedTuple):
    """What the encoder's phase made of a micro-batch, for the discriminators; no gradient.

    Attributes:
        images: Reconstructions, shape (N, C, H, W).
        ws: Their styles, shape (N, num_ws, w_dim).
    """

    images: Tensor
    ws: Tensor


@dataclass
class Reconstruction:
    """The objectives of an encoder and of its discriminators.

    Attributes:
        encoder: Pictures to styles.
        generator: Frozen.
        statistics: Of its styles.
        weights: Of the terms.
        schedule: What changes with the images seen.
        iterations: How often the encoder looks at a picture and its reconstruction (ReStyle).
        distance: How different pictures look, where that counts.
        similarity: How different what they show is, where that counts.
        directions: Where each layer's style vectors point on average, where that counts.
        discriminator: Judges pictures, where that counts.
        latent_discriminator: Judges styles, where that counts.
        r1: Weights and intervals of R1 of both.
        loss_px: Pictures are compared at no more than so many pixels of the longer side (by a
            discriminator's features at its own size); None for the pictures' own.
        mirror: Show pictures mirrored half of the time.
    """

    encoder: StyleEncoder
    generator: Generator
    statistics: StyleStatistics
    weights: Weights = field(default_factory=Weights)
    schedule: Schedule = field(default_factory=Schedule)
    iterations: int = 1
    distance: Distance | None = None
    similarity: Similarity | None = None
    directions: list[Tensor] | None = None
    discriminator: Discriminator | None = None
    latent_discriminator: LatentDiscriminator | None = None
    r1: Discriminators = field(default_factory=Discriminators)
    loss_px: int | None = None
    mirror: bool = False

    def __post_init__(self) -> None:
        self._made: dict[int, Made] = {}
        self.advance(0)

    def phases(self) -> list[Phase]:
        """The phases of a batch in their order; those of weight 0 are left out."""
        phases = [Phase("Emain", "Emain", self.encoder, 1, self.e_main)]
        d, latent_d, r1 = self.discriminator, self.latent_discriminator, self.r1
        begins = in_images(self.schedule.adv_image_kimg[0])
        if d is not None:
            phases.append(Phase("Dmain", "Dmain", d, 1, self.d_main, begins=begins))
            if r1.r1_gamma > 0:
                phases.append(Phase("Dr1", "Dreg", d, r1.r1_interval, self.d_r1, begins=begins))
        if latent_d is not None:
            phases.append(Phase("Lmain", "Lmain", latent_d, 1, self.l_main))
            if r1.latent_r1_gamma > 0:
                phases.append(Phase("Lr1", "Lreg", latent_d, r1.latent_r1_interval, self.l_r1))
        return phases

    def advance(self, seen: int) -> None:
        """Before each batch: where the training stands decides what counts."""
        self._made.clear()
        self.stage = self.schedule.stage(seen, self.encoder.num_ws)
        self.ramp, self.share = self.schedule.ramp(seen), self.schedule.share(seen)

    # The encoder

    def e_main(self, micro: Micro) -> Iterator[Outcome]:
        """The encoder's loss, at each look of its own."""
        pictures, true_ws = self.pictures(micro)
        of_pictures = self._features(pictures)
        current = self._start(pictures)
        for look in range(1, self.iterations + 1):
            ws = self.encoder(pictures, self.stage, current)
            images = self.generator.synthesis(ws, noise_mode="const")
            terms = self._terms(pictures, of_pictures, images, ws, micro.labels)
            weighted = [getattr(self.weights, kind) * term for kind, (_, term) in terms.items()]
            loss = torch.stack(weighted).sum(dim=0)
            stats = {f"Loss/{name}": term for name, term in terms.values()}
            total = loss.sum()
            if true_ws is not None:
                stats["Loss/latent"] = missed = self._missed(ws, true_ws)
                total = total + self.weights.latent * missed.sum()
            stats["Loss/E/loss"] = loss
            current = self._made[micro.first] = Made(images.detach(), ws.detach())
            yield Outcome(total, stats if look == self.iterations else _numbered(stats, look))

    def _start(self, pictures: Tensor) -> tuple[Tensor, Tensor] | None:
        """What a residual encoder corrects first: the mean style's picture."""
        if not self.encoder.residual:
            return None
        ws = self.statistics.w_avg.expand(1, self.encoder.num_ws, -1)
        with torch.no_grad():
            image = self.generator.synthesis(ws, noise_mode="const")
        return image.expand(len(pictures), -1, -1, -1), ws.expand(len(pictures), -1, -1)

    def _terms(
        self,
        pictures: Tensor,
        of_pictures: list[Tensor],
        images: Tensor,
        ws: Tensor,
        labels: Tensor,
    ) -> dict[str, tuple[str, Tensor]]:
        """Every term that counts now: its weight's name, its own name, and one value a sample."""
        w, terms = self.weights, {}
        if w.pixel > 0:
            pair = self._compared(images), self._compared(pictures)
            terms["pixel"] = "pixel", pixel_loss(*pair)
        if self.distance is not None:
            difference = self.distance.compare(of_pictures, self._features(images))
            terms["perceptual"] = self.distance.name, difference
        if self.similarity is not None:
            terms["similarity"] = self.similarity.name, self.similarity(images, pictures)
        if self.discriminator is not None and self.ramp > 0:
            logits = self.discriminator(images, labels)
            terms["adv_image"] = "adv_image", losses.adversarial_loss(logits) * self.ramp
        if self.latent_discriminator is not None:
            logits = self.latent_discriminator(self._free(ws))
            terms["adv_latent"] = "adv_latent", losses.adversarial_loss(logits)
        if w.delta > 0:
            terms["delta"] = "delta", losses.delta_loss(ws)
        if w.w_norm > 0:
            terms["w_norm"] = "w_norm", losses.w_norm_loss(ws, self.statistics.w_avg)
        if self.directions is not None:
            vectors = style_vectors(self.generator, ws)
            terms["nscd"] = "nscd", losses.alignment_loss(vectors, self.directions)
        return terms

    def _features(self, images: Tensor) -> list[Tensor]:
        if self.distance is None:
            return []
        # A discriminator knows pictures of its own size only.
        own_size = isinstance(self.distance, DiscriminatorDistance)
        return self.distance.features(images if own_size else self._compared(images))

    def _compared(self, images: Tensor) -> Tensor:
        """Pictures at the size they are compared at."""
        factor = -(-max(images.shape[2:]) // self.loss_px) if self.loss_px else 1
        return images if factor == 1 else F.avg_pool2d(images, factor)

    def _free(self, ws: Tensor) -> Tensor:
        """Styles (N, any, w_dim) of the layers that may differ."""
        return ws if self.stage is None else ws[:, : self.stage + 1]

    def _missed(self, ws: Tensor, true_ws: Tensor) -> Tensor:
        """Mean square distance of the last samples from their own styles, in variances of w."""
        made = ws[len(ws) - len(true_ws) :]
        return ((made - true_ws) / self.statistics.w_std).square().flatten(1).mean(dim=1)

    # Pictures and styles

    def pictures(self, micro: Micro) -> tuple[Tensor, Tensor | None]:
        """Pictures (N, C, H, W) to encode, and the styles of those that the generator made.

        The made ones come last; None where the generator makes none in the whole training.
        """
        reals = self.reals(micro)
        if not self.schedule.makes_pictures:
            return reals, None
        n, device = len(reals), reals.device
        count = int((torch.rand(n, device=device, generator=micro.rng) < self.share).sum())
        with torch.no_grad():
            ws = self.real_styles(micro)[n - count :].repeat(1, self.encoder.num_ws, 1)
            made = [self.generator.synthesis(ws, noise_mode="const")] if count else []
        return torch.cat([reals[: n - count], *made]), ws

    def reals(self, micro: Micro) -> Tensor:
        """Real pictures (N, C, H, W), some of them mirrored."""
        images = micro.pictures()
        return random_flips(images, micro.rng) if self.mirror else images

    @torch.no_grad()
    def real_styles(self, micro: Micro) -> Tensor:
        """Styles that the mapping network makes, shape (N, 1, w_dim)."""
        shape = (len(micro.labels), self.generator.z_dim)
        z = torch.randn(shape, device=micro.labels.device, generator=micro.rng)
        return self.generator.mapping(z, micro.labels)[:, :1]

    def _reconstructed(self, micro: Micro) -> Made:
        """What the encoder's phase of this batch made of the micro-batch."""
        if micro.first not in self._made:
            with torch.no_grad():
                *_, _ = self.e_main(micro)
        return self._made[micro.first]

    # Discriminators

    def d_main(self, micro: Micro) -> Outcome:
        """Reconstructions against real pictures."""
        assert self.discriminator is not None
        fake = self.discriminator(self._reconstructed(micro).images, micro.labels)
        real = self.discriminator(self.reals(micro), micro.labels)
        loss = losses.fake_loss(fake) + losses.real_loss(real)
        stats = {"Loss/scores/reconstruction": fake, "Loss/scores/real": real, "Loss/D/loss": loss}
        return Outcome(loss.sum(), stats)

    def d_r1(self, micro: Micro) -> Outcome:
        """R1 of real pictures, times its interval."""
        assert self.discriminator is not None
        images = self.reals(micro).requires_grad_()
        penalty = r1_penalty(self.discriminator(images, micro.labels), images)
        loss = penalty.sum() * (self.r1.r1_gamma / 2 * self.r1.r1_interval)
        return Outcome(loss, {"Loss/r1_penalty": penalty})

    def l_main(self, micro: Micro) -> Outcome:
        """The encoder's styles against the mapping network's."""
        assert self.latent_discriminator is not None
        fake = self.latent_discriminator(self._free(self._reconstructed(micro).ws))
        real = self.latent_discriminator(self.real_styles(micro))
        loss = losses.fake_loss(fake) + losses.real_loss(real)
        stats = {"Loss/scores/encoded": fake, "Loss/scores/mapped": real, "Loss/L/loss": loss}
        return Outcome(loss.sum(), stats)

    def l_r1(self, micro: Micro) -> Outcome:
        """R1 of the mapping network's styles, times its interval."""
        assert self.latent_discriminator is not None
        ws = self.real_styles(micro).requires_grad_()
        penalty = losses.latent_r1_penalty(self.latent_discriminator(ws)[:, 0], ws)
        loss = penalty.sum() * (self.r1.latent_r1_gamma / 2 * self.r1.latent_r1_interval)
        return Outcome(loss, {"Loss/latent_r1_penalty": penalty})


def _numbered(stats: dict[str, Tensor], look: int) -> dict[str, Tensor]:
    """The statistics of a look before the last."""
    return {f"{name}_look{look}": values for name, values in stats.items()}


@torch.no_grad()
def reconstruct(
    encoder: StyleEncoder,
    generator: Generator,
    pictures: Tensor,
    iterations: int,
    stage: int | None,
) -> tuple[Tensor, Tensor]:
    """What an encoder makes of pictures (N, C, H, W): reconstructions and styles."""
    num_ws, current = encoder.num_ws, None
    if encoder.residual:
        ws = generator.mapping.w_avg.expand(len(pictures), num_ws, -1)
        current = generator.synthesis(ws, noise_mode="const"), ws
    for _ in range(iterations):
        ws = encoder(pictures, stage, current)
        images = generator.synthesis(ws, noise_mode="const")
        current = images, ws
    return images, ws
