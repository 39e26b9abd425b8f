"""Generator against discriminator: what each phase of a run computes on a micro-batch.

Nothing is logged, weighted by batch size or sent to other processes here; the training module does
that with what an objective returns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from framework.models.stylegan2.discriminator import Discriminator
from framework.models.stylegan2.fade import label_share
from framework.models.stylegan2.generator import Generator
from framework.training.phases import Micro, Outcome, Phase
from framework.training.stylegan2 import losses
from framework.training.stylegan2.ada import AdaptiveAugment, AdaSettings, real_signs
from framework.training.stylegan2.augment import augment, random_flips
from framework.training.stylegan2.objectives import LOSSES, AdversarialLoss
from framework.training.stylegan2.regularizers import LeCam, PathLength


class Judged(NamedTuple):
    """Pictures and the discriminator's outputs for them.

    Attributes:
        images: Pictures before augmentation, shape (N, C, H, W).
        heads: Outputs of the heads, shape (N, 1), or (N, 2) while labels are faded in.
        logits: The heads combined, shape (N, 1).
    """

    images: Tensor
    heads: Tensor
    logits: Tensor


@dataclass
class Game:
    """The objectives of both networks.

    Attributes:
        generator: The generator, whose running mean of w is updated here.
        discriminator: The discriminator, which judges augmented pictures.
        batch_size: Images of a batch, over all processes.
        loss: Losses of both networks, and the gradient penalty that goes with them.
        policy: Names of the changes of DiffAugment.
        augmenter: ADA, if any.
        ada: How ADA's strength is learned; None for a fixed one.
        mirror: Show real pictures mirrored half of the time.
        style_mixing_prob: Share of samples whose late layers follow another latent.
        r1_gamma: Weight of R1, and of R2 where the loss has it; 0 for none.
        r1_interval: Batches from one step of R1 to the next; None puts it into every main step.
        gp_weight: Weight of the penalty on interpolates, for losses that have it.
        transition_kimg: Where labels begin to count and where they count fully; None for always.
        path_length: Path length regularisation of the generator, if any.
        lecam: LeCam regularisation of the discriminator, if any.
    """

    generator: Generator
    discriminator: Discriminator
    batch_size: int
    loss: AdversarialLoss = LOSSES["nonsaturating"]
    policy: Sequence[str] = ()
    augmenter: AdaptiveAugment | None = None
    ada: AdaSettings | None = None
    mirror: bool = False
    style_mixing_prob: float = 0.9
    r1_gamma: float = 0.0
    r1_interval: int | None = None
    gp_weight: float = 0.0
    transition_kimg: tuple[float, float] | None = None
    path_length: PathLength | None = None
    lecam: LeCam | None = None

    def phases(self) -> list[Phase]:
        """Return the phases of a batch in order; those of weight 0 are left out."""
        g, d = self.generator, self.discriminator
        phases = [Phase("Gmain", "Gmain", g, 1, self.g_main, self._after_g_main)]
        if pl := self.path_length:
            phases.append(Phase("Gpl", "Greg", g, pl.interval, self.g_pl, self._after_g_pl))
        phases.append(Phase("Dmain", "Dmain", d, 1, self.d_main, self._after_d_main))
        if self.penalised and self.r1_interval:
            phases.append(Phase("Dr1", "Dreg", d, self.r1_interval, self.d_r1))
        return phases

    @property
    def penalised(self) -> bool:
        """Whether the discriminator's gradient is penalised at all."""
        weight = self.gp_weight if self.loss.penalty == "interpolates" else self.r1_gamma
        return weight > 0

    def g_main(self, micro: Micro) -> Outcome:
        """Return the generator's loss on new pictures."""
        images, _, w = self.fakes(micro)
        fake = self.judge(images, micro)
        heads = fake.heads
        if self.loss.relative:
            heads = heads - self.judge(self.reals(micro), micro).heads
        loss = self.discriminator.weigh(self.loss.generator(heads))
        stats = _scores("fake", fake.logits) | {"Loss/G/loss": loss}
        return Outcome(loss.sum(), stats, {"w": w.detach().sum(dim=0)})

    def g_pl(self, micro: Micro) -> Outcome:
        """Return path length regularisation on a share of the samples, times its interval."""
        pl, n = self.path_length, len(micro.labels)
        assert pl is not None
        images, ws, _ = self.fakes(micro, max(1, n // pl.batch_shrink))
        noise = torch.randn(images.shape, device=images.device, generator=micro.rng)
        penalty, lengths = pl(images, ws, noise)
        loss = penalty * pl.weight
        stats = {"Loss/pl_penalty": penalty, "Loss/G/reg": loss}
        sums = {"length": lengths.detach().mean(0, keepdim=True) * n}
        return Outcome(loss.mean() * n * pl.interval, stats, sums)

    def d_main(self, micro: Micro) -> Outcome:
        """The discriminator's loss on new and on real pictures, and penalties that are not lazy."""
        penalised = self.penalised and self.r1_interval is None
        slopes = penalised and self.loss.penalty != "interpolates"
        fake = self.judge(self._constant_fakes(micro), micro, slopes)
        real = self.judge(self.reals(micro), micro, slopes)
        loss = self.discriminator.weigh(self.loss.discriminator(fake.heads, real.heads))
        stats = _scores("fake", fake.logits) | _scores("real", real.logits)
        stats["Loss/D/loss"] = loss
        sums, total = {}, loss.sum()
        if penalised:
            penalty, of_penalty = self._penalty(micro, fake, real)
            stats |= of_penalty
            total = total + penalty.sum()
        if self.lecam:
            stats["Loss/lecam"] = regularisation = self.lecam(fake.logits, real.logits)
            total = total + regularisation.sum() * self.lecam.weight
            sums["logits"] = torch.cat([fake.logits, real.logits], dim=1).detach().sum(dim=0)
        if self.ada:
            sums["signs"] = real_signs(real.logits)
        return Outcome(total, stats, sums)

    def d_r1(self, micro: Micro) -> Outcome:
        """Return R1, and R2 if the loss has it, times their interval."""
        assert self.r1_interval is not None
        real = self.judge(self.reals(micro), micro, slopes=True)
        fake = None
        if self.loss.penalty == "r1+r2":
            fake = self.judge(self._constant_fakes(micro), micro, slopes=True)
        loss, stats = self._penalty(micro, fake, real)
        return Outcome(loss.sum() * self.r1_interval, stats)

    def _penalty(
        self, micro: Micro, fake: Judged | None, real: Judged
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return each sample's weighted gradient penalty, shape (N,), and what to report."""
        if self.loss.penalty == "interpolates":
            assert fake is not None
            between = losses.interpolates(real.images, fake.images, micro.rng)
            between = self.judge(between.detach(), micro, slopes=True)
            penalty = losses.unit_slope_penalty(between.logits, between.images)
            loss, stats = penalty * self.gp_weight, {"Loss/gradient_penalty": penalty}
        else:
            penalty = losses.r1_penalty(real.logits, real.images)
            stats = {"Loss/r1_penalty": penalty}
            if self.loss.penalty == "r1+r2":
                assert fake is not None
                stats["Loss/r2_penalty"] = r2 = losses.r1_penalty(fake.logits, fake.images)
                penalty = penalty + r2
            loss = penalty * (self.r1_gamma / 2)
        return loss, stats | {"Loss/D/reg": loss}

    def fakes(self, micro: Micro, count: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Generate pictures for the first `count` labels (all if None).

        Returns:
            Pictures (N, C, H, W), their styles (N, num_ws, w_dim), and w (N, w_dim) before mixing.
        """
        labels = micro.labels[:count]
        shape = (2, len(labels), self.generator.z_dim)
        z = torch.randn(shape, device=labels.device, generator=micro.rng)
        ws = unmixed = self.generator.mapping(z[0], labels)
        if self.style_mixing_prob > 0:
            other = self.generator.mapping(z[1], labels)
            ws = losses.mix_styles(unmixed, other, self.style_mixing_prob, micro.rng)
        images = self.generator.synthesis(ws, noise_mode="random", rng=micro.rng)
        return images, ws, unmixed[:, 0]

    def reals(self, micro: Micro) -> Tensor:
        """Return real pictures (N, C, H, W), some of them mirrored."""
        images = micro.pictures()
        return random_flips(images, micro.rng) if self.mirror else images

    @torch.no_grad()
    def _constant_fakes(self, micro: Micro) -> Tensor:
        """Generate pictures (N, C, H, W) without a graph."""
        return self.fakes(micro)[0]

    def judge(self, images: Tensor, micro: Micro, slopes: bool = False) -> Judged:
        """Augment pictures (N, C, H, W) and judge them.

        Args:
            images: Pictures; without a graph if `slopes`.
            micro: The micro-batch with their labels.
            slopes: Whether the logits must be differentiable with respect to the pictures.
        """
        if slopes:
            images.requires_grad_()
        augmented = augment(images, self.policy, micro.rng)
        if self.augmenter:
            augmented = self.augmenter(augmented, micro.rng)
        if not self.discriminator.label_fade:
            logits = self.discriminator(augmented, micro.labels)
            return Judged(images, logits, logits)
        heads = self.discriminator.heads(augmented, micro.labels)
        return Judged(images, heads, self.discriminator.weigh(heads))

    def _after_g_main(self, sums: dict[str, Tensor]) -> None:
        self.generator.mapping.update_w_avg(sums["w"][None] / self.batch_size)

    def _after_g_pl(self, sums: dict[str, Tensor]) -> None:
        assert self.path_length is not None
        self.path_length.mean.update(sums["length"] / self.batch_size)

    def _after_d_main(self, sums: dict[str, Tensor]) -> None:
        if self.lecam:
            self.lecam.anchors.update(sums["logits"] / self.batch_size)
        if self.ada and self.augmenter:
            self.augmenter.observe(sums["signs"])

    def fade_labels(self, seen_images: int) -> float | None:
        """Let labels count by the images seen; return their share, None if they always count."""
        if self.transition_kimg is None:
            return None
        share = label_share(seen_images, self.transition_kimg)
        self.generator.mapping.label_strength.fill_(share)
        self.discriminator.label_strength.fill_(share)
        return share

    def adapt(self, batches_seen: int) -> None:
        """Update the strength of ADA, if this batch is one of its interval."""
        if self.ada and self.augmenter and batches_seen % self.ada.interval == 0:
            self.augmenter.adapt(self.ada)


def _scores(kind: str, logits: Tensor) -> dict[str, Tensor]:
    return {f"Loss/scores/{kind}": logits, f"Loss/signs/{kind}": logits.detach().sign()}
