"""Training a network that fills holes, as a LightningModule."""

from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import nn

from framework.errors import UserError
from framework.formats.filler_folder import save_filler
from framework.media.images import to_float, to_uint8
from framework.models.filling.network import CELL_PX, HoleFiller, HoleJudge
from framework.training.averaged import AveragedTraining
from framework.training.data import TrainingImages
from framework.training.filling.objectives import Filling, draw_holes
from framework.training.filling.settings import FillingSettings
from framework.training.phased import Headline
from framework.training.randomness import keyed_generator
from framework.training.run_folder import CONFIG

_MOST_SHOWN = 32
_MACS_OF_WIDTH = 60  # multiplications at each place of the deep layers, in widths squared


class FillingTraining(AveragedTraining[FillingSettings]):
    """Trains a network to fill holes in pictures of the data, and averages it.

    Settings: `FillingSettings`.
    """

    filler: HoleFiller
    filler_ema: HoleFiller
    averaged = "filler"
    judge: HoleJudge
    longest_gradient = 10.0
    widths = ("width",)
    headlines = (
        Headline("F", "Loss/F/error", "<7.4f"),
        Headline("J", "Loss/J/loss", "<6.3f"),
    )

    def __init__(self, **settings: Any) -> None:
        super().__init__(FillingSettings(**settings))
        self._size = (0, 0)

    def plan(self, trainer: lightning.Trainer, data: TrainingImages) -> dict[str, Any]:
        """Check that this can be trained; see `PhasedTraining`."""
        self._size = data.img_size
        return {"width": self.settings.width, **super().plan(trainer, data)}

    def sketch(
        self, size: tuple[int, int], channels: int, c_dim: int, device: torch.device
    ) -> dict[str, nn.Module]:
        """Return both networks."""
        if size[0] % CELL_PX or size[1] % CELL_PX:
            raise UserError(f"{size[0]}x{size[1]}: must be multiples of {CELL_PX}", "data.size")
        width = self.settings.width
        return {"filler": HoleFiller(channels, width, size), "judge": HoleJudge(channels, width)}

    def assemble(
        self, size: tuple[int, int], channels: int, c_dim: int, device: torch.device, batch: int
    ) -> None:
        """Build everything."""
        self.batch_size = batch
        networks = self.new_networks(size, channels, c_dim, device)
        self.filler, self.judge = networks["filler"], networks["judge"]
        self.begin_average()
        self.phases = Filling(self.filler, self.judge, self.settings).phases()

    def networks(self) -> list[nn.Module]:
        """Return the filler and its judge, if it has one."""
        return [self.filler, self.judge] if self.settings.adversarial > 0 else [self.filler]

    def gflop(self, sketch: dict[str, nn.Module], share: int) -> float:
        """Return the operations of a forward pass; see `PhasedTraining`."""
        places = self._size[0] * self._size[1] / CELL_PX**2
        return 2 * share * places * _MACS_OF_WIDTH * self.settings.width**2 / 1e9

    # What it shows

    def exhibit(self, data: TrainingImages, columns: int, count: int) -> "Holes":
        """Return pictures with holes, and what the averaged network makes of them."""
        return Holes(self, data, columns, count)

    def write_model(self, folder: Path, provenance: dict[str, Any], card: str) -> None:
        """Write the averaged network."""
        save_filler(folder, self.filler_ema, provenance, card)

    def card(self, name: str, data: dict[str, Any]) -> str:
        """Return the model card of a snapshot, Markdown."""
        height, width = data["size"]
        return f"""# {name}

A network that fills holes in pictures of {width}x{height} px, averaged weights after
{self.seen_images / 1000:g} thousand images.

- Data: {data["count"]} pictures of `{data["source"]}`. Their licence is not known to the trainer:
  add it here before passing this folder on.
- Quality: not measured; `../filled{name.removeprefix("network-")}.png` shows some.
- Made by: `python train.py fit --config ../{CONFIG}`
"""


class Holes:
    """The same pictures with the same holes all through a run."""

    def __init__(
        self, training: FillingTraining, data: TrainingImages, columns: int, count: int
    ) -> None:
        rng = keyed_generator("cpu", training.seed, "grid")
        shown = max(columns, min(count, _MOST_SHOWN) // columns * columns)
        picks = torch.randint(len(data.images), (shown,), generator=rng)
        self.training = training
        self.pictures = to_float(data.images[picks].permute(0, 2, 3, 1).numpy())
        size, area = (self.pictures.shape[2], self.pictures.shape[3]), training.settings.hole_area
        self.holes = draw_holes(shown, size, area, rng, torch.device("cpu"))

    def begin(self) -> dict[str, np.ndarray]:
        """Return the pictures with their holes."""
        return {"holes": to_uint8(self.pictures * (1 - self.holes))}

    @torch.no_grad()
    def now(self) -> dict[str, np.ndarray]:
        """Return them filled."""
        device = self.training.device
        filled = self.training.filler_ema(self.pictures.to(device), self.holes.to(device))
        return {"filled": to_uint8(filled)}
