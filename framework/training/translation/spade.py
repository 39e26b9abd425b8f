"""SPADE (Park et al. 2019): pictures from maps of labels, their style drawn or of a picture."""

from typing import Any

import lightning
import torch
from torch import Tensor, nn

from framework.formats import open_model
from framework.formats.opening import ZOO
from framework.models.features.distance import Distance, choose_distance
from framework.models.translation.judge import PatchJudge
from framework.models.translation.spade import SpadeGenerator, StyleReader
from framework.training.data import TrainingImages
from framework.training.phased import Headline
from framework.training.phases import Micro, Outcome, Phase
from framework.training.translation.losses import (
    divergence,
    hinge_made,
    hinge_real,
    matched,
    of_logits,
)
from framework.training.translation.module import TranslationTraining
from framework.training.translation.settings import SpadeSettings

_SHIPPED = "features64"


class SpadeTraining(TranslationTraining[SpadeSettings]):
    """Trains SPADE on pairs.

    Settings: `SpadeSettings`.
    """

    method = "spade"
    headlines = (
        Headline("match", "Loss/G/features", "<7.4f"),
        Headline("G", "Loss/G/adv", "<6.3f"),
        Headline("D", "Loss/D/loss", "<6.3f"),
    )
    translator: nn.ModuleDict
    translator_ema: nn.ModuleDict

    def __init__(self, **settings: Any) -> None:
        super().__init__(SpadeSettings(**settings))
        self._distance: list[Distance] = []  # in a list: it is none of the run's networks

    def foresee(
        self,
        trainer: lightning.Trainer,
        data: TrainingImages,
        about_run: dict[str, Any] | None = None,
    ) -> None:
        """Check all but the pictures, the network that compares them too."""
        super().foresee(trainer, data, about_run)
        if self.settings.perceptual > 0:
            _ = self.distance

    @property
    def distance(self) -> Distance:
        """The perceptual distance, opened once.

        Raises:
            UserError: If its network is missing.
        """
        if not self._distance:
            name, discriminator = self.settings.features, None
            with torch.device("cpu"):
                if name is not None:
                    shipped = ZOO / _SHIPPED / "discriminator.safetensors"
                    model = open_model(shipped if name == _SHIPPED else name, "--model.features")
                    discriminator = model.network("discriminator")
                choice = "multiscale" if name is None else "dfeat"
                self._distance.append(
                    choose_distance(choice, discriminator, flag="--model.features")[0]
                )
        return self._distance[0]

    def fresh(self) -> TranslationTraining:
        """Return the same module, not built, with the same distance."""
        fresh: Any = super().fresh()
        fresh._distance = self._distance
        return fresh

    def method_networks(self, channels: int, size: tuple[int, int]) -> dict[str, nn.Module]:
        """Return generator, reader of styles if there is one, and judges of both sides together."""
        s, seen = self.settings, self.condition.channels
        generator = SpadeGenerator(seen, channels, s.width, size, s.z_dim, s.hidden)
        networks: dict[str, nn.Module] = {"picture": generator}
        if s.kl > 0:
            networks["style"] = StyleReader(channels, max(1, s.judge_width // 2), s.z_dim)
        return {
            "translator": nn.ModuleDict(networks),
            "judge": PatchJudge(
                seen + channels, s.judge_width, s.judge_layers, s.judge_scales, spectral=True
            ),
        }

    def assemble(
        self, size: tuple[int, int], channels: int, c_dim: int, device: torch.device, batch: int
    ) -> None:
        """Build everything; the distance goes to the device of the run."""
        super().assemble(size, channels, c_dim, device, batch)
        for distance in self._distance:
            distance.to(device)

    def learning_rate(self, network: nn.Module) -> float:
        """Return the learning rate at this point of the run; the judges' is its own."""
        rate = super().learning_rate(network)
        return rate * self.settings.judge_lr / self.settings.lr if network is self.judge else rate

    def new_phases(self) -> list[Phase]:
        """Return the generator's phase and the judges'."""
        return [
            Phase("Gmain", "Gmain", self.translator, 1, self.make),
            Phase("Dmain", "Dmain", self.judge, 1, self.tell),
        ]

    def translators(self) -> dict[str, nn.Module]:
        """Return the averaged generator, and its reader of styles if there is one."""
        return dict(self.translator_ema.items())

    def make(self, micro: Micro) -> Outcome:
        """Return the loss of the generator: hinge, features of judges and network, divergence."""
        s, (conditions, pictures) = self.settings, self.pair(micro)
        made, spread = self._drawn(conditions, pictures, micro.rng)
        self._made[micro.first] = made.detach()
        judged = self._judged(conditions, made)
        with torch.no_grad():
            real = self._judged(conditions, pictures)
        terms = {"adv": of_logits(judged, lambda logits: -logits)}
        weights = {"adv": 1.0, "features": s.feature_matching, "perceptual": s.perceptual}
        if s.feature_matching > 0:
            terms["features"] = matched(judged, real)
        if s.perceptual > 0:
            terms["perceptual"] = self.distance(pictures, made)
        if spread is not None:
            terms["kl"], weights["kl"] = divergence(*spread), s.kl
        loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum(dim=0)
        return Outcome(loss.sum(), {f"Loss/G/{n}": term.detach() for n, term in terms.items()})

    def tell(self, micro: Micro) -> Outcome:
        """Return the judges' hinge loss."""
        conditions, pictures = self.pair(micro)
        if micro.first not in self._made:
            with torch.no_grad():
                self._made[micro.first] = self._drawn(conditions, pictures, micro.rng)[0]
        real = of_logits(self._judged(conditions, pictures), hinge_real)
        made = of_logits(self._judged(conditions, self._made[micro.first]), hinge_made)
        loss = real + made
        return Outcome(loss.sum(), {"Loss/D/loss": loss.detach()})

    def _drawn(
        self, conditions: Tensor, pictures: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """Return pictures in the styles of true ones, and those styles' means and log variances."""
        generator = self.translator["picture"]
        if "style" not in self.translator:
            return generator(conditions, rng), None
        mean, log_variance = self.translator["style"](pictures)
        noise = torch.randn(mean.shape, device=mean.device, generator=rng)
        style = mean + noise * (log_variance / 2).exp()
        return generator(conditions, style=style), (mean, log_variance)

    def _judged(self, conditions: Tensor, pictures: Tensor) -> list[list[Tensor]]:
        return self.judge(torch.cat([conditions, pictures], dim=1))
