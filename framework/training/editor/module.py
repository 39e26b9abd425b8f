"""Training a latent transformer for a generator, as a LightningModule."""

from typing import Any, NamedTuple

import lightning
import torch
from torch import nn

from framework.formats import open_model
from framework.models.editors.latent_transformer import LatentTransformer
from framework.models.encoders.weights import EncoderWeights
from framework.models.sketch import sketching
from framework.models.stylegan2 import Discriminator, Generator
from framework.models.stylegan2.work import synthesis_gflop
from framework.training.averaged import AveragedTraining
from framework.training.data import TrainingImages
from framework.training.editor.exhibit import Motions
from framework.training.editor.flow import check_opencv, check_size
from framework.training.editor.objectives import Following
from framework.training.editor.settings import EditorSettings
from framework.training.phased import Headline
from framework.training.run_folder import CONFIG


class Opened(NamedTuple):
    """A model that gets an editor.

    Attributes:
        generator: The generator, which stays as it is.
        discriminator: Its opponent, if the model has one; only passed on.
        encoder: Its encoder, if the model has one; only passed on.
    """

    generator: Generator
    discriminator: Discriminator | None
    encoder: EncoderWeights | None


class EditorTraining(AveragedTraining[EditorSettings]):
    """Trains a latent transformer on pictures that the generator itself makes, and averages it.

    Settings: `EditorSettings`. An "image" of the run is a path between two pictures.
    """

    editor: LatentTransformer
    editor_ema: LatentTransformer
    averaged = "editor"
    needs_pictures = False
    longest_gradient = 1.0  # a batch of long motions would spoil Adam's scale for a hundred others
    headlines = (
        Headline("T", "Loss/T/loss", "<6.3f"),
        Headline("move", "Loss/move", "<6.3f"),
        Headline("still", "Loss/still", "<6.3f"),
        Headline("change", "Loss/change", "<6.3f"),
    )

    def __init__(self, **settings: Any) -> None:
        super().__init__(EditorSettings(**settings))
        self._opened: Opened | None = None

    # Construction

    @property
    def opened(self) -> Opened:
        """The model, opened once.

        Raises:
            UserError: If it cannot be opened.
        """
        if self._opened is None:
            with torch.device("cpu"):  # also if a caller only sketches
                model = open_model(self.settings.generator, "--model.generator")
                has = model.networks
                self._opened = Opened(
                    model.network("generator"),
                    model.network("discriminator") if "discriminator" in has else None,
                    model.encoder() if "encoder" in has else None,
                )
        return self._opened

    def own_size(self) -> tuple[int, int]:
        """Return the generator's size; see `PhasedTraining`."""
        return self.opened.generator.img_size

    def fresh(self) -> "EditorTraining":
        """Return the same module, not built, with the same opened model."""
        fresh = EditorTraining(**self.settings.arguments())
        fresh._opened = self.opened
        return fresh

    def plan(self, trainer: lightning.Trainer, data: TrainingImages) -> dict[str, Any]:
        """Check that this can be trained; see `PhasedTraining`."""
        common = super().plan(trainer, data)
        with sketching():
            editor = self._new()
        return {
            "generator_digest": self.opened.generator.digest,
            "generator_name": self.settings.generator,
            "transformer": dict(editor.config),
            **common,
        }

    def sketch(
        self, size: tuple[int, int], channels: int, c_dim: int, device: torch.device
    ) -> dict[str, nn.Module]:
        """Return the editor; refuse what it cannot be trained on."""
        check_opencv()
        check_size(self.opened.generator.img_size)
        return {"editor": self._new()}

    def _new(self) -> LatentTransformer:
        s = self.settings.transformer
        sizes = {"width": s.width, "heads": s.heads, "depth": s.depth, "hidden": s.hidden}
        return LatentTransformer.new(self.opened.generator, s.moving, s.features, **sizes)

    def assemble(
        self, size: tuple[int, int], channels: int, c_dim: int, device: torch.device, batch: int
    ) -> None:
        """Build everything; the pictures of the data are not looked at."""
        self.batch_size = batch
        generator = self.opened.generator.to(device)
        self.editor = self.new_networks(size, channels, c_dim, device)["editor"]
        self.editor.set_statistics(generator)
        self.begin_average()
        self.objective = Following(self.editor, generator, self.settings)
        self.phases = self.objective.phases()

    def gflop(self, sketch: dict[str, nn.Module], share: int) -> float:
        """Return the operations of a forward pass; see `PhasedTraining`."""
        return synthesis_gflop(self.opened.generator, share)

    def learning_rate(self, network: nn.Module) -> float:
        """Return the learning rate at this point of the run."""
        begun = self.warmup_share(self.settings.warmup_kimg)
        return begun * self.settings.learning_rate(self.seen_images)

    # What it shows

    def exhibit(self, data: TrainingImages, columns: int, count: int) -> Motions:
        """Return pictures with motions asked of them, and what the averaged editor makes."""
        return Motions(self.editor_ema, self.opened.generator, self.settings, columns, count)

    def published(self) -> dict[str, Any]:
        """Return the model with its editor."""
        return {**self.opened._asdict(), "editor": self.editor_ema}

    def provenance(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return the generator's provenance, with the editor's beside it."""
        of_generator = getattr(self.opened.generator, "provenance", {})
        of_editor = {
            "seen_kimg": self.seen_images / 1000, "training": self.settings.to_dict()
        }  # fmt: skip
        return {**of_generator, "editor": of_editor}

    def card(self, name: str, data: dict[str, Any]) -> str:
        """Return the model card of a snapshot, Markdown."""
        height, width = self.opened.generator.img_size
        return f"""# {name}

The generator `{self.settings.generator}`, {width}x{height} px, with a latent transformer of
averaged weights after {self.seen_images / 1000:g} thousand paths between its pictures.

- Quality: `../motions{name.removeprefix("network-")}.png` shows some motions.
- Made by: `python train.py fit --config ../{CONFIG}`
"""
