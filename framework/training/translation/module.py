"""What the trainings of translations share, as a LightningModule."""

from abc import abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import lightning
import numpy as np
import torch
from torch import Tensor, nn

from framework.errors import UserError
from framework.formats.translator_folder import save_translator
from framework.media.draw import rgb
from framework.media.images import to_float, to_uint8
from framework.media.label_maps import coloured
from framework.models.translation.condition import Condition
from framework.training.averaged import AveragedTraining
from framework.training.data import TrainingImages
from framework.training.phases import Micro, Phase
from framework.training.randomness import keyed_generator
from framework.training.run_folder import CONFIG
from framework.training.stylegan2.augment import random_flips
from framework.training.translation.settings import TranslationSettings

T = TypeVar("T", bound=TranslationSettings)
_MOST_SHOWN = 16
_SHARE_OF_WORK = 1 / 16  # of the places at which an average weight is applied


class TranslationTraining(AveragedTraining[T]):
    """Trains a network from conditions to pictures against a judge, and averages it.

    Pairs come as pictures whose last channels are the condition's; see `framework.data.pairs`.

    Attributes:
        method: Name of the method.
        translator: The network that is published, its average beside it.
        judge: Its opponent.
    """

    method: str
    translator: nn.Module
    translator_ema: nn.Module
    judge: nn.Module
    averaged = "translator"
    takes_condition = True
    widths = ("width",)

    def __init__(self, settings: T) -> None:
        super().__init__(settings)
        self.condition = Condition("sketch")
        self._size = (0, 0)

    # What a method says

    @abstractmethod
    def method_networks(self, channels: int, size: tuple[int, int]) -> dict[str, nn.Module]:
        """Return untrained networks, `translator` and `judge` at least.

        Args:
            channels: Channels of the pictures.
            size: (H, W) of the pictures.
        """

    @abstractmethod
    def new_phases(self) -> list[Phase]:
        """Return the phases of a batch."""

    @abstractmethod
    def translators(self) -> dict[str, nn.Module]:
        """Return the averaged networks that are published, by what they give."""

    def translate(self, conditions: Tensor, rng: torch.Generator) -> Tensor:
        """Return the averaged network's pictures of encoded conditions."""
        return self.translators()["picture"](conditions, rng)

    # Construction

    def foresee(
        self,
        trainer: lightning.Trainer,
        data: TrainingImages,
        about_run: dict[str, Any] | None = None,
    ) -> None:
        """Check all but the pictures; see `PhasedTraining`."""
        self.condition = condition_of(data, self.settings.num_labels, self.method)
        super().foresee(trainer, data, about_run)

    def plan(self, trainer: lightning.Trainer, data: TrainingImages) -> dict[str, Any]:
        """Check that this can be trained; see `PhasedTraining`."""
        self.condition = named_condition(self.condition, data)
        self._size = data.img_size
        return {
            "method": self.method,
            "num_labels": self.condition.num_labels,
            **super().plan(trainer, data),
        }

    def fresh(self) -> "TranslationTraining":
        """Return the same module for the same conditions, its networks not built yet."""
        fresh: Any = super().fresh()
        fresh.condition, fresh._size = self.condition, self._size
        return fresh

    def sketch(
        self, size: tuple[int, int], channels: int, c_dim: int, device: torch.device
    ) -> dict[str, nn.Module]:
        """Return the networks; `channels` are those of picture and condition."""
        networks = self.method_networks(channels - self.condition.img_channels, size)
        for network in networks["translator"].modules():
            multiple = getattr(network, "multiple", 1)
            if size[0] % multiple or size[1] % multiple:
                raise UserError(
                    f"{size[0]}x{size[1]}: must be multiples of {multiple}", "data.size"
                )
        return networks

    def assemble(
        self, size: tuple[int, int], channels: int, c_dim: int, device: torch.device, batch: int
    ) -> None:
        """Build everything."""
        self.batch_size, self.img_channels = batch, channels - self.condition.img_channels
        for name, network in self.new_networks(size, channels, c_dim, device).items():
            self.add_module(name, network)
        self.begin_average()
        self._made: dict[int, Any] = {}
        self.phases = self.new_phases()

    def networks(self) -> list[nn.Module]:
        """Return the translator and its judge."""
        return [self.translator, self.judge]

    def begin_batch(self) -> None:
        """Move the learning rates to the images seen; forget the last batch's pictures."""
        self._made.clear()
        super().begin_batch()

    def gflop(self, sketch: dict[str, nn.Module], share: int) -> float:
        """Return the operations of a forward pass; see `PhasedTraining`."""
        weights = sum(parameter.numel() for parameter in sketch["translator"].parameters())
        return 2 * share * weights * self._size[0] * self._size[1] * _SHARE_OF_WORK / 1e9

    # Pairs

    def pair(self, micro: Micro) -> tuple[Tensor, Tensor]:
        """Return encoded conditions and pictures of a micro-batch, some of both mirrored."""
        both = micro.pictures()
        if self.settings.mirror:  # alike in all phases of a batch, which share what was made
            both = random_flips(both, keyed_generator(both.device, self.seed, micro.first, "flips"))
        pictures, conditions = both[:, : self.img_channels], both[:, self.img_channels :]
        return self.condition.encode(conditions), pictures

    # What it shows

    def exhibit(self, data: TrainingImages, columns: int, count: int) -> "Translations":
        """Return conditions and pictures, and what the averaged network makes of them."""
        return Translations(self, data, columns, count)

    def write_model(self, folder: Path, provenance: dict[str, Any], card: str) -> None:
        """Write the averaged network."""
        networks = self.translators()
        save_translator(folder, self.method, networks, self.condition, self._size, provenance, card)

    def card(self, name: str, data: dict[str, Any]) -> str:
        """Return the model card of a snapshot, Markdown."""
        height, width = data["size"]
        pairs = "pairs" if data["paired"] else "pictures and conditions that are no pairs"
        verb = "from-label" if self.condition.kind == "labels" else "from-sketch"
        return f"""# {name}

A translation from {self.condition.kind} to pictures of {width}x{height} px ({self.method}),
averaged weights after {self.seen_images / 1000:g} thousand images.

- Data: {data["count"]} {pairs} of `{data["source"]}`. Their licence is not known to the trainer:
  add it here before passing this folder on.
- Quality: not measured; `../translations{name.removeprefix("network-")}.png` shows some.
- Use: `python edit.py {verb} FILE --model .`
- Made by: `python train.py fit --config ../{CONFIG}`
"""


