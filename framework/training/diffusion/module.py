"""Training a diffusion model of pixels, as a LightningModule."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from framework.errors import UserError
from framework.formats.diffusion_folder import save_diffusion_folder
from framework.models.diffusion.sampling import sample
from framework.models.diffusion.schedule import schedule_of
from framework.models.diffusion.unet import check_diffusers, pixel_unet, to_cells, to_pictures
from framework.training.averaged import AveragedTraining
from framework.training.data import TrainingImages
from framework.training.diffusion.exhibit import FixedNoise
from framework.training.diffusion.objectives import Denoising
from framework.training.diffusion.settings import DiffusionSettings
from framework.training.phased import Headline
from framework.training.precision import autocast
from framework.training.run_folder import CONFIG


class DiffusionTraining(AveragedTraining[DiffusionSettings]):
    """Trains an unconditional U-Net of pixels to take noise out of pictures, and averages it.

    Settings: `DiffusionSettings`.
    """

    unet: nn.Module
    unet_ema: nn.Module
    averaged = "unet"
    longest_gradient = 1.0
    widths = ("channels",)
    headlines = (
        Headline("U", "Loss/U/loss", "<7.4f"),
        Headline("error", "Loss/U/error", "<7.4f"),
    )

    def __init__(self, **settings: Any) -> None:
        super().__init__(DiffusionSettings(**settings))
        self.schedule = schedule_of(self.settings.scheduler())

    # Construction

    def plan(self, trainer: lightning.Trainer, data: TrainingImages) -> dict[str, Any]:
        """Check that this can be trained; see `PhasedTraining`."""
        unet = {**asdict(self.settings.unet), "channels": list(self.settings.unet.channels)}
        scheduler = {n: v for n, v in self.settings.scheduler().items() if n[0] != "_"}
        return {"unet": unet, "scheduler": scheduler, **super().plan(trainer, data)}

    def sketch(
        self, size: tuple[int, int], channels: int, c_dim: int, device: torch.device
    ) -> dict[str, nn.Module]:
        """Return the U-Net."""
        check_diffusers()
        return {"unet": self._new(size, channels)}

    def _new(self, size: tuple[int, int], channels: int) -> nn.Module:
        s = self.settings.unet
        least = s.cell_px * 2 ** (len(s.channels) - 1)
        if size[0] % least or size[1] % least:
            raise UserError(f"{size[0]}x{size[1]}: must be multiples of {least}", "data.size")
        return pixel_unet(
            size, channels, s.cell_px, s.channels, s.layers, s.attention_px, s.head_width
        )

    def assemble(
        self, size: tuple[int, int], channels: int, c_dim: int, device: torch.device, batch: int
    ) -> None:
        """Build everything."""
        s, self.batch_size = self.settings, batch
        self.unet = self.new_networks(size, channels, c_dim, device)["unet"]
        self.begin_average()
        cells = partial(to_cells, cell_px=s.unet.cell_px)
        self.objective = Denoising(
            self.unet, partial(self.predict, self.unet), self.schedule, cells, s.snr_gamma, s.mirror
        )
        self.phases = self.objective.phases()

    def predict(self, unet: nn.Module, x: Tensor, t: Tensor | int) -> Tensor:
        """Return a network's output, float32, computed in the precision of the run."""
        with autocast(self.settings.low_precision, x.device):
            return unet(x, t).sample.float()

    def learning_rate(self, network: nn.Module) -> float:
        """Return the learning rate at this point of the run."""
        begun = self.warmup_share(self.settings.warmup_kimg)
        return begun * self.settings.learning_rate(self.seen_images)

    def gflop(self, sketch: dict[str, nn.Module], share: int) -> float:
        """Return the operations of a forward pass; see `PhasedTraining`."""
        unet: Any = self.unet if hasattr(self, "unet") else sketch["unet"]
        side = unet.config.sample_size
        height, width = (side, side) if isinstance(side, int) else side
        channels = list(unet.config.block_out_channels)
        # A convolution's weights are used at every place of its resolution: three quarters of each
        # level's lie in four convolutions on the way up and two on the way down.
        macs = sum(8 * 9 * c**2 * height * width / 4**i for i, c in enumerate(channels))
        return 2 * share * macs / 1e9

    # What it shows

    @torch.no_grad()
    def drawn(self, noise: Tensor) -> Tensor:
        """Return what the averaged network makes of noise: pictures (N, C, H, W), about [-1, 1]."""
        predict = partial(self.predict, self.unet_ema)
        steps = self.settings.sample_steps
        cells = sample(predict, self.schedule, noise.to(self.device), steps)
        return to_pictures(cells, self.settings.unet.cell_px)

    def exhibit(self, data: TrainingImages, columns: int, count: int) -> FixedNoise:
        """Return samples of fixed noise."""
        cells = to_cells(data.images[:1], self.settings.unet.cell_px)
        channels, height, width = cells.shape[1:]
        shape = (channels, height, width)
        return FixedNoise(self.drawn, shape, data.images, columns, count, self.seed)

    def write_model(self, folder: Path, provenance: dict[str, Any], card: str) -> None:
        """Write the averaged network with its schedule, in diffusers' layout."""
        save_diffusion_folder(
            folder, self.unet_ema, self.settings.scheduler(), provenance=provenance, card=card
        )

    def card(self, name: str, data: dict[str, Any]) -> str:
        """Return the model card of a snapshot, Markdown."""
        height, width = data["size"]
        sheet = f"../fakes{name.removeprefix('network-')}.png"
        return f"""# {name}

Diffusion model of pixels, {width}x{height} px, averaged weights after {self.seen_images / 1000:g}
thousand images. The U-Net works on cells of {self.settings.unet.cell_px}x{self.settings.unet.cell_px} pixels.

- Data: {data["count"]} pictures of `{data["source"]}`. Their licence is not known to the trainer:
  add it here before passing this folder on.
- Quality: not measured; `{sheet}` shows samples.
- Made by: `python train.py fit --config ../{CONFIG}`
"""  # noqa: E501
