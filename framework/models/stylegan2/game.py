"""Generator against discriminator: what each phase of training computes on a micro-batch.

Nothing is logged, weighted by batch size or sent to other processes here; the LightningModule does
that with what an objective returns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from framework.models.stylegan2 import losses
from framework.models.stylegan2.augment import augment, random_flips
from framework.models.stylegan2.discriminator import Discriminator
from framework.models.stylegan2.generator import Generator
from framework.models.stylegan2.regularizers import PathLength


@dataclass(frozen=True)
class Micro:
    """A micro-batch.

    Attributes:
        pictures: Makes the real pictures, float32, shape (N, C, H, W), in [-1, 1].
        labels: Shape (N, c_dim), for real and generated pictures alike.
        rng: Source of everything random.
    """

    pictures: Callable[[], Tensor]
    labels: Tensor
    rng: torch.Generator


@dataclass(frozen=True)
class Outcome:
    """What an objective gives.

    Attributes:
        loss: Sum over the samples of the micro-batch, shape ().
        stats: Values to report, by name.
        sums: What the phase's `finish` wants added up over the whole batch, float32.
    """

    loss: Tensor
    stats: dict[str, Tensor]
    sums: dict[str, Tensor] = field(default_factory=dict)


def _nothing(sums: dict[str, Tensor]) -> None:
    pass


@dataclass(frozen=True)
class Phase:
    """One objective, stepped by the optimizer of its network.

    Attributes:
        name: Keys the random numbers of the phase.
        timing: NVIDIA's name, which people's tools know.
        network: The network that is trained.
        interval: Batches between steps.
        objective: From a micro-batch to the loss.
        finish: Takes the sums over the batch and all processes, after the step.
    """

    name: str
    timing: str
    network: nn.Module
    interval: int
    objective: Callable[[Micro], Outcome]
    finish: Callable[[dict[str, Tensor]], None] = _nothing

    @property
    def lazy(self) -> bool:
        """Whether it is regularisation of its own, stepped beside the main objective."""
        return self.timing.endswith("reg")


class Game:
    """The objectives of both networks.

    Args:
        generator: Its running mean of w is kept here.
        discriminator: Judges augmented pictures.
        policy: Names of the changes of DiffAugment.
        mirror: Show real pictures mirrored half of the time.
        style_mixing_prob: Share of samples whose late layers follow another latent.
        r1_gamma: Weight of R1; 0 for none.
        r1_interval: Batches between R1 steps.
        path_length: Path length regularisation; None for none.
        batch_size: Images of a batch, over all processes.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        policy: Sequence[str],
        mirror: bool,
        style_mixing_prob: float,
        r1_gamma: float,
        r1_interval: int,
        path_length: PathLength | None,
        batch_size: int,
    ) -> None:
        self.generator, self.discriminator = generator, discriminator
        self.policy, self.mirror, self.style_mixing_prob = policy, mirror, style_mixing_prob
        self.r1_gamma, self.r1_interval, self.batch_size = r1_gamma, r1_interval, batch_size
        self.path_length = path_length

    def phases(self) -> list[Phase]:
        """The phases of a batch in their order; those of weight 0 are left out."""
        g, d = self.generator, self.discriminator
        phases = [Phase("Gmain", "Gmain", g, 1, self.g_main, self._update_w_avg)]
        if pl := self.path_length:
            phases.append(Phase("Gpl", "Greg", g, pl.interval, self.g_pl, self._update_pl_mean))
        phases.append(Phase("Dmain", "Dmain", d, 1, self.d_main))
        if self.r1_gamma > 0:
            phases.append(Phase("Dr1", "Dreg", d, self.r1_interval, self.r1))
        return phases

    def g_main(self, micro: Micro) -> Outcome:
        """The generator's loss on new pictures."""
        images, _, w = self.fakes(micro)
        logits = self.judge(images, micro)
        loss = losses.generator_loss(logits)
        stats = _scores("fake", logits) | {"Loss/G/loss": loss}
        return Outcome(loss.sum(), stats, {"w": w.detach().sum(dim=0)})

    def g_pl(self, micro: Micro) -> Outcome:
        """Path length regularisation on a share of the samples, times its interval."""
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
        """The discriminator's loss on new and on real pictures."""
        with torch.no_grad():
            images, _, _ = self.fakes(micro)
        fake_logits = self.judge(images, micro)
        real_logits = self.judge(self.reals(micro), micro)
        loss = losses.discriminator_fake_loss(fake_logits)
        loss = loss + losses.discriminator_real_loss(real_logits)
        stats = _scores("fake", fake_logits) | _scores("real", real_logits)
        return Outcome(loss.sum(), stats | {"Loss/D/loss": loss})

    def r1(self, micro: Micro) -> Outcome:
        """R1 on real pictures before their augmentation, times its interval."""
        reals = self.reals(micro).requires_grad_()
        penalty = losses.r1_penalty(self.judge(reals, micro), reals)
        loss = penalty * (self.r1_gamma / 2)
        stats = {"Loss/r1_penalty": penalty, "Loss/D/reg": loss}
        return Outcome(loss.sum() * self.r1_interval, stats)

    def fakes(self, micro: Micro, count: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """New pictures of the first `count` labels (all if None).

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
        """Real pictures (N, C, H, W), some of them mirrored."""
        images = micro.pictures()
        return random_flips(images, micro.rng) if self.mirror else images

    def judge(self, images: Tensor, micro: Micro) -> Tensor:
        """Logits (N, 1) of the augmented pictures."""
        return self.discriminator(augment(images, self.policy, micro.rng), micro.labels)

    def _update_w_avg(self, sums: dict[str, Tensor]) -> None:
        self.generator.mapping.update_w_avg(sums["w"][None] / self.batch_size)

    def _update_pl_mean(self, sums: dict[str, Tensor]) -> None:
        assert self.path_length is not None
        self.path_length.mean.update(sums["length"] / self.batch_size)


def _scores(kind: str, logits: Tensor) -> dict[str, Tensor]:
    return {f"Loss/scores/{kind}": logits, f"Loss/signs/{kind}": logits.detach().sign()}
