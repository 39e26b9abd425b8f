"""pix2pix (Isola et al. 2017): a U-Net between a judge of patches and the true picture."""

from typing import Any

import torch
from torch import Tensor, nn

from framework.models.translation.judge import PatchJudge
from framework.models.translation.unet import UNet
from framework.training.phased import Headline
from framework.training.phases import Micro, Outcome, Phase
from framework.training.translation.losses import each, log_made, log_real, of_logits
from framework.training.translation.module import TranslationTraining
from framework.training.translation.settings import Pix2PixSettings


class Pix2PixTraining(TranslationTraining[Pix2PixSettings]):
    """Trains pix2pix on pairs.

    Settings: `Pix2PixSettings`.
    """

    method = "pix2pix"
    headlines = (
        Headline("L1", "Loss/G/l1", "<7.4f"),
        Headline("G", "Loss/G/adv", "<6.3f"),
        Headline("D", "Loss/D/loss", "<6.3f"),
    )

    def __init__(self, **settings: Any) -> None:
        super().__init__(Pix2PixSettings(**settings))

    def method_networks(self, channels: int, size: tuple[int, int]) -> dict[str, nn.Module]:
        """Return a U-Net, and a judge that sees condition and picture."""
        s, seen = self.settings, self.condition.channels
        return {
            "translator": UNet(seen, channels, s.width, s.depth, s.dropout),
            "judge": PatchJudge(seen + channels, s.judge_width, s.judge_layers),
        }

    def new_phases(self) -> list[Phase]:
        """Return the translator's phase and its judge's."""
        return [
            Phase("Gmain", "Gmain", self.translator, 1, self.make),
            Phase("Dmain", "Dmain", self.judge, 1, self.tell),
        ]

    def translators(self) -> dict[str, nn.Module]:
        """Return the averaged U-Net."""
        return {"picture": self.translator_ema}

    def make(self, micro: Micro) -> Outcome:
        """Return the translator's loss: log loss and weighted L1 (eq. 4)."""
        conditions, pictures = self.pair(micro)
        made = self.translator(conditions, micro.rng)
        self._made[micro.first] = made.detach()
        adversarial = of_logits(self._judged(conditions, made), log_real)
        l1 = each((made - pictures).abs())
        loss = adversarial + self.settings.l1 * l1
        return Outcome(loss.sum(), {"Loss/G/l1": l1.detach(), "Loss/G/adv": adversarial.detach()})

    def tell(self, micro: Micro) -> Outcome:
        """Return the judge's log loss, halved (section 3.3)."""
        conditions, pictures = self.pair(micro)
        if micro.first not in self._made:
            with torch.no_grad():
                self._made[micro.first] = self.translator(conditions, micro.rng)
        real = of_logits(self._judged(conditions, pictures), log_real)
        made = of_logits(self._judged(conditions, self._made[micro.first]), log_made)
        loss = (real + made) / 2
        return Outcome(loss.sum(), {"Loss/D/loss": loss.detach()})

    def _judged(self, conditions: Tensor, pictures: Tensor) -> list[list[Tensor]]:
        return self.judge(torch.cat([conditions, pictures], dim=1))
