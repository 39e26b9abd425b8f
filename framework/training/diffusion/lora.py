"""An identity LoRA as a run of its own: many pictures of one subject, resumed, logged, published.

A drag or an inversion of one photograph makes its LoRA by itself
(`framework.inversion.diffusion`); this is the same objective for a folder of pictures.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from framework.errors import UserError
from framework.formats import open_model
from framework.formats.diffusion_folder import INDEX, save_tuned_folder
from framework.formats.opening import DIFFUSERS, DIFFUSION
from framework.inversion.deltas import personal
from framework.inversion.diffusion import RANK, Factors, adapted, changes, denoising_errors
from framework.models.diffusion.generator import DiffusionGenerator
from framework.training.data import TrainingImages
from framework.training.diffusion.exhibit import FixedNoise
from framework.training.phased import Average, Headline, PhasedTraining
from framework.training.phases import Micro, Outcome, Phase
from framework.training.run_folder import CONFIG
from framework.training.settings import TrainingSettings

_SHOWN = 8


@dataclass(frozen=True)
class LoraSettings(TrainingSettings):
    """Settings of `LoraTraining`.

    Args:
        generator: The diffusion model: a shipped one's name or a folder of diffusers. It stays as
            it is.
        rank: Rank of the changes of attention's weights.
        lr: Learning rate.
        betas: Adam's decay rates.
        mirror: Of no use here: a subject is not its mirror image.
        micro_batch: Images a process works on at once; its whole share if None.
        seed: Seed of everything random.
    """

    generator: str = "toycars64-diffusion"
    rank: int = RANK
    lr: float = 5e-4
    betas: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("rank", least=1, most=1024)


class LoraTraining(PhasedTraining[LoraSettings]):
    """Fine-tunes a diffusion model's attention to pictures by low-rank changes (Hu et al. 2022).

    Settings: `LoraSettings`.
    """

    lora: nn.ParameterList
    widths = ("rank",)
    headlines = (Headline("L", "Loss/L/loss", "<7.4f"),)

    def __init__(self, **settings: Any) -> None:
        super().__init__(LoraSettings(**settings))
        self._opened: tuple[Path, DiffusionGenerator] | None = None

    @property
    def opened(self) -> tuple[Path, DiffusionGenerator]:
        """The model's folder and the model, opened once.

        Raises:
            UserError: If it cannot be opened, or is no diffusion model.
        """
        if self._opened is None:
            with torch.device("cpu"):
                model = open_model(self.settings.generator, "--model.generator")
                if model.dialect != DIFFUSERS:
                    raise UserError(f"{self.settings.generator}: no diffusion model", "generator")
                self._opened = model.path, model.network(DIFFUSION)
        return self._opened

    def own_size(self) -> tuple[int, int]:
        """Return the model's size; see `PhasedTraining`."""
        height, width = self.opened[1].img_size
        return height, width

    def fresh(self) -> "LoraTraining":
        """Return the same module, not built, with the same opened model."""
        fresh = LoraTraining(**self.settings.arguments())
        fresh._opened = self.opened
        return fresh

    def plan(self, trainer: lightning.Trainer, data: TrainingImages) -> dict[str, Any]:
        """Check that this can be trained; see `PhasedTraining`."""
        names = {
            "generator_digest": self.opened[1].digest, "generator_name": self.settings.generator
        }  # fmt: skip
        return {**names, "rank": self.settings.rank, **super().plan(trainer, data)}

    def sketch(
        self, size: tuple[int, int], channels: int, c_dim: int, device: torch.device
    ) -> dict[str, nn.Module]:
        """Return the changes' factors; refuse pictures unlike the model's."""
        height, width = self.own_size()
        if size != (height, width) or channels != 3:
            raise UserError(
                f"{size[0]}x{size[1]}: this model has {height}x{width} RGB", "data.size"
            )
        with torch.device("cpu"):
            _, factors = adapted(self.opened[1], self.settings.rank, self.seed)
        return {"lora": listed(factors)}

    def gflop(self, sketch: dict[str, nn.Module], share: int) -> float:
        """Return the operations of a forward pass; see `PhasedTraining`."""
        return share * self.opened[1].step_gflop

    def assemble(
        self, size: tuple[int, int], channels: int, c_dim: int, device: torch.device, batch: int
    ) -> None:
        """Build everything."""
        self.batch_size = batch
        network, factors = adapted(self.opened[1].to(device), self.settings.rank, self.seed)
        self._network, self._factors = (network,), factors  # in a tuple: it is no part of the state
        self.lora = listed(factors)
        self.phases = [Phase("Lmain", "Lmain", self.lora, 1, self.main)]

    def main(self, micro: Micro) -> Outcome:
        """Return the loss of a micro-batch: each picture at one level."""
        (network,) = self._network
        errors = denoising_errors(network, network.space.encode(micro.pictures()), micro.rng)
        return Outcome(errors.sum(), {"Loss/L/loss": errors.detach()})

    def networks(self) -> list[nn.Module]:
        """Return the changes' factors."""
        return [self.lora]

    def averages(self) -> list[Average]:
        """Return nothing: so few steps are not averaged."""
        return []

    # What it shows

    @property
    def tuned(self) -> DiffusionGenerator:
        """The model with the changes."""
        own: Any = personal(self.opened[1], deltas=changes(self._factors))  # type: ignore[arg-type]
        return own

    def exhibit(self, data: TrainingImages, columns: int, count: int) -> FixedNoise:
        """Return samples of fixed noise by the model with the changes."""
        generator = self.opened[1]
        shape = (generator.channels, *generator.places)

        @torch.no_grad()
        def drawn(noise: Tensor) -> Tensor:
            tuned = self.tuned
            return tuned.synthesis(tuned.mapping(noise.to(self.device).flatten(1)))

        return FixedNoise(drawn, shape, data.images, min(columns, _SHOWN), _SHOWN, self.seed)

    def write_model(self, folder: Path, provenance: dict[str, Any], card: str) -> None:
        """Write the model with the changes in it, with everything that belongs to it."""
        source = self.opened[0]
        for part in sorted(source.iterdir()):
            if part.is_dir() and (source / INDEX).is_file():
                shutil.copytree(part, folder / part.name, dirs_exist_ok=True)
        shutil.copyfile(source / INDEX, folder / INDEX)
        save_tuned_folder(folder, self.tuned.unet, provenance, card)

    def provenance(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return the model's provenance, with the LoRA's beside it."""
        return {**self.opened[1].provenance, "lora": super().provenance(data)}

    def card(self, name: str, data: dict[str, Any]) -> str:
        """Return the model card of a snapshot, Markdown."""
        pictures = f"{data['count']} pictures of `{data['source']}`"
        return f"""# {name}

The diffusion model `{self.settings.generator}`, its attention fine-tuned by changes of rank
{self.settings.rank} to {pictures}, after {self.seen_images} images.

- Use: `python edit.py drag --model {name} --image PHOTO --stages embed …`
- Made by: `python train.py fit --config ../{CONFIG}`
"""


def listed(factors: Factors) -> nn.ParameterList:
    """Return the factors as a network that can be trained and saved."""
    return nn.ParameterList([weight for a, b, _ in factors.values() for weight in (a, b)])
