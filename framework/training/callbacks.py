"""What happens beside training, keyed on images seen: checkpoints, the end, a stop in between."""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies.launchers.multiprocessing import _MultiProcessingLauncher

from framework.errors import UserError
from framework.formats.run_checkpoint import checkpoint_path, prune
from framework.training.run_folder import HeldFolder

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# From a process that only waits to those that it started. Another one than they may get directly:
# Ctrl-C reaches all of them, and the same signal again would end them at once.
_PASSED_ON = signal.SIGUSR1


class KimgCallback(Callback):
    """Calls `at_mark` when the images seen pass a multiple of `every_kimg`, and at `total_kimg`.

    A batch that does not divide the interval reaches it with its last images.
    """

    def __init__(self, every_kimg: float, total_kimg: float) -> None:
        # Whole images: 0.07 kimg times 1000 is a little more than 70.
        self.every, self.total = max(1, round(every_kimg * 1000)), round(total_kimg * 1000)
        self.last = 0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Note where this session begins."""
        self.last = pl_module.seen_images

    def on_train_batch_end(self, trainer, pl_module, *_: Any) -> None:
        """Look whether a mark was passed."""
        seen, last = pl_module.seen_images, self.last
        self.last = seen
        if seen // self.every > last // self.every or last < self.total <= seen:
            self.at_mark(trainer, pl_module)

    def at_mark(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """What to do; in every process."""
        raise NotImplementedError


class StopAtKimg(KimgCallback):
    """Ends training after `total_kimg` thousand images."""

    def __init__(self, total_kimg: float) -> None:
        super().__init__(total_kimg, total_kimg)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """A finished run has nothing to do."""
        super().on_train_start(trainer, pl_module)
        if pl_module.seen_images >= self.total:
            self.at_mark(trainer, pl_module)

    def at_mark(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Stop."""
        trainer.should_stop = True


class FolderWatch(Callback):
    """Ends a training whose run folder is not there any more, before anything is written into it.

    It comes first, so that what others write after a batch goes into the folder that was locked.
    """

    held: HeldFolder | None = None

    def on_train_batch_end(self, trainer, pl_module, *_: Any) -> None:
        """Look, in the process that holds the folder."""
        if self.held is not None:
            self.held.check()

    on_train_start = on_train_end = on_train_batch_end


class RunCheckpoints(KimgCallback):
    """Saves the whole run, never one that is not finite; keeps the newest `keep`."""

    def __init__(
        self, run_dir: str | Path, every_kimg: float, total_kimg: float, keep: int
    ) -> None:
        super().__init__(every_kimg, total_kimg)
        self.run_dir, self.keep = Path(run_dir), keep

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """What a session begins with is saved already; only now a folder is made."""
        super().on_train_start(trainer, pl_module)
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self._saved = pl_module.seen_images

    def at_mark(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Save."""
        self.save(trainer, pl_module)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Save whatever ended the training, such as Lightning's own limits."""
        self.save(trainer, pl_module)

    def save(self, trainer: lightning.Trainer, pl_module: Any) -> Path:
        """Save now, unless this very state is saved; then delete older checkpoints.

        Every process must call it, and decides alike: from memory, not from what lies on disk.

        Raises:
            UserError: If a value is not finite or the disk refuses; the previous checkpoint stays.
        """
        path = checkpoint_path(self.run_dir, pl_module.seen_images)
        if pl_module.seen_images != self._saved:
            require_finite(pl_module, trainer.optimizers, pl_module.remedy)
            trainer.save_checkpoint(path)
            self._saved = pl_module.seen_images
            if trainer.is_global_zero:
                prune(self.run_dir, self.keep)
        return path


def require_finite(
    module: torch.nn.Module,
    optimizers: Iterable[torch.optim.Optimizer] = (),
    remedy: str = "a lower --model.lr",
) -> None:
    """Raise a UserError that names the first tensor of `module` with NaN or infinity in it.

    Args:
        module: Whose parameters and buffers are looked at.
        optimizers: Of its parameters; what they remember is looked at, too.
        remedy: What to resume with, for the message.
    """
    for name, tensor in _tensors(module, optimizers):
        if not tensor.isfinite().all():
            raise UserError(
                f"{name} is no longer finite: nothing was saved, the last checkpoint is good; "
                f"resume with {remedy}"
            )


def _tensors(
    module: torch.nn.Module, optimizers: Iterable[torch.optim.Optimizer]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Everything that a checkpoint holds of a module and its optimizers, by name."""
    yield from module.state_dict().items()
    names: dict[torch.Tensor, str] = {value: name for name, value in module.named_parameters()}
    for optimizer in optimizers:
        for parameter, state in optimizer.state.items():
            for key, value in state.items():
                if isinstance(value, torch.Tensor):
                    yield f"{key} of {names[parameter]} in its optimizer", value


class StopSignals(Callback):
    """SIGTERM and Ctrl-C end the run after the current batch, saved; a second one ends it at once.

    Before the first batch there is nothing to save, and the first signal ends the run. A process
    that waits for others to train (`ddp_spawn`, `ddp_fork`) passes it on to them.

    Attributes:
        received: Number of the signal that stopped the run, 0 if none did.
    """

    def __init__(self, checkpoints: RunCheckpoints) -> None:
        self.checkpoints, self.received, self._training = checkpoints, 0, False
        self._launcher: _MultiProcessingLauncher | None = None

    @contextmanager
    def taken(self, launcher: Any = None) -> Iterator[None]:
        """Handle the signals within; give them back after.

        Args:
            launcher: Lightning's, which may have other processes train than this one.
        """
        if isinstance(launcher, _MultiProcessingLauncher):
            self._launcher = launcher
        before = {number: signal.getsignal(number) for number in (*_SIGNALS, _PASSED_ON)}
        self._take()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _take(self) -> None:
        for number in _SIGNALS:
            signal.signal(number, self._note)
        if self._launcher is not None:
            signal.signal(_PASSED_ON, self._note_passed_on)

    def _note_passed_on(self, _number: int, frame: Any) -> None:
        if not self.received:
            self._note(signal.SIGTERM, frame)

    def _note(self, number: int, _frame: Any) -> None:
        helpers = self._launcher if self._launcher is not None and self._launcher.procs else None
        if self.received:
            if helpers is not None:
                helpers.kill(signal.SIGKILL)
            os._exit(128 + number)
        self.received = number
        if helpers is not None:
            helpers.kill(_PASSED_ON)
        elif not self._training:
            raise SystemExit(128 + number)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Take the signals over from Lightning, which would exit with code 0 or 1."""
        self._take()
        self._training = True

    def on_train_batch_end(self, trainer, pl_module, *_: Any) -> None:
        """Save and stop if any process was told to."""
        stop = trainer.strategy.reduce_boolean_decision(bool(self.received), all=False)
        if stop and not trainer.should_stop:
            self.received = self.received or signal.SIGTERM
            path = self.checkpoints.save(trainer, pl_module)
            trainer.should_stop = True
            if trainer.is_global_zero:
                print(f"\nstopped; {path} holds the run, the same command goes on", flush=True)
