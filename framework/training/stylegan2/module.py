"""StyleGAN2 training as a LightningModule (Karras et al. 2020)."""

from copy import deepcopy
from typing import Any, Literal

import lightning
import torch
from torch import Tensor, nn

from framework.errors import blame
from framework.models.sketch import sketching
from framework.models.stylegan2 import Discriminator, Generator
from framework.ops.compiled import Mode, use_ops
from framework.training.data import TrainingImages
from framework.training.health import Diversity
from framework.training.phased import Average, Headline, PhasedTraining, micro_batch
from framework.training.precision import pick_low_precision
from framework.training.samples import FixedLatents, generator_card
from framework.training.stylegan2.build import (
    adam_speed,
    build_game,
    build_networks,
    frozen_layers,
)
from framework.training.stylegan2.limits import SIZES, check_labels, check_settings, half_lives
from framework.training.stylegan2.objectives import LossName
from framework.training.stylegan2.state import EMA, ema_names, fitted
from framework.training.trainer import check_trainer
from framework.training.transfer import (
    GENERATOR_SIZES,
    Start,
    check_start,
    open_start,
    sizes_of,
    start_from,
)


class StyleGAN2Training(PhasedTraining):
    """Trains generator and discriminator, and averages the generator.

    Picture size, channels and labels come from the data.

    Args:
        z_dim: Length of the latent z. Of this and the next seven, None takes what the model of
            `start_from` has, or without one 512.
        w_dim: Length of the style w; 512.
        mapping_layers: Depth of the mapping network; 8.
        channel_base: Feature maps times resolution, generator; 32768.
        channel_max: Largest number of feature maps, both networks; 512.
        architecture: How blocks of the generator make a picture: `skip`, `resnet` or `orig`; the
            first.
        discriminator_channel_base: As `channel_base`, discriminator; the same.
        discriminator_architecture: `resnet`, or `orig` without shortcuts (NVIDIA's for CIFAR-10);
            the first.
        mbstd_group_size: Samples a group of the minibatch standard deviation.
        start_from: Any model that opens here, to begin with what fits of it instead of at random:
            another picture size, other labels or channels may leave parts new; a table tells which.
        start_partial: Begin with what fits also of a model of other widths, a patchwork.
        lr: Learning rate of both networks, before the lazy-regularisation correction.
        betas: Adam's decay rates.
        loss: `nonsaturating` and `hinge` with R1, `wgan-gp` with its own penalty, `relativistic`
            with R1 and R2 (R3GAN's; the discriminator's step takes about twice as long).
        r1_gamma: Weight of R1 (and R2); None takes 0.0002 * H * W / batch (StyleGAN2-ADA's `auto`).
        r1_interval: Batches between their steps; None takes 16, and for `relativistic` puts them
            into every step.
        gp_weight: Weight of the gradient penalty of `wgan-gp`, which is part of every step.
        lecam_weight: Weight of LeCam regularisation, for small data sets; 0 for none.
        pl_weight: Weight of path length regularisation, 2 in the paper; 0 for none. It smooths the
            latent space, which helps inversion and editing, and costs time and memory.
        pl_interval: Batches between its steps.
        pl_decay: Share of a batch in the mean length it steers to.
        pl_batch_shrink: It sees one of so many samples.
        style_mixing_prob: Share of samples whose late layers follow another latent.
        ema_kimg: Half-life of the averaged generator; None takes batch * 10 / 32. Of a list, the
            first is the average that is shown and published; the others are kept beside it in
            checkpoints and cost memory alone.
        ema_rampup: The half-life is at most this share of the images seen; null for no ramp.
        transition_kimg: With labels on few pictures, where they begin to count and where they count
            fully, [start, end] (Shahbazi et al. 2022); without it such trainings may collapse to
            one picture a class. None lets them count from the start.
        freeze_d_layers: Layers of the discriminator, from the picture on, that are not trained
            (FreezeD); for going on from a trained model, where NVIDIA recommend 10 or 13.
        augment: For small data sets: `ada` (Karras et al. 2020), or DiffAugment's changes out of
            color,translation,cutout; `none`, or empty, for none.
        ada_set: ADA's changes: bg, bgc, bgcf, bgcfn, bgcfnc, or names by comma.
        ada_target: Mean sign of D(real) that ADA's strength p is steered by; None keeps p.
        ada_kimg: Thousands of images in which p may go from 0 to 1; 100 suits transfer.
        ada_p_max: p stays at or below this.
        ada_p: p at the beginning.
        mirror: Show each picture mirrored half of the time.
        micro_batch: Images a process works on at once; its whole share if None.
        low_precision: `auto` is float16 on CUDA, bfloat16 on CPUs that have it, else none.
        low_precision_blocks: How many of the largest blocks run in low precision.
        channels_last: Memory layout of features; faster convolutions on most machines.
        ops: `torch`; or `auto`, kernels compiled on first use where they measured faster (4 % of a
            step on a CPU), `compiled` for all of them. A machine without compiler goes on with
            torch, unless `compiled` was asked for.
        seed: Seed of everything random.
    """

    generator_ema: Generator
    headlines = (
        Headline("G", "Loss/G/loss", "<6.3f"),
        Headline("D", "Loss/D/loss", "<6.3f"),
        Headline("r1", "Loss/r1_penalty", "<8.4f"),
    )
    generates = True
    passing = (EMA, "path_length.", "lecam.", "augmenter.")
    remedy = "a lower --model.lr, a higher --model.r1_gamma or --model.low_precision none"

    def __init__(
        self,
        z_dim: int | None = None,
        w_dim: int | None = None,
        mapping_layers: int | None = None,
        channel_base: int | None = None,
        channel_max: int | None = None,
        architecture: Literal["skip", "resnet", "orig"] | None = None,
        discriminator_channel_base: int | None = None,
        discriminator_architecture: Literal["resnet", "orig"] | None = None,
        mbstd_group_size: int = 4,
        start_from: str | None = None,
        start_partial: bool = False,
        lr: float = 0.0025,
        betas: tuple[float, float] = (0.0, 0.99),
        loss: LossName = "nonsaturating",
        r1_gamma: float | None = None,
        r1_interval: int | None = None,
        gp_weight: float = 10.0,
        lecam_weight: float = 0.0,
        pl_weight: float = 0.0,
        pl_interval: int = 4,
        pl_decay: float = 0.01,
        pl_batch_shrink: int = 2,
        style_mixing_prob: float = 0.9,
        ema_kimg: float | list[float] | None = None,
        ema_rampup: float | None = 0.05,
        transition_kimg: tuple[float, float] | None = None,
        freeze_d_layers: int = 0,
        augment: str = "",
        ada_set: str = "bgc",
        ada_target: float | None = 0.6,
        ada_kimg: float = 500.0,
        ada_p_max: float = 0.8,
        ada_p: float = 0.0,
        mirror: bool = True,
        micro_batch: int | None = None,
        low_precision: Literal["auto", "none", "float16", "bfloat16"] = "auto",
        low_precision_blocks: int = 4,
        channels_last: bool = True,
        ops: Mode = "torch",
        seed: int = 0,
    ) -> None:
        settings = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        check_settings(settings)
        super().__init__(settings)
        self._start: list[Start] = []

    # Construction

    def foresee(
        self, trainer: lightning.Trainer, data: TrainingImages, known: dict[str, Any] | None = None
    ) -> None:
        """Look at all but the pictures; see `PhasedTraining`."""
        check_trainer(trainer)
        micro_batch(self.settings["micro_batch"], data.even_share(trainer.world_size))
        self._settle(known, data)
        if data.size is not None:
            with sketching(), blame("--data.size", str(data.size)):
                pair, device = data.img_size, trainer.strategy.root_device
                generator, discriminator = self.build_networks(pair, data.channels, 0, device)
            frozen_layers(discriminator, self.settings["freeze_d_layers"])
            if self.settings["start_from"] is not None and known is None:
                start, partial = self._opened_start(), self.settings["start_partial"]
                check_start(start, generator, discriminator, partial)

    def _settle(
        self, known: dict[str, Any] | None = None, data: TrainingImages | None = None
    ) -> None:
        """Let sizes that were left open be those of the run, else of the model that it begins with.

        Args:
            known: What a checkpoint says of the run, where it goes on.
            data: Takes the size of the pictures.
        """
        s = self.settings
        is_open = any(s[name] is None for name in GENERATOR_SIZES)
        is_open |= data is not None and data.size is None
        if known is None and s["start_from"] is not None and is_open:
            start = self._opened_start()
            networks = start.average.config, getattr(start.discriminator, "config", {})
        else:
            networks = (known or {}).get("generator"), (known or {}).get("discriminator") or {}
        sizes = SIZES if networks[0] is None else {**SIZES, **sizes_of(networks[0], networks[1])}
        s.update({name: value for name, value in sizes.items() if s[name] is None})
        if networks[0] is not None and data is not None and data.size is None:
            data.size = tuple(networks[0]["img_size"])

    def settled(self) -> dict[str, Any]:
        """Sizes, also those that were left open."""
        return {name: self.settings[name] for name in SIZES}

    def _opened_start(self) -> Start:
        """The model to begin with, opened once and kept until the run has begun."""
        if not self._start:
            with torch.device("cpu"):  # also where a caller only sketches
                self._start.append(open_start(self.settings["start_from"]))
        return self._start[0]

    def plan(self, trainer: lightning.Trainer, data: TrainingImages) -> dict[str, Any]:
        """Look whether all this can be trained, before anything is written or takes memory.

        Returns:
            What must not change when a run is resumed; plain values only.

        Raises:
            UserError: If sizes, batch, strategy or precision are impossible.
        """
        check_trainer(trainer)
        micro_batch(self.settings["micro_batch"], data.share(trainer.world_size))
        self._settle(data=data)
        dataset, device = data.dataset, trainer.strategy.root_device
        check_labels(self.settings, dataset.label_dim)
        with sketching(), blame("--data.size", str(data.size)):
            generator, discriminator = self.build_networks(
                dataset.size, dataset.channels, dataset.label_dim, device
            )
        frozen_layers(discriminator, self.settings["freeze_d_layers"])
        return {
            "generator": generator.config,
            "discriminator": discriminator.config,
            "batch_size": data.batch_size,
            "seed": self.seed,
            **data.identity(),
        }

    def build(self, data: TrainingImages, device: torch.device) -> None:
        """Build the networks for the data at hand, the same in every process."""
        use_ops(self.settings["ops"], device)
        dataset = data.dataset
        self.assemble(dataset.size, dataset.channels, dataset.label_dim, device, data.batch_size)

    def assemble(
        self, size: tuple[int, int], channels: int, c_dim: int, device: torch.device, batch: int
    ) -> None:
        """Build networks, average and phases for pictures of `size` in batches of `batch`."""
        self.batch_size = batch
        self.generator, self.discriminator = self.build_networks(size, channels, c_dim, device)
        self.frozen = frozen_layers(self.discriminator, self.settings["freeze_d_layers"])
        self.game = build_game(self.settings, self.generator, self.discriminator, batch)
        self.phases = self.game.phases()
        self.game.fade_labels(0)
        self.ema_kimg = half_lives(self.settings["ema_kimg"], batch)
        for name in ema_names(self.ema_kimg):
            self.add_module(name, deepcopy(self.generator).eval().requires_grad_(False))
        # As modules of this one, what they remember is saved with the run.
        self.path_length, self.lecam = self.game.path_length, self.game.lecam
        self.augmenter = self.game.augmenter

    def build_networks(
        self, size: tuple[int, int], channels: int, c_dim: int, device: torch.device
    ) -> tuple[Generator, Discriminator]:
        """Freshly initialised networks for pictures of `size` with `channels`."""
        self._settle()
        low_precision = pick_low_precision(self.settings["low_precision"], device)
        return build_networks(self.settings, size, channels, c_dim, low_precision)

    def sketch(
        self, size: tuple[int, int], channels: int, c_dim: int, device: torch.device
    ) -> dict[str, nn.Module]:
        """Generator and discriminator."""
        networks = self.build_networks(size, channels, c_dim, device)
        return dict(zip(("generator", "discriminator"), networks, strict=True))

    def networks(self) -> list[nn.Module]:
        """Generator and discriminator."""
        return [self.generator, self.discriminator]

    def speed(self, network: nn.Module) -> dict[str, Any]:
        """Learning rate and decay rates of a network's Adam."""
        return adam_speed(self.settings, network, self.phases)

    def averages(self) -> list[Average]:
        """The averaged generators; none before the networks are built."""
        return [
            Average(self.get_submodule(name), self.generator, kimg)
            for name, kimg in zip(ema_names(self.ema_kimg), self.ema_kimg, strict=False)
        ]

    def on_fit_start(self) -> None:
        """Begin with another model's weights, where that is asked for and the run is new."""
        model = self.settings["start_from"]
        if model is not None and self.seen_images == 0:
            averages = [average.network for average in self.averages()]
            report = start_from(
                self._opened_start(),
                self.generator,
                averages,
                self.discriminator,
                self.settings["start_partial"],
            )
            if self.trainer.is_global_zero:
                print("\n".join(line for network in report for line in network.lines()), flush=True)
        self._start.clear()

    # Training

    def begin_batch(self) -> None:
        """Let labels count by what was seen."""
        share = self.game.fade_labels(self.seen_images)
        if share is not None:
            self.stats.report("Progress/label_strength", share)

    def end_batch(self) -> None:
        """Let the strength of ADA follow."""
        self.game.adapt(self.batches_seen)
        if self.augmenter:
            self.stats.report("Progress/augment", self.augmenter.strength)

    # What it shows

    def watchers(self, tick_kimg: float, total_kimg: float) -> list[lightning.Callback]:
        """How different the pictures are from each other."""
        return [Diversity(tick_kimg, total_kimg)]

    def exhibit(self, data: TrainingImages, columns: int, count: int) -> FixedLatents:
        """Pictures of fixed latents."""
        return FixedLatents(self, data, count)

    def published(self) -> dict[str, Any]:
        """The averaged generator, and its opponent for fine-tuning."""
        return {"generator": self.generator_ema, "discriminator": self.discriminator}

    def provenance(self, data: dict[str, Any]) -> dict[str, Any]:
        """Images seen, data, settings."""
        return {"seen_kimg": self.seen_images / 1000, "data": data, "training": self.settings}

    def card(self, name: str, data: dict[str, Any]) -> str:
        """Model card of a snapshot, Markdown."""
        return generator_card(name, self.seen_images / 1000, data)

    # State

    def fitted(self, held: dict[str, Any], state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A checkpoint's state with the averages and regularisation of today."""
        state = fitted(state, self.state_dict(), held.get("ema_kimg", []), self.ema_kimg)
        if self.augmenter and not self.game.ada:
            state["augmenter.p"] = self.augmenter.p
        return state
