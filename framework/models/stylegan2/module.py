"""StyleGAN2 training as a LightningModule (Karras et al. 2020)."""

from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from typing import Any, Literal

import lightning
import torch
from torch import Tensor, nn

from framework.checkpoint import FORMAT_VERSION
from framework.errors import UserError
from framework.models.stylegan2 import Discriminator, Generator
from framework.models.stylegan2.build import (
    adam,
    adam_speed,
    build_game,
    build_networks,
    frozen_layers,
)
from framework.models.stylegan2.game import Micro, Outcome, Phase
from framework.models.stylegan2.limits import check_labels, check_settings, half_lives, micro_batch
from framework.models.stylegan2.objectives import LossName
from framework.models.stylegan2.state import ema_names, fitted
from framework.ops.compiled import Mode, use_ops
from framework.training.data import Batch, TrainingImages
from framework.training.ema import ema_beta, update_ema
from framework.training.gradients import FiniteGuard, sum_gradients
from framework.training.precision import pick_low_precision
from framework.training.randomness import keyed_generator
from framework.training.run_folder import check_same_run
from framework.training.stats import StatsCollector
from framework.training.trainer import check_trainer
from framework.training.transfer import start_from


class StyleGAN2Training(lightning.LightningModule):
    """Trains generator and discriminator, and averages the generator.

    Picture size, channels and labels come from the data. Everything random is keyed by (seed,
    position of the micro-batch among all images, phase), so a run that is stopped and resumed, or
    split over more processes with the same micro-batches, is the same run.

    Args:
        z_dim: Length of the latent z.
        w_dim: Length of the style w.
        mapping_layers: Depth of the mapping network.
        channel_base: Feature maps times resolution, generator.
        channel_max: Largest number of feature maps, both networks.
        discriminator_channel_base: As `channel_base`, discriminator; the same if None.
        discriminator_architecture: `resnet`, or `orig` without shortcuts (NVIDIA's for CIFAR-10).
        mbstd_group_size: Samples a group of the minibatch standard deviation.
        start_from: Any model that opens here, to begin with what fits of it instead of at random:
            another picture size or other labels may leave parts new; a table tells which.
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

    def __init__(
        self,
        z_dim: int = 512,
        w_dim: int = 512,
        mapping_layers: int = 8,
        channel_base: int = 32768,
        channel_max: int = 512,
        discriminator_channel_base: int | None = None,
        discriminator_architecture: Literal["resnet", "orig"] = "resnet",
        mbstd_group_size: int = 4,
        start_from: str | None = None,
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
        self.settings = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        super().__init__()
        self.automatic_optimization = False
        check_settings(self.settings)
        self.seed = seed
        self.seen_images = 0
        self.stats, self.guard = StatsCollector(), FiniteGuard()

    # Construction

    def plan(self, trainer: lightning.Trainer, data: TrainingImages) -> dict[str, Any]:
        """Look whether all this can be trained, before anything is written or takes memory.

        Returns:
            What must not change when a run is resumed; plain values only.

        Raises:
            UserError: If sizes, batch, strategy or precision are impossible.
        """
        check_trainer(trainer)
        micro_batch(self.settings["micro_batch"], data.share(trainer.world_size))
        dataset, device = data.dataset, trainer.strategy.root_device
        check_labels(self.settings, dataset.label_dim)
        try:
            with torch.device("meta"):
                generator, discriminator = self.build_networks(
                    dataset.size, dataset.channels, dataset.label_dim, device
                )
        except UserError as error:
            raise UserError(f"--data.size: {error}") from None
        frozen_layers(discriminator, self.settings["freeze_d_layers"])
        return {
            "generator": generator.config,
            "discriminator": discriminator.config,
            "batch_size": data.batch_size,
            "seed": self.seed,
            "data": dataset.fingerprint,
        }

    def setup(self, stage: str) -> None:
        """Build the networks for the data at hand, the same in every process."""
        if hasattr(self, "generator"):
            return
        data: TrainingImages = self.trainer.datamodule  # type: ignore[attr-defined]
        dataset, device = data.dataset, self.trainer.strategy.root_device
        self._identity = self.plan(self.trainer, data)
        share = data.share(self.trainer.world_size)
        self.micro_batch = micro_batch(self.settings["micro_batch"], share)
        size, channels, c_dim = dataset.size, dataset.channels, dataset.label_dim
        use_ops(self.settings["ops"], device)
        self.assemble(size, channels, c_dim, device, data.batch_size)

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
        low_precision = pick_low_precision(self.settings["low_precision"], device)
        return build_networks(self.settings, size, channels, c_dim, low_precision)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam for each network."""
        networks = (self.generator, self.discriminator)
        return [adam(self.settings, network, self.phases) for network in networks]

    def on_fit_start(self) -> None:
        """Begin with another model's weights, where that is asked for and the run is new."""
        model = self.settings["start_from"]
        if model is not None and self.seen_images == 0:
            report = start_from(model, self.generator, self._averages(), self.discriminator)
            if self.trainer.is_global_zero:
                print("\n".join(line for network in report for line in network.lines()), flush=True)

    # Training

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One batch: every phase whose turn it is, then the average."""
        share = self.game.fade_labels(self.seen_images)
        if share is not None:
            self.stats.report("Progress/label_strength", share)
        for phase in self.phases:
            if self.batches_seen % phase.interval == 0:
                self._phase(phase, batch)
        self.seen_images += self.batch_size
        # In the same batches, so that the device is waited for once.
        if self.batches_seen % self.guard.patience == 0:
            self.guard.check(self.seen_images)
        self.game.adapt(self.batches_seen)
        if self.augmenter:
            self.stats.report("Progress/augment", self.augmenter.strength)
        for average, kimg in zip(self._averages(), self.ema_kimg, strict=True):
            beta = ema_beta(self.batch_size, kimg, self.settings["ema_rampup"], self.seen_images)
            update_ema(average, self.generator, beta)

    @property
    def batches_seen(self) -> int:
        """Batches since the beginning of the run, over all its resumptions."""
        return self.seen_images // self.batch_size

    def _phase(self, phase: Phase, batch: Batch) -> None:
        """One objective's gradient and one step of its network."""
        optimizer: Any = self.optimizers()[phase.network is self.discriminator]  # type: ignore
        with self.stats.timed(f"Timing/{phase.timing}", self.device):
            sums = self._accumulate(phase, batch, optimizer)
            trained = [p for p in phase.network.parameters() if p.requires_grad]
            bad = sum_gradients(trained, list(sums.values()))
            self.stats.report("Guard/nonfinite_grads", bad)
            self.guard.note(phase.name, bad, sum(p.numel() for p in trained))
            # Lightning counts every wrapped step as a global step; one a batch keeps it meaningful.
            (optimizer if phase.name == "Gmain" else optimizer.optimizer).step()
            phase.finish(sums)

    def _accumulate(self, phase: Phase, batch: Batch, optimizer: Any) -> dict[str, Tensor]:
        """Add up an objective's gradient, and its sums, over the micro-batches.

        The other network and frozen layers get no gradient, so that Adam passes them over.
        """
        self.generator.requires_grad_(phase.network is self.generator)
        self.discriminator.requires_grad_(phase.network is self.discriminator)
        for layer in self.frozen:
            layer.requires_grad_(False)
        optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        with self._without_ddp_sync():
            for micro in batch.parts(self.micro_batch):
                rng = keyed_generator(self.device, self.seed, micro.first, phase.name)
                outcome = self._outcome(phase, micro, rng)
                self.manual_backward(outcome.loss / self.batch_size)
                for name, values in outcome.stats.items():
                    self.stats.report(name, values)
                sums = {name: sums.get(name, 0) + value for name, value in outcome.sums.items()}
        return sums

    def phase_loss(self, name: str, micro: Batch, rng: torch.Generator) -> Tensor:
        """Loss of one phase, summed over a micro-batch; what a training step differentiates."""
        phase = next(phase for phase in self.phases if phase.name == name)
        return self._outcome(phase, micro, rng).loss

    def _outcome(self, phase: Phase, micro: Batch, rng: torch.Generator) -> Outcome:
        return phase.objective(Micro(micro.pictures, micro.labels, rng))

    def _without_ddp_sync(self) -> AbstractContextManager:
        """Keep DDP's reducer out: we sum gradients ourselves, once a phase."""
        block = getattr(self.trainer.strategy, "block_backward_sync", None)
        return nullcontext() if block is None else block()

    def train(self, mode: bool = True) -> "StyleGAN2Training":
        """Switch to training; averaged generators stay in evaluation."""
        super().train(mode)
        for average in self._averages():
            average.eval()
        return self

    def _averages(self) -> list[nn.Module]:
        """The averaged generators; none before the networks are built."""
        names = ema_names(self.ema_kimg) if hasattr(self, "generator") else []
        return [self.get_submodule(name) for name in names]

    # State

    def identity(self) -> dict[str, Any]:
        """What must not change when a run is resumed; plain values only."""
        return self._identity

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the image count and what the run is to a checkpoint."""
        checkpoint["dragline"] = {
            "format": FORMAT_VERSION,
            "seen_images": self.seen_images,
            "ema_kimg": self.ema_kimg,
            **self.identity(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take over what the run has become; refuse a checkpoint of another run.

        What settings decide, such as the learning rate, follows the settings of today.
        """
        held = checkpoint["dragline"]
        check_same_run(held, self.identity())
        self.seen_images = held["seen_images"]
        held_kimg = held.get("ema_kimg", [])
        state = fitted(checkpoint["state_dict"], self.state_dict(), held_kimg, self.ema_kimg)
        if self.augmenter and not self.game.ada:
            state["augmenter.p"] = self.augmenter.p
        checkpoint["state_dict"] = state
        networks = (self.generator, self.discriminator)
        for optimizer, network in zip(checkpoint["optimizer_states"], networks, strict=True):
            for group in optimizer["param_groups"]:
                group.update(adam_speed(self.settings, network, self.phases))
