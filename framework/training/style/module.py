"""Training a decoder of styles, as a LightningModule."""

from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor, nn

from framework.data.patterns import pattern
from framework.errors import UserError
from framework.formats.decoder_folder import DECODERS
from framework.media.images import to_float, to_uint8
from framework.models.features.lite0 import EfficientNetLite0, load_lite0
from framework.models.features.weights import LITE0, find_weights
from framework.models.style.network import StyleDecoder, restyled
from framework.training.averaged import AveragedTraining
from framework.training.data import TrainingImages
from framework.training.phased import Headline
from framework.training.randomness import keyed_generator
from framework.training.run_folder import CONFIG
from framework.training.style.objectives import Decoding
from framework.training.style.settings import StyleDecoderSettings

_MOST_SHOWN = 32
_CELL_PX = 16  # the deepest features' positions
_MACS_OF_WIDTH = 14  # multiplications of decoder and features at a pixel, in widths


class StyleTraining(AveragedTraining[StyleDecoderSettings]):
    """Trains a decoder of adapted features on pictures of the data, and averages it.

    Settings: `StyleDecoderSettings`.
    """

    decoder: StyleDecoder
    decoder_ema: StyleDecoder
    averaged = "decoder"
    longest_gradient = 10.0
    widths = ("width",)
    headlines = (
        Headline("content", "Loss/S/content", "<6.3f"),
        Headline("style", "Loss/S/style", "<6.3f"),
    )

    def __init__(self, **settings: Any) -> None:
        super().__init__(StyleDecoderSettings(**settings))
        self._size = (0, 0)
        self._seen: list[EfficientNetLite0] = []  # in a list: it is no part of a checkpoint

    def plan(self, trainer: lightning.Trainer, data: TrainingImages) -> dict[str, Any]:
        """Check that this can be trained; see `PhasedTraining`."""
        self._size = data.img_size
        if find_weights(LITE0) is None:
            raise UserError(f"styles need {LITE0.name}, which is not installed: {LITE0.install}")
        return {"width": self.settings.width, **super().plan(trainer, data)}

    def sketch(
        self, size: tuple[int, int], channels: int, c_dim: int, device: torch.device
    ) -> dict[str, nn.Module]:
        """Return the decoder."""
        if size[0] % _CELL_PX or size[1] % _CELL_PX:
            raise UserError(f"{size[0]}x{size[1]}: must be multiples of {_CELL_PX}", "data.size")
        if channels != 3:
            raise UserError(f"{channels}: styles have three", "data.channels")
        return {"decoder": StyleDecoder(self.settings.width)}

    def assemble(
        self, size: tuple[int, int], channels: int, c_dim: int, device: torch.device, batch: int
    ) -> None:
        """Build everything."""
        self.batch_size = batch
        self.decoder = self.new_networks(size, channels, c_dim, device)["decoder"]
        self.begin_average()
        self._seen = [self.frozen_network().to(device)]
        count, side = self.settings.patterns, max(size)
        drawn = np.stack([pattern(i, side)[: size[0], : size[1]] for i in range(count)])
        patterns = torch.from_numpy(drawn).permute(0, 3, 1, 2).contiguous()
        self.phases = Decoding(self.decoder, self.features, patterns, self.settings).phases()

    def frozen_network(self) -> EfficientNetLite0:
        """Load the network whose features are decoded."""
        weights = find_weights(LITE0)
        assert weights is not None
        return load_lite0(weights)

    def features(self, pictures: Tensor) -> list[Tensor]:
        """Return the frozen features of pictures (N, 3, H, W)."""
        return self._seen[0].rectified(pictures)

    def gflop(self, sketch: dict[str, nn.Module], share: int) -> float:
        """Return the operations of a forward pass; see `PhasedTraining`."""
        pixels = self._size[0] * self._size[1]
        return 2 * share * pixels * _MACS_OF_WIDTH * self.settings.width / 1e9

    # What it shows

    def exhibit(self, data: TrainingImages, columns: int, count: int) -> "Restyled":
        """Return pictures, styles, and what the averaged decoder makes of both."""
        return Restyled(self, data, columns, count)

    def write_model(self, folder: Path, provenance: dict[str, Any], card: str) -> None:
        """Write the averaged decoder."""
        DECODERS.save(folder, self.decoder_ema, provenance, card)

    def card(self, name: str, data: dict[str, Any]) -> str:
        """Return the model card of a snapshot, Markdown."""
        height, width = data["size"]
        return f"""# {name}

A decoder for `python edit.py style --method adain`, averaged weights after
{self.seen_images / 1000:g} thousand images of {width}x{height} px.

- Data: {data["count"]} pictures of `{data["source"]}`, {self.settings.patterns} styles drawn by
  code. The pictures' licence is not known to the trainer: add it here before passing this on.
- Quality: not measured; `../styled{name.removeprefix("network-")}.png` shows some.
- Made by: `python train.py fit --config ../{CONFIG}`
"""


class Restyled:
    """The same pictures with the same styles all through a run."""

    def __init__(
        self, training: StyleTraining, data: TrainingImages, columns: int, count: int
    ) -> None:
        rng = keyed_generator("cpu", training.seed, "grid")
        shown = max(columns, min(count, _MOST_SHOWN) // columns * columns)
        picks = torch.randint(len(data.images), (shown,), generator=rng)
        self.training = training
        self.pictures = to_float(data.images[picks].permute(0, 2, 3, 1).numpy())
        height, width = self.pictures.shape[2:]
        side = max(height, width)
        first = training.settings.patterns  # those before are learned
        drawn = [pattern(first + i, side)[:height, :width] for i in range(shown)]
        self.styles = to_float(np.stack(drawn))

    def begin(self) -> dict[str, np.ndarray]:
        """Return the pictures and the styles, none of which is learned."""
        return {"pictures": to_uint8(self.pictures), "styles": to_uint8(self.styles)}

    @torch.no_grad()
    def now(self) -> dict[str, np.ndarray]:
        """Return the pictures in the styles."""
        features, device = self.training.features, self.training.device
        content, style = (features(x.to(device)) for x in (self.pictures, self.styles))
        return {"styled": to_uint8(self.training.decoder_ema(restyled(content, style, 1.0)))}
