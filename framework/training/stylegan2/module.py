"""Training a StyleGAN2, as a LightningModule (Karras et al. 2020)."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any, cast

import lightning
import torch
from torch import Tensor, nn

from framework.errors import UserError, blame
from framework.models.sketch import sketching
from framework.models.stylegan2 import Discriminator, Generator
from framework.models.stylegan2.work import synthesis_gflop
from framework.ops.compiled import use_ops
from framework.training.data import TrainingImages
from framework.training.phased import Average, Headline, PhasedTraining, Sign
from framework.training.precision import pick_low_precision, slow_remark
from framework.training.stylegan2.build import build_game, build_networks, frozen_layers
from framework.training.stylegan2.health import Diversity, signs
from framework.training.stylegan2.samples import FixedLatents, generator_card
from framework.training.stylegan2.settings import StyleGAN2Settings
from framework.training.stylegan2.state import EMA, ema_names, fitted
from framework.training.stylegan2.transfer import (
    GENERATOR_SIZES,
    Start,
    check_start,
    open_start,
    sizes_of,
    start_from,
)
from framework.training.trainer import check_share


class StyleGAN2Training(PhasedTraining[StyleGAN2Settings]):
    """Trains generator and discriminator, and averages the generator.

    Picture size, channels and labels come from the data. Settings: `StyleGAN2Settings`.
    """

    generator_ema: Generator
    headlines = (
        Headline("G", "Loss/G/loss", "<6.3f"),
        Headline("D", "Loss/D/loss", "<6.3f"),
        Headline("r1", "Loss/r1_penalty", "<8.4f"),
    )
    generates = True
    passing = (EMA, "path_length.", "lecam.", "augmenter.")
    remedy = (
        "a lower --model.lr, a higher --model.regularization.r1_gamma or "
        "--model.machine.low_precision none"
    )

    def __init__(self, **settings: Any) -> None:
        super().__init__(StyleGAN2Settings(**settings))
        self._start: list[Start] = []

    # Construction

    def foresee(
        self,
        trainer: lightning.Trainer,
        data: TrainingImages,
        about_run: dict[str, Any] | None = None,
    ) -> None:
        """Check all but the pictures; see `PhasedTraining`."""
        check_share(self.settings, trainer, data)
        self._settle(about_run, data)
        if data.size is not None:
            with sketching(), blame("--data.size", str(data.size)):
                pair, device = data.img_size, trainer.strategy.root_device
                generator, discriminator = self.build_networks(pair, data.channels, 0, device)
            frozen_layers(discriminator, self.settings.transfer.freeze_d_layers)
            if self.settings.start_from is not None and about_run is None:
                start, partial = self._opened_start(), self.settings.transfer.start_partial
                check_start(start, generator, discriminator, partial)

    def _settle(
        self, about_run: dict[str, Any] | None = None, data: TrainingImages | None = None
    ) -> None:
        """Settle open sizes: take those of the run, else those of the model that it starts from.

        Args:
            about_run: A checkpoint's table `dragline`; None for a new run.
            data: The pictures, whose size is settled, too.
        """
        settings = self.settings
        is_open = any(getattr(settings.networks, name) is None for name in GENERATOR_SIZES)
        is_open |= data is not None and data.size is None
        if about_run is None and settings.start_from is not None and is_open:
            start = self._opened_start()
            configs: tuple[Any, Any] = (
                start.average.config,
                getattr(start.discriminator, "config", {}),
            )
        else:
            configs = (
                (about_run or {}).get("generator"),
                (about_run or {}).get("discriminator") or {},
            )
        sizes = {} if configs[0] is None else sizes_of(*configs)
        self.settings = replace(settings, networks=settings.networks.settled(sizes))
        if configs[0] is not None and data is not None and data.size is None:
            data.size = tuple(configs[0]["img_size"])

    def settled(self) -> dict[str, Any]:
        """Return the sizes of the networks, also those that were left open."""
        return {"networks": self.settings.networks.sizes()}

    def _opened_start(self) -> Start:
        """Return the model to start from, opened once and kept until the run has begun."""
        if not self._start:
            assert self.settings.start_from is not None
            with torch.device("cpu"):  # also if a caller only sketches
                self._start.append(open_start(self.settings.start_from))
        return self._start[0]

    def plan(self, trainer: lightning.Trainer, data: TrainingImages) -> dict[str, Any]:
        """Check that this can be trained; see `PhasedTraining`."""
        self._settle(data=data)
        common = super().plan(trainer, data)
        dataset, device = data.dataset, trainer.strategy.root_device
        if self.settings.transition_kimg is not None and dataset.label_dim == 0:
            raise UserError(
                ": the pictures have no labels; give `data.labels` folders, or leave it at null",
                "transition_kimg",
            )
        with sketching(), blame("--data.size", str(data.size)):
            generator, discriminator = self.build_networks(
                dataset.size, dataset.channels, dataset.label_dim, device
            )
        frozen_layers(discriminator, self.settings.transfer.freeze_d_layers)
        return {
            "generator": generator.config,
            "discriminator": discriminator.config,
            **common,
        }

    def build(self, data: TrainingImages, device: torch.device) -> None:
        """Build the networks for the pictures of the run, the same in every process."""
        use_ops(self.settings.machine.ops, device)
        super().build(data, device)

    def assemble(
        self, size: tuple[int, int], channels: int, c_dim: int, device: torch.device, batch: int
    ) -> None:
        """Build networks, average and phases for pictures of `size` in batches of `batch`."""
        self.batch_size = batch
        self.generator, self.discriminator = self.build_networks(size, channels, c_dim, device)
        self.frozen = frozen_layers(self.discriminator, self.settings.transfer.freeze_d_layers)
        self.game = build_game(self.settings, self.generator, self.discriminator, batch)
        self.phases = self.game.phases()
        self.game.fade_labels(0)
        self.ema_kimg = self.settings.averaging.half_lives(batch)
        for name in ema_names(self.ema_kimg):
            self.add_module(name, deepcopy(self.generator).eval().requires_grad_(False))
        # As modules of this one, their running means are saved with the run.
        self.path_length, self.lecam = self.game.path_length, self.game.lecam
        self.augmenter = self.game.augmenter

    def build_networks(
        self, size: tuple[int, int], channels: int, c_dim: int, device: torch.device
    ) -> tuple[Generator, Discriminator]:
        """Build fresh networks for pictures of `size` with `channels`."""
        self._settle()
        low_precision = pick_low_precision(self.settings.machine.low_precision, device)
        return build_networks(self.settings, size, channels, c_dim, low_precision)

    def sketch(
        self, size: tuple[int, int], channels: int, c_dim: int, device: torch.device
    ) -> dict[str, nn.Module]:
        """Return generator and discriminator, by name."""
        networks = self.build_networks(size, channels, c_dim, device)
        return dict(zip(("generator", "discriminator"), networks, strict=True))

    def gflop(self, sketch: dict[str, nn.Module], share: int) -> float:
        """Return the operations of a forward pass; see `PhasedTraining`."""
        return synthesis_gflop(cast(Generator, sketch["generator"]), share)

    def networks(self) -> list[nn.Module]:
        """Return generator and discriminator."""
        return [self.generator, self.discriminator]

    def learning_rate(self, network: nn.Module) -> float:
        """Return a network's learning rate."""
        own = self.settings.discriminator_lr
        return self.settings.lr if own is None or network is self.generator else own

    def averages(self) -> list[Average]:
        """Return the averaged generators; none before the networks are built."""
        rampup = self.settings.averaging.ema_rampup
        return [
            Average(self.get_submodule(name), self.generator, kimg, rampup)
            for name, kimg in zip(ema_names(self.ema_kimg), self.ema_kimg, strict=False)
        ]

    def on_fit_start(self) -> None:
        """Start from another model's weights, if a new run asks for that."""
        if self.settings.start_from is not None and self.seen_images == 0:
            averages = [average.network for average in self.averages()]
            report = start_from(
                self._opened_start(),
                self.generator,
                averages,
                self.discriminator,
                self.settings.transfer.start_partial,
            )
            if self.trainer.is_global_zero:
                print("\n".join(line for network in report for line in network.lines()), flush=True)
        self._start.clear()

    # Training

    def begin_batch(self) -> None:
        """Let labels count by the images seen."""
        share = self.game.fade_labels(self.seen_images)
        if share is not None:
            self.stats.report("Progress/label_strength", share)

    def end_batch(self) -> None:
        """Update the strength of ADA."""
        self.game.adapt(self.batches_seen)
        if self.augmenter:
            self.stats.report("Progress/augment", self.augmenter.strength)

    # What it shows

    def watchers(self, tick_kimg: float, total_kimg: float) -> list[lightning.Callback]:
        """Return the callback that measures the diversity of pictures."""
        return [Diversity(tick_kimg, total_kimg)]

    def signs(self, mean: dict[str, float]) -> Iterator[Sign]:
        """Return the signs of collapse, overfitting and an augmentation at its limit."""
        return signs(mean, self.settings)

    def remarks(self, device: torch.device) -> list[str]:
        """Return a remark if the precision is slow on this device."""
        slow = slow_remark(self.settings.machine.low_precision, device)
        return [slow] if slow else []

    def exhibit(self, data: TrainingImages, columns: int, count: int) -> FixedLatents:
        """Return pictures of fixed latents."""
        return FixedLatents(self, data, count)

    def published(self) -> dict[str, Any]:
        """Return the averaged generator, and its opponent for fine-tuning."""
        return {"generator": self.generator_ema, "discriminator": self.discriminator}

    def card(self, name: str, data: dict[str, Any]) -> str:
        """Return the model card of a snapshot, Markdown."""
        return generator_card(name, self.seen_images / 1000, data)

    # State

    def fitted(self, about_run: dict[str, Any], state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return a checkpoint's state with this run's averages and regularisation."""
        state = fitted(state, self.state_dict(), about_run.get("ema_kimg", []), self.ema_kimg)
        if self.augmenter and not self.game.ada:
            state["augmenter.p"] = self.augmenter.p
        return state
