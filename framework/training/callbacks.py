"""Callbacks keyed on images seen: checkpoints, the end, a stop in between."""

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
from framework.training.run_folder import LockedFolder

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# The signal from a waiting process to those that it started. Ctrl-C reaches all of them directly,
# and a second signal of the same kind would end them at once.
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
        """Call `at_mark` if a mark was passed."""
        now, last = pl_module.seen_images, self.last
        self.last = now
        if now // self.every > last // self.every or last < self.total <= now:
            self.at_mark(trainer, pl_module)

    def at_mark(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Do the work of the callback; runs in every process."""
        raise NotImplementedError


class StopAtKimg(KimgCallback):
    """Ends the run after `total_kimg` thousand images."""

    def __init__(self, total_kimg: float) -> None:
        super().__init__(total_kimg, total_kimg)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Stop a run that is finished already."""
        super().on_train_start(trainer, pl_module)
        if pl_module.seen_images >= self.total:
            self.at_mark(trainer, pl_module)

    def at_mark(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Stop the run."""
        trainer.should_stop = True


class FolderWatch(Callback):
    """Ends a run whose folder is gone, before anything is written into another one in its place.

    It comes first, so that what others write after a batch goes into the locked folder.
    """

    folder: LockedFolder | None = None

    def on_train_batch_end(self, trainer, pl_module, *_: Any) -> None:
        """Check the folder, in the process that locked it."""
        if self.folder is not None:
            self.folder.check()

    on_train_start = on_train_end = on_train_batch_end


class RunCheckpoints(KimgCallback):
    """Saves the whole run if it is finite; keeps the newest `keep` checkpoints."""

    def __init__(
        self, run_dir: str | Path, every_kimg: float, total_kimg: float, keep: int
    ) -> None:
        super().__init__(every_kimg, total_kimg)
        self.run_dir, self.keep = Path(run_dir), keep

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Make the folder; the state that a session begins with is saved already."""
        super().on_train_start(trainer, pl_module)
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self._saved = pl_module.seen_images

    def at_mark(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Save."""
        self.save(trainer, pl_module)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Save the run, whatever ended it, such as Lightning's own limits."""
        self.save(trainer, pl_module)

    def save(self, trainer: lightning.Trainer, pl_module: Any) -> Path:
        """Save now, unless this very state is saved; then delete older checkpoints.

        Every process must call it, and all decide alike: from memory, not from the disk.

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
        module: The module whose parameters and buffers are checked.
        optimizers: The optimizers of its parameters, whose state is checked, too.
        remedy: Advice for resuming, for the message.
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
    """Yield all tensors of a module and its optimizers that a checkpoint has, by name."""
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
    that waits for others to train (`ddp_spawn`, `ddp_fork`) passes the signal on to them.

    Attributes:
        received: Number of the signal that stopped the run, 0 if none did.
    """

    def __init__(self, checkpoints: RunCheckpoints) -> None:
        self.checkpoints, self.received, self._training = checkpoints, 0, False
        self._launcher: _MultiProcessingLauncher | None = None

    @contextmanager
    def handling(self, launcher: Any = None) -> Iterator[None]:
        """Handle the signals within the context.

        Args:
            launcher: Lightning's launcher, which may let other processes train than this one.
        """
        if isinstance(launcher, _MultiProcessingLauncher):
            self._launcher = launcher
        before = {number: signal.getsignal(number) for number in (*_SIGNALS, _PASSED_ON)}
        self._install()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _install(self) -> None:
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
        self._install()
        self._training = True

    def on_train_batch_end(self, trainer, pl_module, *_: Any) -> None:
        """Save and stop if any process received a signal."""
        stop = trainer.strategy.reduce_boolean_decision(bool(self.received), all=False)
        if stop and not trainer.should_stop:
            self.received = self.received or signal.SIGTERM
            path = self.checkpoints.save(trainer, pl_module)
            trainer.should_stop = True
            if trainer.is_global_zero:
                print(f"\nstopped; {path} holds the run, the same command goes on", flush=True)
