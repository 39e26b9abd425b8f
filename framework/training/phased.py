"""Training in phases: what runs of generators and of encoders share."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import lightning
import numpy as np
import torch
from torch import Tensor, nn

from framework.data.images import NO_PICTURES
from framework.errors import UserError
from framework.formats import save_model_folder
from framework.formats.run_checkpoint import FORMAT_VERSION
from framework.models.sketch import sketching
from framework.training.batch import Batch
from framework.training.checkpoint_check import LAYOUT, CheckpointCheck, layout_of
from framework.training.data import TrainingImages
from framework.training.ema import ema_beta, update_ema
from framework.training.gradients import FiniteGuard, sum_gradients
from framework.training.phases import Micro, Outcome, Phase, lazy_share
from framework.training.randomness import keyed_generator
from framework.training.same_run import check_same_run
from framework.training.settings import TrainingSettings
from framework.training.stats import StatsCollector
from framework.training.trainer import check_share, check_trainer, micro_batch

S = TypeVar("S", bound=TrainingSettings)
_LOOPS = ("fit_loop", "validate_loop", "test_loop", "predict_loop")


class Average(NamedTuple):
    """A network whose weights follow another's.

    Attributes:
        network: The average.
        source: What it follows.
        kimg: Half-life in thousands of images.
        rampup: The half-life is at most this share of the images seen; None for no ramp.
    """

    network: nn.Module
    source: nn.Module
    kimg: float
    rampup: float | None


class Headline(NamedTuple):
    """A number of the status line.

    Attributes:
        label: Its name in the line.
        stat: Its name among the statistics.
        form: Its format specification.
    """

    label: str
    stat: str
    form: str


class Sign(NamedTuple):
    """A sign that a run seldom ends well.

    Attributes:
        name: Name of the alarm.
        ticks: Ticks in a row with this sign before the alarm.
        holds: Whether this tick shows it.
        line: Text of the alarm.
    """

    name: str
    ticks: int
    holds: bool
    line: str


class Exhibit(Protocol):
    """Pictures that show the progress of a run: sheets, each uint8 (N, H, W, C), by name."""

    def begin(self) -> dict[str, np.ndarray]:
        """Return the sheets for the beginning of a run."""
        ...

    def now(self) -> dict[str, np.ndarray]:
        """Return the sheets for a snapshot; their names get the thousands of images appended."""
        ...


class PhasedTraining(lightning.LightningModule, Generic[S]):
    """Trains networks by the phases that a subclass builds for the data at hand.

    Everything random is keyed by (seed, position of the micro-batch among all images, phase), so a
    run that is stopped and resumed, or split over more processes with the same micro-batches, is
    the same run.

    Args:
        settings: The settings of the run.

    Attributes:
        settings: The settings of the run; `foresee` settles what they left open.
        seen_images: Images seen by the whole run, over all processes.
        batch_size: Images of a batch, over all processes.
        micro_batch: Images that a process works on at once.
        phases: The phases of a batch in their order; set by `build`.
        frozen: Layers of the networks that are not trained.
        ema_kimg: Half-lives of the averages, kept with the run.
        stats: Collector of everything that is reported.
        headlines: Numbers of the status line.
        generates: Whether the result is a generator, which `--metrics.*` can measure.
        needs_pictures: Whether it learns from pictures of the data.
        takes_condition: Whether it learns from pairs of pictures and conditions.
        longest_gradient: Norm to which a phase's gradient is shortened; None for no limit.
        remedy: Advice, in words, about numbers that are not finite.
        widths: Settings that make the networks wider.
        passing: Modules that come and go with settings; a checkpoint may hold them without use.
    """

    phases: list[Phase]
    batch_size: int
    micro_batch: int
    headlines: tuple[Headline, ...] = ()
    generates: bool = False
    needs_pictures: bool = True
    takes_condition: bool = False
    longest_gradient: float | None = None
    remedy: str = "a lower --model.lr"
    widths: tuple[str, ...] = ("channel_base", "channel_max")
    passing: tuple[str, ...] = ()

    def __init__(self, settings: S) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.settings = settings
        self.seed = settings.seed
        self.seen_images = 0
        self.frozen: list[nn.Module] = []
        self.ema_kimg: list[float] = []
        self.stats, self.guard = StatsCollector(), FiniteGuard(remedy=self.remedy)

    # What a subclass says

    def foresee(
        self,
        trainer: lightning.Trainer,
        data: TrainingImages,
        about_run: dict[str, Any] | None = None,
    ) -> None:
        """Check all that can be checked without opening a picture, and settle what was left open.

        Args:
            trainer: Lightning's trainer.
            data: The pictures, not opened; gets the size if it was left open.
            about_run: A checkpoint's table `dragline`; None for a new run.

        Raises:
            UserError: If something is impossible.
        """
        check_share(self.settings, trainer, data)
        if data.size is None:
            data.size = self.own_size()
        with sketching():
            self.sketch(data.img_size, data.all_channels, 0, trainer.strategy.root_device)

    def own_size(self) -> tuple[int, int]:
        """Return the (H, W) of pictures whose size was left open.

        Raises:
            UserError: If it has to be given.
        """
        raise UserError(": give one", "data.size")

    def settled(self) -> dict[str, Any]:
        """Return the settings that were open until `foresee`, by group and name."""
        return {}

    def plan(self, trainer: lightning.Trainer, data: TrainingImages) -> dict[str, Any]:
        """Check that all this can be trained, before anything is written or takes memory.

        Returns:
            The run's identity: what must not change on resuming; plain values only.

        Raises:
            UserError: If something is impossible.
        """
        check_trainer(trainer)
        if data.condition != "none" and not self.takes_condition:
            text = f"{data.condition}: this learns from pictures alone; leave it at none"
            raise UserError(text, "data.condition")
        micro_batch(self.settings.micro_batch, data.share(trainer.world_size))
        if self.needs_pictures and data.source == NO_PICTURES:
            raise UserError(f"{data.source}: this learns from pictures; name some", "data.source")
        return {"batch_size": data.batch_size, "seed": self.seed, **data.identity()}

    def sketch(
        self, size: tuple[int, int], channels: int, c_dim: int, device: torch.device
    ) -> dict[str, nn.Module]:
        """Return the networks of the run, by name; meant for the meta device.

        Args:
            size: (H, W) of the pictures.
            channels: Channels of the pictures.
            c_dim: Length of label vectors, 0 without labels.
            device: Device of the run.

        Raises:
            UserError: If such pictures cannot be trained on.
        """
        raise NotImplementedError

    def build(self, data: TrainingImages, device: torch.device) -> None:
        """Build networks, averages and phases for the data at hand, the same in every process."""
        dataset = data.dataset
        self.assemble(dataset.size, dataset.channels, dataset.label_dim, device, data.batch_size)

    def assemble(
        self, size: tuple[int, int], channels: int, c_dim: int, device: torch.device, batch: int
    ) -> None:
        """Build these for pictures of `size` (H, W) in batches of `batch`."""
        raise NotImplementedError

    def networks(self) -> list[nn.Module]:
        """Return the networks that are trained, each by an optimizer of its own, in order."""
        raise NotImplementedError

    def averages(self) -> list[Average]:
        """Return the averaged networks; none before they are built."""
        raise NotImplementedError

    def speed(self, network: nn.Module) -> dict[str, Any]:
        """Return a network's learning rate and Adam's decay rates, corrected for lazy phases."""
        ratio = lazy_share(network, self.phases)
        betas = tuple(float(beta) ** ratio for beta in self.settings.betas)
        return {"lr": self.learning_rate(network) * ratio, "betas": betas}

    def learning_rate(self, network: nn.Module) -> float:
        """Return a network's learning rate at this point of the run."""
        return self.settings.lr

    def warmup_share(self, warmup_kimg: float) -> float:
        """Return the share of the learning rate, which rises from 0 over the first images."""
        warm = warmup_kimg * 1000
        return min(1.0, (self.seen_images + self.batch_size) / warm) if warm else 1.0

    def move_learning_rates(self) -> None:
        """Give each optimizer the learning rate of this point of the run; log the first one's."""
        speeds = [(network, self.speed(network)) for network in self.networks()]
        for network, speed in speeds:
            for group in self._optimizer(network).param_groups:
                group.update(speed)
        self.stats.report("Progress/lr", speeds[0][1]["lr"])

    def watchers(self, tick_kimg: float, total_kimg: float) -> list[lightning.Callback]:
        """Return callbacks that measure before each status line."""
        return []

    def signs(self, mean: dict[str, float]) -> Iterable[Sign]:
        """Return the signs in the averages of a tick, given by name."""
        return ()

    def remarks(self, device: torch.device) -> list[str]:
        """Return remarks about the settings on this device, each a line for the user."""
        return []

    def exhibit(self, data: TrainingImages, columns: int, count: int) -> Exhibit:
        """Return the pictures for the snapshots' sheets.

        Args:
            data: The pictures of the run.
            columns: Columns of a sheet.
            count: Pictures on a sheet, a multiple of `columns`.
        """
        raise NotImplementedError

    def published(self) -> dict[str, Any]:
        """Return what a snapshot saves: arguments of `save_model_folder`."""
        raise NotImplementedError

    def write_model(self, folder: Path, provenance: dict[str, Any], card: str) -> None:
        """Write a snapshot's model folder.

        Args:
            folder: The folder, which exists.
            provenance: The result of `provenance`.
            card: The result of `card`.
        """
        save_model_folder(folder, **self.published(), provenance=provenance, card=card)

    def provenance(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return images seen, data and settings of what is published; JSON values.

        Args:
            data: Facts of the data.
        """
        return {
            "seen_kimg": self.seen_images / 1000,
            "data": data,
            "training": self.settings.to_dict(),
        }

    def card(self, name: str, data: dict[str, Any]) -> str:
        """Return the model card of snapshot `name`, Markdown; `data` as in `provenance`."""
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """Return facts for logs and checkpoints beside settings and identity; plain values."""
        return {}

    def begin_batch(self) -> None:
        """Prepare for the phases of a batch."""

    def end_batch(self) -> None:
        """Finish a batch, after its phases, its images counted."""

    def gflop(self, sketch: dict[str, nn.Module], share: int) -> float:
        """Return the operations of a forward pass of `share` images, in 10^9, for the threads."""
        raise NotImplementedError

    def fitted(self, about_run: dict[str, Any], state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return a checkpoint's state as this run can load it.

        Args:
            about_run: The checkpoint's table `dragline`.
            state: The checkpoint's state dict.
        """
        return state

    def fresh(self) -> "PhasedTraining":
        """Return the same module, its networks not built yet."""
        return type(self)(**self.settings.arguments())  # type: ignore[arg-type]

    # Training

    def setup(self, stage: str) -> None:
        """Build everything for the data at hand."""
        if hasattr(self, "phases"):
            return
        data: TrainingImages = self.trainer.datamodule  # type: ignore[attr-defined]
        self._identity = self.plan(self.trainer, data)
        share = data.share(self.trainer.world_size)
        self.micro_batch = micro_batch(self.settings.micro_batch, share)
        self.build(data, self.trainer.strategy.root_device)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return an Adam for each network."""
        return [
            torch.optim.Adam(network.parameters(), **self.speed(network), eps=1e-8, fused=True)
            for network in self.networks()
        ]

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Train on one batch: every phase whose turn it is, then the averages."""
        self.begin_batch()
        for phase in self.phases:
            if self.seen_images >= phase.begins and self.batches_seen % phase.interval == 0:
                self._phase(phase, batch)
        self.seen_images += self.batch_size
        # In the same batches as ADA's control, so that the device is waited for once.
        if self.batches_seen % self.guard.patience == 0:
            self.guard.check(self.seen_images)
        self.end_batch()
        for average in self.averages():
            beta = ema_beta(self.batch_size, average.kimg, average.rampup, self.seen_images)
            update_ema(average.network, average.source, beta)

    @property
    def batches_seen(self) -> int:
        """Batches seen by the whole run, earlier sessions included."""
        return self.seen_images // self.batch_size

    def _phase(self, phase: Phase, batch: Batch) -> None:
        """Compute one objective's gradient and step its network."""
        optimizer = self._optimizer(phase.network)
        with self.stats.timed(f"Timing/{phase.timing}", self.device):
            sums = self._accumulate(phase, batch, optimizer)
            trained = [p for p in phase.network.parameters() if p.requires_grad]
            bad = sum_gradients(trained, list(sums.values()))
            self.stats.report("Guard/nonfinite_grads", bad)
            self.guard.note(phase.name, bad, sum(p.numel() for p in trained))
            if self.longest_gradient is not None:
                nn.utils.clip_grad_norm_(trained, self.longest_gradient)
            # Lightning counts every wrapped step as a global step; one a batch keeps it meaningful.
            (optimizer if phase is self.phases[0] else optimizer.optimizer).step()
            phase.finish(sums)

    def _optimizer(self, network: nn.Module) -> Any:
        all_of: Any = self.optimizers()  # a list only where there are several
        return all_of[self.networks().index(network)] if isinstance(all_of, list) else all_of

    def _accumulate(self, phase: Phase, batch: Batch, optimizer: Any) -> dict[str, Tensor]:
        """Add up an objective's gradient, and its sums, over the micro-batches.

        The other networks and frozen layers get no gradient, so that Adam skips them.
        """
        for network in self.networks():
            network.requires_grad_(network is phase.network)
        for layer in self.frozen:
            layer.requires_grad_(False)
        optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        with self._without_ddp_sync():
            for micro in batch.parts(self.micro_batch):
                rng = keyed_generator(self.device, self.seed, micro.first, phase.name)
                outcomes = self._outcome(phase, micro, rng)
                for outcome in [outcomes] if isinstance(outcomes, Outcome) else outcomes:
                    self.manual_backward(outcome.loss / self.batch_size)
                    for name, values in outcome.stats.items():
                        self.stats.report(name, values)
                    for name, value in outcome.sums.items():
                        sums[name] = sums.get(name, 0) + value
        return sums

    def phase_loss(self, name: str, micro: Batch, rng: torch.Generator) -> Tensor:
        """Return the loss of one phase, summed over a micro-batch, as a training step has it."""
        phase = next(phase for phase in self.phases if phase.name == name)
        outcomes = self._outcome(phase, micro, rng)
        outcomes = [outcomes] if isinstance(outcomes, Outcome) else outcomes
        return torch.stack([outcome.loss for outcome in outcomes]).sum()

    def _outcome(
        self, phase: Phase, micro: Batch, rng: torch.Generator
    ) -> Outcome | Iterator[Outcome]:
        return phase.objective(Micro(micro.pictures, micro.labels, rng, micro.first))

    def _without_ddp_sync(self) -> AbstractContextManager:
        """Return a context without DDP's reducer: we sum gradients ourselves, once a phase."""
        block = getattr(self.trainer.strategy, "block_backward_sync", None)
        return nullcontext() if block is None else block()

    def train(self, mode: bool = True) -> "PhasedTraining":
        """Switch to training; averages stay in evaluation."""
        super().train(mode)
        for average in self.averages():
            average.network.eval()
        return self

    # State

    def identity(self) -> dict[str, Any]:
        """Return what must not change when a run is resumed; plain values only."""
        return self._identity

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the image count, the run's identity and the layout's digest to a checkpoint."""
        checkpoint["dragline"] = about_run = {
            "format": FORMAT_VERSION,
            "seen_images": self.seen_images,
            "ema_kimg": self.ema_kimg,
            **self.facts(),
            **self.identity(),
        }
        about_run[LAYOUT] = layout_of(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Load the state of the run; refuse a checkpoint of another run, or of none.

        What settings decide, such as the learning rate, follows the settings given now.
        """
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        self.check_checkpoint(checkpoint, self.trainer, data)
        about_run = checkpoint["dragline"]
        self.seen_images = about_run["seen_images"]
        checkpoint["state_dict"] = self.fitted(about_run, checkpoint["state_dict"])
        checkpoint["optimizer_states"] = [
            _resumed_state(state, fresh)
            for state, fresh in zip(
                checkpoint["optimizer_states"], self.configure_optimizers(), strict=True
            )
        ]

    def twin(self, identity: dict[str, Any], data: TrainingImages) -> "PhasedTraining":
        """Return the same module on the CPU as it begins, to compare a checkpoint with.

        Args:
            identity: The result of `plan`.
            data: The pictures of the run.
        """
        twin, dataset, device = self.fresh(), data.dataset, torch.device("cpu")
        with torch.random.fork_rng(devices=[]):
            twin.assemble(
                dataset.size, dataset.channels, dataset.label_dim, device, data.batch_size
            )
        twin._identity = identity
        return twin

    def check_checkpoint(
        self,
        checkpoint: dict[str, Any],
        trainer: lightning.Trainer,
        data: TrainingImages,
        name: str = "the checkpoint",
    ) -> None:
        """Compare a whole checkpoint with networks, optimizers and counters as they begin.

        Args:
            checkpoint: The checkpoint as it was read; stays as it is.
            trainer: The trainer whose counters it would set.
            data: The data whose state it would set.
            name: The checkpoint's name in complaints.

        Raises:
            UserError: If it is of another run, or anything in it is not what a run saves.
        """
        check = CheckpointCheck(checkpoint, name)
        check.parts(data=type(data).__qualname__)
        about_run = checkpoint["dragline"]
        check_same_run(about_run, self.identity())
        batches = check.seen_images(self.batch_size) // self.batch_size
        check.half_lives()
        loops = {loop: getattr(trainer, loop).state_dict() for loop in _LOOPS}
        check.counts("loops", checkpoint["loops"], loops)
        if type(data).__qualname__ in checkpoint:
            place = type(data).__qualname__
            check.counts(place, checkpoint[place], data.state_dict())
        check.tensors("state_dict", checkpoint["state_dict"])
        state, ours = self.fitted(about_run, checkpoint["state_dict"]), self.state_dict()
        check.same_tensors("state_dict", state, ours)
        check.others("state_dict", checkpoint["state_dict"].keys() - state.keys(), self.passing)
        check.optimizers(checkpoint["optimizer_states"], self.configure_optimizers(), batches * 8)


def _resumed_state(state: dict[str, Any], fresh: torch.optim.Optimizer) -> dict[str, Any]:
    """Return an Adam's state with the fresh one's settings, each tensor laid out as its parameter.

    A fused step goes through both in the order of memory.
    """

    def laid_out(name: str, value: Tensor, parameter: Tensor) -> Tensor:
        like = value if name == "step" else parameter
        return torch.empty_like(like, device="cpu", requires_grad=False).copy_(value)

    parameters = fresh.param_groups[0]["params"]
    moments = {
        index: {name: laid_out(name, value, parameters[index]) for name, value in table.items()}
        for index, table in state["state"].items()
    }
    return {"state": moments, "param_groups": fresh.state_dict()["param_groups"]}
