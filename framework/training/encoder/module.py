"""Training an encoder for a generator, as a LightningModule."""

from copy import deepcopy
from typing import Any, cast

import lightning
import torch
from torch import Tensor, nn

from framework.formats import open_model
from framework.inversion.losses import pixel_loss
from framework.models.encoders.loading import encoder_weights
from framework.models.encoders.style_encoder import StyleEncoder
from framework.models.sketch import sketching
from framework.models.stylegan2.work import synthesis_gflop
from framework.ops.compiled import use_ops
from framework.training.callbacks import KimgCallback
from framework.training.data import TrainingImages
from framework.training.encoder.exhibit import Pairs
from framework.training.encoder.networks import (
    Frozen,
    check_labels,
    new_networks,
    new_objective,
    open_start,
    with_judges,
)
from framework.training.encoder.objectives import reconstruct
from framework.training.encoder.settings import EncoderSettings
from framework.training.phased import Average, Headline, PhasedTraining
from framework.training.run_folder import CONFIG

_BATCH = 16
_WATCHED = 128  # held-out pictures that are measured for every status line


class EncoderTraining(PhasedTraining[EncoderSettings]):
    """Trains an encoder that reads pictures into the styles of a generator, and averages it.

    Settings: `EncoderSettings`.
    """

    encoder: StyleEncoder
    encoder_ema: StyleEncoder
    remedy = "a lower --model.lr"

    def __init__(self, **settings: Any) -> None:
        super().__init__(EncoderSettings(**settings))
        self._frozen: Frozen | None = None
        self._start: list[StyleEncoder] = []  # in a list: it is no part of a checkpoint
        self.note = ""

    # Construction

    @property
    def opened(self) -> Frozen:
        """The generator and what comes with it, opened once.

        Raises:
            UserError: If the model cannot be opened, or a judge of pictures is missing.
        """
        if self._frozen is None:
            with torch.device("cpu"):  # also if a caller only sketches
                self._frozen = self._open()
        return self._frozen

    def _open(self) -> Frozen:
        model = open_model(self.settings.generator, "--model.generator")
        generator = model.network("generator")
        generator.synthesis.memory_format = torch.channels_last
        has_opponent = "discriminator" in model.networks
        discriminator = model.network("discriminator") if has_opponent else None
        frozen, self.note = with_judges(self.settings, generator, discriminator)
        return frozen

    def own_size(self) -> tuple[int, int]:
        """Return the generator's size; see `PhasedTraining`."""
        return self.opened.generator.img_size

    def fresh(self) -> "EncoderTraining":
        """Return the same module, not built, with the same opened generator."""
        fresh = EncoderTraining(**self.settings.arguments())
        fresh._frozen, fresh.note = self.opened, self.note
        return fresh

    def foresee(
        self,
        trainer: lightning.Trainer,
        data: TrainingImages,
        about_run: dict[str, Any] | None = None,
    ) -> None:
        """Check all but the pictures; see `PhasedTraining`."""
        super().foresee(trainer, data, about_run)
        if about_run is None and self.settings.start_from is not None:
            with sketching():
                fresh = self.sketch(data.img_size, data.all_channels, 0, torch.device("cpu"))
            self.opened_start(cast(StyleEncoder, fresh["encoder"]))

    def opened_start(self, fresh: StyleEncoder) -> StyleEncoder:
        """Return the encoder to start from, opened once and kept until the run has begun.

        Raises:
            UserError: If it is not of the kind and sizes of the fresh one.
        """
        if not self._start:
            assert self.settings.start_from is not None
            with torch.device("cpu"):  # also if a caller only sketches
                start = open_start(self.settings.start_from, self.opened.generator, fresh)
            self._start.append(start)
        return self._start[0]

    def plan(self, trainer: lightning.Trainer, data: TrainingImages) -> dict[str, Any]:
        """Check that this can be trained; see `PhasedTraining`."""
        common = super().plan(trainer, data)
        dataset, device = data.dataset, trainer.strategy.root_device
        with sketching():
            sketch = self.sketch(dataset.size, dataset.channels, dataset.label_dim, device)
        check_labels(self.settings, self.opened.generator, dataset.label_dim)
        encoder: Any = sketch["encoder"]
        return {
            "generator_digest": self.opened.generator.digest,
            "generator_name": self.settings.generator,
            "encoder": {"type": self.settings.encoder, **encoder.config},
            "discriminates": sorted(set(sketch) - {"encoder"}),
            **common,
        }

    def sketch(
        self, size: tuple[int, int], channels: int, c_dim: int, device: torch.device
    ) -> dict[str, nn.Module]:
        """Return encoder and discriminators; refuse pictures unlike the generator's."""
        return new_networks(self.settings, self.opened, size, channels)

    def assemble(
        self, size: tuple[int, int], channels: int, c_dim: int, device: torch.device, batch: int
    ) -> None:
        """Build everything for pictures of `size` in batches of `batch`."""
        self.batch_size = batch
        use_ops(self.settings.machine.ops, device)
        for part in filter(None, self.opened):
            part.to(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            networks: dict[str, Any] = self.sketch(size, channels, c_dim, device)
        for name, network in networks.items():
            # A copy of the discriminator is trained: the model's own stays, for its features.
            own = deepcopy(network) if name == "discriminator" else network
            self.add_module(name, own.to(device))
        self.objective = new_objective(self.settings, self.opened, dict(self.named_children()))
        self.encoder_ema = deepcopy(self.encoder).eval().requires_grad_(False)
        self.ema_kimg = [self.settings.averaging.ema_kimg]
        self.phases = self.objective.phases()

    def gflop(self, sketch: dict[str, nn.Module], share: int) -> float:
        """Return the operations of a forward pass; see `PhasedTraining`."""
        return synthesis_gflop(self.opened.generator, share)

    def networks(self) -> list[nn.Module]:
        """Return the encoder, and the discriminators if there are any."""
        names = ("encoder", "discriminator", "latent_discriminator")
        return [getattr(self, name) for name in names if hasattr(self, name)]

    def averages(self) -> list[Average]:
        """Return the averaged encoder; none before it is built."""
        if not hasattr(self, "encoder_ema"):
            return []
        rampup = self.settings.averaging.ema_rampup
        return [Average(self.encoder_ema, self.encoder, self.ema_kimg[0], rampup)]

    def learning_rate(self, network: nn.Module) -> float:
        """Return a network's learning rate at this point of the run."""
        if network is self.encoder:
            return self.settings.learning_rate(self.seen_images)
        if network is getattr(self, "discriminator", None):
            return self.settings.image_discriminator_lr
        return self.settings.discriminators.latent_lr

    @property
    def headlines(self) -> tuple[Headline, ...]:  # type: ignore[override]
        """The numbers of the status line: the terms of every run, and held-out pictures."""
        distance = self.opened.distance
        name = distance.name if distance else "perceptual"
        headlines = [
            Headline("E", "Loss/E/loss", "<6.3f"),
            Headline("pixel", "Loss/pixel", "<7.4f"),
        ]
        headlines += [Headline(name, f"Loss/{name}", "<7.4f")] if distance else []
        return (*headlines, Headline("held out", "Validation/pixel", "<7.4f"))

    # Training

    def on_fit_start(self) -> None:
        """Start from another encoder, if a new run asks for that; say what was left open."""
        if self.note and self.trainer.is_global_zero:
            print(f"note: {self.note}", flush=True)
        if self.settings.start_from is not None and self.seen_images == 0:
            weights = self.opened_start(self.encoder).state_dict()
            for encoder in (self.encoder, self.encoder_ema):
                encoder.load_state_dict(weights)
                encoder.set_statistics(self.objective.statistics)
        self._start.clear()

    def begin_batch(self) -> None:
        """Move the schedules to the images seen."""
        self.objective.advance(self.seen_images)
        stage = self.objective.stage
        self.move_learning_rates()
        if stage is not None:
            self.stats.report("Progress/stage", stage)

    # What it shows

    def facts(self) -> dict[str, Any]:
        """Return the networks that compare pictures."""
        judges = {"perceptual": self.opened.distance, "similarity": self.opened.similarity}
        return {name: judge.protocol() for name, judge in judges.items() if judge is not None}

    def watchers(self, tick_kimg: float, total_kimg: float) -> list[lightning.Callback]:
        """Return the callback that measures held-out pictures."""
        return [HeldOut(tick_kimg, total_kimg)]

    def exhibit(self, data: TrainingImages, columns: int, count: int) -> Pairs:
        """Return held-out pictures, or else training ones, above their reconstructions."""
        pictures = data.images if data.held_out is None else data.held_out
        return Pairs(pictures, columns, count, lambda x: self.reconstructions(x)[0])

    def published(self) -> dict[str, Any]:
        """Return the model with its encoder."""
        generator, discriminator, *_ = self.opened
        encoder = encoder_weights(self.encoder_ema)
        return {"generator": generator, "discriminator": discriminator, "encoder": encoder}

    def provenance(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return the generator's provenance, with the encoder's beside it."""
        of_generator = getattr(self.opened.generator, "provenance", {})
        return {**of_generator, "encoder": {**super().provenance(data), **self.facts()}}

    def card(self, name: str, data: dict[str, Any]) -> str:
        """Return the model card of a snapshot, Markdown."""
        height, width = data["size"]
        sheet = f"../reconstructions{name.removeprefix('network-')}.png"
        return f"""# {name}

The generator `{self.settings.generator}`, {width}x{height} px, with an encoder of averaged
weights after {self.seen_images / 1000:g} thousand images.

- Data of the encoder: {data["count"]} pictures of `{data["source"]}`. Their licence is not known to
  the trainer: add it here before passing this folder on.
- Quality: `python train.py validate` measures it on pictures held out, `{sheet}` shows some.
- Made by: `python train.py fit --config ../{CONFIG}`
"""

    def restore(
        self, checkpoint: dict[str, Any], trainer: lightning.Trainer, data: TrainingImages
    ) -> None:
        """Load a run's checkpoint, not to train it.

        Raises:
            UserError: If the checkpoint is of another run than the settings describe.
        """
        identity = self.plan(trainer, data)
        self.twin(identity, data).check_checkpoint(checkpoint, trainer, data)
        self.build(data, trainer.strategy.root_device)
        self.load_state_dict(checkpoint["state_dict"])
        self.seen_images = checkpoint["dragline"]["seen_images"]
        self.objective.advance(self.seen_images)

    def reconstructions(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return the averaged encoder's reconstructions of (N, C, H, W) in [-1, 1], and styles."""
        stage = self.objective.stage
        pairs = [
            reconstruct(
                self.encoder_ema,
                self.opened.generator,
                part.to(self.device),
                self.settings.iterations,
                stage,
            )
            for part in pictures.split(_BATCH)
        ]
        images, ws = zip(*pairs, strict=True)
        return torch.cat(images), torch.cat(ws)

    @torch.no_grad()
    def measures(self, pictures: Tensor) -> dict[str, Tensor]:
        """Measure the reconstructions of pictures, uint8 (N, C, H, W); each (N,), by name."""
        distance, rows = self.opened.distance, []
        for part in pictures.split(_BATCH):
            reals = part.to(self.device).float() / 127.5 - 1
            images = self.reconstructions(reals)[0].clamp(-1, 1)
            pixel = pixel_loss(images, reals)
            row = {"pixel": pixel, "psnr": 10 * torch.log10(4 / pixel.clamp(min=1e-8))}
            if distance is not None:
                row[distance.name] = distance(reals, images)
            rows.append(row)
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}


class HeldOut(KimgCallback):
    """Reports how well the averaged encoder does on pictures that training never sees.

    Mean square error in [-1, 1], PSNR with a peak of 2, and the perceptual distance. The first
    process measures; the others have nothing to add.
    """

    def at_mark(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Measure the first held-out pictures."""
        pictures = trainer.datamodule.held_out  # type: ignore[attr-defined]
        if pictures is None:
            return
        distance = pl_module.opened.distance
        names = ["pixel", "psnr", *([distance.name] if distance else [])]
        is_first = trainer.is_global_zero
        values = pl_module.measures(pictures[:_WATCHED]) if is_first else {}
        for name in names:
            pl_module.stats.report(f"Validation/{name}", values.get(name, torch.empty(0)))