class Translations:
    """The same conditions all through a run, above their pictures."""

    def __init__(
        self, training: TranslationTraining, data: TrainingImages, columns: int, count: int
    ) -> None:
        both = data.images if data.held_out is None else data.held_out
        shown = min(len(both), _MOST_SHOWN, max(columns, count // 3 // columns * columns))
        picks = torch.linspace(0, len(both) - 1, shown).long()
        channels = data.channels
        self.training, self.columns = training, columns
        self.pictures = both[picks, :channels].permute(0, 2, 3, 1).numpy()
        self.conditions = both[picks, channels:].permute(0, 2, 3, 1).numpy()

    def begin(self) -> dict[str, np.ndarray]:
        """Return conditions above the true pictures (without pairs, others)."""
        return {"pairs": self._rows(self.pictures)}

    @torch.no_grad()
    def now(self) -> dict[str, np.ndarray]:
        """Return conditions above what the averaged network makes of them."""
        training, device = self.training, self.training.device
        rng = keyed_generator(device, training.seed, "exhibit")
        conditions = training.condition.encode(to_float(self.conditions).to(device))
        return {"translations": self._rows(to_uint8(training.translate(conditions, rng)))}

    def _rows(self, pictures: np.ndarray) -> np.ndarray:
        shown = shown_conditions(self.training.condition, self.conditions)
        below = np.stack([rgb(picture) for picture in pictures])
        rows: list[np.ndarray] = []
        for first in range(0, len(shown), self.columns):
            for sheet in (shown, below):
                row = sheet[first : first + self.columns]
                missing = self.columns - len(row)
                rows.append(np.pad(row, ((0, missing), *((0, 0),) * 3), constant_values=255))
        return np.concatenate(rows)


def condition_of(data: TrainingImages, num_labels: int, learner: str) -> Condition:
    """Return what the data's conditions are, their labels not named yet.

    Raises:
        UserError: If the data have none.
    """
    if data.condition == "none":
        raise UserError(
            f"none: {learner} learns from pairs; give sketch, labels or picture", "data.condition"
        )
    channels = data.channels if data.condition == "picture" else 1
    return Condition(data.condition, channels, num_labels if data.condition == "labels" else 0)


def named_condition(condition: Condition, data: TrainingImages) -> Condition:
    """Return the same with the labels' names, if the data have some.

    Raises:
        UserError: If the data have labels that the condition does not.
    """
    facts = data.facts()
    most, labels = facts.get("num_labels", 0), condition.num_labels
    if most > labels:
        raise UserError(
            f"{labels}: {data.source} has labels up to {most - 1}; give {most} or more",
            "num_labels",
        )
    return replace(condition, names=tuple(facts.get("label_names", ())))


def shown_conditions(condition: Condition, pictures: np.ndarray) -> np.ndarray:
    """Return conditions, uint8 (N, H, W, c), as pictures to look at, (N, H, W, 3)."""
    if condition.kind == "labels":
        return coloured(pictures[..., 0])
    return np.stack([rgb(picture) for picture in pictures])
