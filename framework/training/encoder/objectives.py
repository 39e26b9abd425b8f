"""The phases of an encoder's run: what each of them computes on a micro-batch.

The encoder reads pictures, the frozen generator draws the result, and the difference trains the
encoder; discriminators of pictures and of styles, if any, train beside it.
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
from framework.training.precision import Autocast, autocast
from framework.training.stylegan2.augment import random_flips
from framework.training.stylegan2.losses import r1_penalty


class Reconstructed(NamedTuple):
    """Reconstructions of a micro-batch by the encoder's phase, for the discriminators; no gradient.

    Attributes:
        images: Pictures, shape (N, C, H, W).
        ws: Their styles, shape (N, num_ws, w_dim).
    """

    images: Tensor
    ws: Tensor


@dataclass
class Reconstruction:
    """The objectives of an encoder and of its discriminators.

    Attributes:
        encoder: The encoder, from pictures to styles.
        generator: The frozen generator.
        statistics: Statistics of the generator's styles.
        weights: Weights of the terms.
        schedule: What changes with the images seen.
        iterations: How often the encoder looks at a picture and its reconstruction (ReStyle).
        distance: Measures how different pictures look, if that counts.
        similarity: Measures how different what they show is, if that counts.
        directions: Mean directions of each layer's style vectors, if they count.
        discriminator: Judges pictures, if that counts.
        latent_discriminator: Judges styles, if that counts.
        r1: Weights and intervals of both discriminators' R1.
        loss_px: Most pixels of the longer side at which pictures are compared (by a
            discriminator's features at its own size); None for the pictures' own size.
        mirror: Show pictures mirrored half of the time.
        low_precision: What the networks compute in; see `Machine`.
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
    low_precision: Autocast = "none"

    def __post_init__(self) -> None:
        self._results: dict[int, Reconstructed] = {}
        self.advance(0)

    def phases(self) -> list[Phase]:
        """Return the phases of a batch in order; those of weight 0 are left out."""
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

    def advance(self, seen_images: int) -> None:
        """Let the images seen decide what counts; called before each batch."""
        self._results.clear()
        self.stage = self.schedule.stage(seen_images, self.encoder.num_ws)
        self.ramp, self.share = self.schedule.ramp(seen_images), self.schedule.share(seen_images)

    # The encoder

    def e_main(self, micro: Micro) -> Iterator[Outcome]:
        """Yield the encoder's loss at each of its looks."""
        pictures, true_ws = self.pictures(micro)
        of_pictures = self._features(pictures)
        current = self._start(pictures)
        for look in range(1, self.iterations + 1):
            ws = self._encoded(pictures, current)
            images = self._drawn(ws)
            terms = self._terms(pictures, of_pictures, images, ws, micro.labels)
            weighted = [getattr(self.weights, kind) * term for kind, (_, term) in terms.items()]
            loss = torch.stack(weighted).sum(dim=0)
            stats = {f"Loss/{name}": term for name, term in terms.values()}
            total = loss.sum()
            if true_ws is not None:
                stats["Loss/latent"] = latent_error = self._latent_error(ws, true_ws)
                total = total + self.weights.latent * latent_error.sum()
            stats["Loss/E/loss"] = loss
            current = self._results[micro.first] = Reconstructed(images.detach(), ws.detach())
            yield Outcome(total, stats if look == self.iterations else _numbered(stats, look))

    def _encoded(self, pictures: Tensor, current: tuple[Tensor, Tensor] | None) -> Tensor:
        """Return the encoder's styles, (N, num_ws, w_dim), in float32."""
        with autocast(self.low_precision, pictures.device):
            return self.encoder(pictures, self.stage, current).float()

    def _drawn(self, ws: Tensor) -> Tensor:
        """Return the generator's pictures of styles, in float32."""
        with autocast(self.low_precision, ws.device):
            return self.generator.synthesis(ws, noise_mode="const").float()

    def _start(self, pictures: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return what a residual encoder corrects first: the mean style and its picture."""
        if not self.encoder.residual:
            return None
        ws = self.statistics.w_avg.expand(1, self.encoder.num_ws, -1)
        with torch.no_grad():
            image = self._drawn(ws)
        return image.expand(len(pictures), -1, -1, -1), ws.expand(len(pictures), -1, -1)

    def _terms(
        self,
        pictures: Tensor,
        of_pictures: list[Tensor],
        images: Tensor,
        ws: Tensor,
        labels: Tensor,
    ) -> dict[str, tuple[str, Tensor]]:
        """Return all terms that count now: by weight, the term's name and one value a sample."""
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
        # A discriminator only takes pictures of its own size.
        own_size = isinstance(self.distance, DiscriminatorDistance)
        compared = images if own_size else self._compared(images)
        with autocast(self.low_precision, images.device):
            return [level.float() for level in self.distance.features(compared)]

    def _compared(self, images: Tensor) -> Tensor:
        """Return pictures at the size of the comparison."""
        factor = -(-max(images.shape[2:]) // self.loss_px) if self.loss_px else 1
        return images if factor == 1 else F.avg_pool2d(images, factor)

    def _free(self, ws: Tensor) -> Tensor:
        """Return the styles (N, any, w_dim) of the layers that may differ."""
        return ws if self.stage is None else ws[:, : self.stage + 1]

    def _latent_error(self, ws: Tensor, true_ws: Tensor) -> Tensor:
        """Return the last samples' mean square error of their styles, in variances of w."""
        last_ws = ws[len(ws) - len(true_ws) :]
        return ((last_ws - true_ws) / self.statistics.w_std).square().flatten(1).mean(dim=1)

    # Pictures and styles

    def pictures(self, micro: Micro) -> tuple[Tensor, Tensor | None]:
        """Return pictures (N, C, H, W) to encode, and the styles of the generated ones.

        Generated pictures come last; None for the styles if the whole run has none of them.
        """
        reals = self.reals(micro)
        if not self.schedule.makes_pictures:
            return reals, None
        n, device = len(reals), reals.device
        count = int((torch.rand(n, device=device, generator=micro.rng) < self.share).sum())
        with torch.no_grad():
            ws = self.real_styles(micro)[n - count :].repeat(1, self.encoder.num_ws, 1)
            fakes = [self._drawn(ws)] if count else []
        return torch.cat([reals[: n - count], *fakes]), ws

    def reals(self, micro: Micro) -> Tensor:
        """Return real pictures (N, C, H, W), some of them mirrored."""
        images = micro.pictures()
        return random_flips(images, micro.rng) if self.mirror else images

    @torch.no_grad()
    def real_styles(self, micro: Micro) -> Tensor:
        """Draw styles from the mapping network, shape (N, 1, w_dim)."""
        shape = (len(micro.labels), self.generator.z_dim)
        z = torch.randn(shape, device=micro.labels.device, generator=micro.rng)
        return self.generator.mapping(z, micro.labels)[:, :1]

    def _reconstructed(self, micro: Micro) -> Reconstructed:
        """Return the micro-batch's reconstructions by the encoder's phase of this batch."""
        if micro.first not in self._results:
            with torch.no_grad():
                *_, _ = self.e_main(micro)
        return self._results[micro.first]

    # Discriminators

    def d_main(self, micro: Micro) -> Outcome:
        """Return the discriminator's loss on reconstructions and real pictures."""
        assert self.discriminator is not None
        fake = self.discriminator(self._reconstructed(micro).images, micro.labels)
        real = self.discriminator(self.reals(micro), micro.labels)
        loss = losses.fake_loss(fake) + losses.real_loss(real)
        stats = {"Loss/scores/reconstruction": fake, "Loss/scores/real": real, "Loss/D/loss": loss}
        return Outcome(loss.sum(), stats)

    def d_r1(self, micro: Micro) -> Outcome:
        """Return R1 on real pictures, times its interval."""
        assert self.discriminator is not None
        images = self.reals(micro).requires_grad_()
        penalty = r1_penalty(self.discriminator(images, micro.labels), images)
        loss = penalty.sum() * (self.r1.r1_gamma / 2 * self.r1.r1_interval)
        return Outcome(loss, {"Loss/r1_penalty": penalty})

    def l_main(self, micro: Micro) -> Outcome:
        """Return the latent discriminator's loss on the encoder's and the mapping's styles."""
        assert self.latent_discriminator is not None
        fake = self.latent_discriminator(self._free(self._reconstructed(micro).ws))
        real = self.latent_discriminator(self.real_styles(micro))
        loss = losses.fake_loss(fake) + losses.real_loss(real)
        stats = {"Loss/scores/encoded": fake, "Loss/scores/mapped": real, "Loss/L/loss": loss}
        return Outcome(loss.sum(), stats)

    def l_r1(self, micro: Micro) -> Outcome:
        """Return R1 on the mapping network's styles, times its interval."""
        assert self.latent_discriminator is not None
        ws = self.real_styles(micro).requires_grad_()
        penalty = losses.latent_r1_penalty(self.latent_discriminator(ws)[:, 0], ws)
        loss = penalty.sum() * (self.r1.latent_r1_gamma / 2 * self.r1.latent_r1_interval)
        return Outcome(loss, {"Loss/latent_r1_penalty": penalty})


def _numbered(stats: dict[str, Tensor], look: int) -> dict[str, Tensor]:
    """Return the statistics of a look before the last, its number appended to their names."""
    return {f"{name}_look{look}": values for name, values in stats.items()}


@torch.no_grad()
def reconstruct(
    encoder: StyleEncoder,
    generator: Generator,
    pictures: Tensor,
    iterations: int,
    stage: int | None,
) -> tuple[Tensor, Tensor]:
    """Return an encoder's reconstructions of pictures (N, C, H, W), and their styles."""
    num_ws, current = encoder.num_ws, None
    if encoder.residual:
        ws = generator.mapping.w_avg.expand(len(pictures), num_ws, -1)
        current = generator.synthesis(ws, noise_mode="const"), ws
    for _ in range(iterations):
        ws = encoder(pictures, stage, current)
        images = generator.synthesis(ws, noise_mode="const")
        current = images, ws
    return images, ws
