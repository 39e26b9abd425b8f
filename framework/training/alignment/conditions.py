"""Training an encoder of sketches or labels onto a frozen image encoder's codes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from torch import Tensor

from framework.errors import UserError
from framework.files import sha256_file, write_text
from framework.formats.condition_file import FORMAT, save_condition_encoder
from framework.models.alignment.condition import ConditionEncoder
from framework.models.translation.condition import MOST_LABELS, Condition
from framework.training.alignment.exhibit import Described
from framework.training.alignment.module import AlignmentTraining
from framework.training.alignment.settings import AlignmentSettings
from framework.training.data import TrainingImages
from framework.training.phases import Micro
from framework.training.run_folder import CONFIG
from framework.training.translation.module import condition_of, named_condition, shown_conditions


@dataclass(frozen=True)
class ConditionEncoderSettings(AlignmentSettings):
    """Settings of `ConditionEncoderTraining`.

    Args:
        lr: Learning rate, at the beginning.
        lr_final: Learning rate after `lr_kimg`, reached on half a cosine; None keeps `lr`.
        lr_kimg: Thousands of pairs until `lr_final`.
        betas: Adam's decay rates.
        mirror: Must be false: codes are of pictures as they are.
        micro_batch: Pairs a process works on at once; its whole share if None.
        seed: Seed of everything random.
        generator: A model with an encoder: a shipped one's name, or a model folder. Both stay as
            they are.
        coordinates: Coordinates of the codes that are learned.
        hidden: Units of the tower's result and of the head's hidden layer.
        weights: Weights of the terms of the loss.
        warmup_kimg: Thousands of pairs in which the learning rate rises from 0.
        ema_kimg: Half-life of the average of the network, which is the one that is published, in
            thousands of pairs.
        ema_rampup: The half-life is at most this share of the pairs seen; null for no ramp.
        width: Channels of the tower at half size.
        num_labels: Number of labels, where conditions are labels; ones above are refused.
        thick: Share of sketches whose lines are drawn thicker, as by another pen.
    """

    coordinates: int = 96
    hidden: int = 192
    width: int = 24
    num_labels: int = 10
    thick: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("width", least=1, most=1024)
        self._whole("num_labels", least=2, most=MOST_LABELS)
        self._number("thick", most=1)


class ConditionEncoderTraining(AlignmentTraining[ConditionEncoderSettings]):
    """Trains an encoder of sketches or labels, and averages it.

    Settings: `ConditionEncoderSettings`.
    """

    encoder: ConditionEncoder
    encoder_ema: ConditionEncoder
    takes_condition = True

    def __init__(self, **settings: Any) -> None:
        super().__init__(ConditionEncoderSettings(**settings))
        self.condition = Condition("sketch")

    def foresee(
        self,
        trainer: lightning.Trainer,
        data: TrainingImages,
        about_run: dict[str, Any] | None = None,
    ) -> None:
        """Check all but the pictures; see `PhasedTraining`."""
        if data.condition not in ("sketch", "labels") or not data.paired:
            given = data.condition if data.paired else "no pairs"
            raise UserError(f"{given}: this learns from pairs with sketch or labels",
                            "data.condition")  # fmt: skip
        self.condition = condition_of(data, self.settings.num_labels, "an encoder")
        super().foresee(trainer, data, about_run)

    def fresh(self) -> "ConditionEncoderTraining":
        """Return the same module for the same conditions, not built yet."""
        fresh: Any = super().fresh()
        fresh.condition = self.condition
        return fresh

    def plan(self, trainer: lightning.Trainer, data: TrainingImages) -> dict[str, Any]:
        """Check that this can be trained; see `PhasedTraining`."""
        self.condition = named_condition(self.condition, data)
        return super().plan(trainer, data)

    def new_encoder(self) -> ConditionEncoder:
        """Return the untrained encoder."""
        s, generator = self.settings, self.opened.generator
        return ConditionEncoder(
            self.condition, generator.img_size, generator.num_ws, generator.w_dim,
            coordinates=s.coordinates, hidden=s.hidden, width=s.width,
        )  # fmt: skip

    def _check_pictures(self, size: tuple[int, int], channels: int) -> None:
        super()._check_pictures(size, channels - self.condition.img_channels)

    def pictures_of(self, both: Tensor) -> Tensor:
        """Return the pictures' channels of pairs."""
        return both[:, : -self.condition.img_channels]

    def inputs_of(self, data: TrainingImages, held_out: bool) -> Tensor:
        """Return the conditions, uint8 (M, 1, c, H, W)."""
        both = data.held_out if held_out else data.images
        assert both is not None
        return both[:, None, -self.condition.img_channels :]

    def pairs(self, micro: Micro) -> tuple[Tensor, Tensor]:
        """Return conditions and codes; some sketches are drawn with a thicker pen."""
        conditions, codes = super().pairs(micro)
        if self.condition.kind == "sketch" and self.settings.thick > 0:
            rng = micro.rng
            chosen = torch.rand(len(conditions), generator=rng, device=rng.device)
            thicker = -F.max_pool2d(-conditions.float(), 3, 1, 1)
            is_thick = (chosen < self.settings.thick)[:, None, None, None]
            conditions = torch.where(is_thick, thicker, conditions.float()).to(torch.uint8)
        return conditions, codes

    def exhibit(self, data: TrainingImages, columns: int, count: int) -> Described:
        """Return conditions above two pictures of each."""
        both = data.images if data.held_out is None else data.held_out
        levels = both[:, -self.condition.img_channels :].permute(0, 2, 3, 1).numpy()
        shown = torch.from_numpy(shown_conditions(self.condition, levels[:64])).permute(0, 3, 1, 2)
        return Described(self, shown, columns, count)

    def write_model(self, folder: Path, provenance: dict[str, Any], card: str) -> None:
        """Write the averaged encoder."""
        opened = self.opened
        file = save_condition_encoder(
            folder, self.encoder_ema, opened.generator.digest, opened.encoder_digest,
            self.settings.generator, provenance,
        )  # fmt: skip
        sums = {file.name: sha256_file(file)}
        about = {"format": FORMAT, "provenance": provenance, "sha256": sums}
        write_text(folder / "config.json", json.dumps(about, indent=2) + "\n")
        write_text(folder / "README.md", card)

    def published(self) -> dict[str, Any]:
        """Return the encoder."""
        return {self.condition.kind: self.encoder_ema}

    def card(self, name: str, data: dict[str, Any]) -> str:
        """Return the model card of a snapshot, Markdown."""
        model, kind = self.settings.generator, self.condition.kind
        verb = "from-label" if kind == "labels" else "from-sketch"
        return f"""# {name}

An encoder of {kind} for the model `{model}`, averaged weights after
{self.seen_images / 1000:g} thousand pairs. It belongs to that model's weights alone.

- Use: `python edit.py {verb} FILE --model {model} --encoder . --out out/drawn`
- Data: {data["count"]} pairs of `{data["source"]}`. Their licence is not known to the trainer: add
  it here before passing this folder on.
- Quality: `stats.jsonl` of the run has retrieval on held-out pictures, `Retrieval/R@1`;
  `../described{name.removeprefix("network-")}.png` shows some.
- Made by: `python train.py fit --config ../{CONFIG}`
"""
