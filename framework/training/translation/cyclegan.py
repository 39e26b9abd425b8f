"""CycleGAN (Zhu et al. 2017): two generators that undo each other, without pairs."""

from typing import Any

import torch
from torch import Tensor, nn

from framework.errors import UserError
from framework.models.translation.judge import PatchJudge
from framework.models.translation.resnet import ResnetTranslator
from framework.training.phased import Headline
from framework.training.phases import Micro, Outcome, Phase
from framework.training.translation.losses import (
    Buffer,
    each,
    of_logits,
    square_made,
    square_real,
)
from framework.training.translation.module import TranslationTraining
from framework.training.translation.settings import CycleGANSettings

_SIDES = ("picture", "condition")


class CycleGANTraining(TranslationTraining[CycleGANSettings]):
    """Trains CycleGAN on pictures and sketches, or two kinds of pictures, that are no pairs.

    Settings: `CycleGANSettings`.
    """

    method = "cyclegan"
    headlines = (
        Headline("cycle", "Loss/G/cycle", "<7.4f"),
        Headline("G", "Loss/G/adv", "<6.3f"),
        Headline("D", "Loss/D/loss", "<6.3f"),
    )
    translator: nn.ModuleDict
    translator_ema: nn.ModuleDict
    judge: nn.ModuleDict

    def __init__(self, **settings: Any) -> None:
        super().__init__(CycleGANSettings(**settings))

    def method_networks(self, channels: int, size: tuple[int, int]) -> dict[str, nn.Module]:
        """Return generator, judge and buffer of each side."""
        s, seen = self.settings, self.condition.channels
        if self.condition.kind == "labels":
            raise UserError(
                "labels: a number has no way back from a picture; give sketch or picture",
                "data.condition",
            )
        counts = {"picture": channels, "condition": seen}
        ways = {"picture": (seen, channels), "condition": (channels, seen)}
        return {
            "translator": nn.ModuleDict(
                {side: ResnetTranslator(*ways[side], s.width, s.blocks) for side in _SIDES}
            ),
            "judge": nn.ModuleDict(
                {side: PatchJudge(counts[side], s.judge_width, s.judge_layers) for side in _SIDES}
            ),
            "buffers_of": nn.ModuleDict(
                {side: Buffer(s.buffer, (counts[side], *size)) for side in _SIDES}
            ),
        }

    def new_phases(self) -> list[Phase]:
        """Return the generators' phase and their judges'."""
        return [
            Phase("Gmain", "Gmain", self.translator, 1, self.make),
            Phase("Dmain", "Dmain", self.judge, 1, self.tell),
        ]

    def translators(self) -> dict[str, nn.Module]:
        """Return both averaged generators."""
        return {side: self.translator_ema[side] for side in _SIDES}

    def sides(self, micro: Micro) -> dict[str, Tensor]:
        """Return pictures and conditions of a micro-batch, shuffled against each other."""
        conditions, pictures = self.pair(micro)
        order = torch.randperm(len(conditions), device=conditions.device, generator=micro.rng)
        return {"picture": pictures, "condition": conditions[order]}

    def make(self, micro: Micro) -> Outcome:
        """Return the generators' loss: least squares, cycles, identities (eq. 3, section 5.2)."""
        real, to = self.sides(micro), self.translator
        made = {"picture": to["picture"](real["condition"]),
                "condition": to["condition"](real["picture"])}  # fmt: skip
        self._made[micro.first] = {side: made[side].detach() for side in _SIDES}
        adversarial = sum_of(of_logits(self.judge[s](made[s]), square_real) for s in _SIDES)
        cycle = sum_of(each((to[s](made[_other(s)]) - real[s]).abs()) for s in _SIDES)
        loss = adversarial + self.settings.cycle * cycle
        stats = {"Loss/G/adv": adversarial.detach(), "Loss/G/cycle": cycle.detach()}
        if self.settings.identity > 0:
            identity = sum_of(each((to[s](_like(real[s], self._seen(s)), None)
                                    - real[s]).abs()) for s in _SIDES)  # fmt: skip
            loss = loss + self.settings.cycle * self.settings.identity * identity
            stats["Loss/G/identity"] = identity.detach()
        return Outcome(loss.sum(), stats)

    def tell(self, micro: Micro) -> Outcome:
        """Return the judges' least squares, halved (appendix 7.1), on results from the buffers."""
        real = self.sides(micro)
        if micro.first not in self._made:
            with torch.no_grad():
                self._made[micro.first] = {
                    side: self.translator[side](real[_other(side)]) for side in _SIDES
                }
        losses = []
        for side in _SIDES:
            buffer: Any = self.buffers_of[side]  # type: ignore[operator]
            made = buffer.exchange(self._made[micro.first][side], micro.rng)
            loss = of_logits(self.judge[side](real[side]), square_real)
            losses.append((loss + of_logits(self.judge[side](made), square_made)) / 2)
        loss = sum_of(losses)
        return Outcome(loss.sum(), {"Loss/D/loss": loss.detach()})

    def _seen(self, side: str) -> int:
        """Return the channels that the generator of a side sees."""
        return self.translator[side].config["in_channels"]  # type: ignore[index, return-value]


def sum_of(values: Any) -> Tensor:
    """Return the sum of one loss a side, (N,)."""
    return torch.stack(list(values)).sum(dim=0)


def _other(side: str) -> str:
    return _SIDES[1 - _SIDES.index(side)]


def _like(pictures: Tensor, channels: int) -> Tensor:
    """Return pictures with as many channels: colours averaged, or grey repeated."""
    if pictures.shape[1] == channels:
        return pictures
    return pictures.mean(dim=1, keepdim=True).expand(-1, channels, -1, -1)
