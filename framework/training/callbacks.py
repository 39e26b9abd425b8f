"""What happens beside training, keyed on images seen: status, pictures, checkpoints, the end."""

import json
import os
import resource
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from framework.checkpoint import checkpoint_path, is_whole, prune
from framework.errors import UserError


@dataclass
class RunSettings:
    """Where a run lives and when it does what; everything is counted in thousands of images.

    Args:
        dir: Run folder; the same command in the same folder resumes.
        kimg: Length of the training.
        tick_kimg: Between status lines (and stats.jsonl and W&B).
        checkpoint_kimg: Between run checkpoints, for resuming.
        snapshot_kimg: Between sample grids and model folders.
        keep_checkpoints: Newest checkpoints to keep.
        keep_snapshots: Newest model folders to keep; 0 keeps all.
        resume: `auto` goes on if the folder holds a run, `never` refuses such a folder.
        wandb: `auto` is online if someone is logged in, else offline; `disabled` for none.
        dry_run: Print settings, sizes and data facts, and stop.
    """

    dir: str = "runs/stylegan2"
    kimg: float = 25000
    tick_kimg: float = 4
    checkpoint_kimg: float = 20
    snapshot_kimg: float = 200
    keep_checkpoints: int = 2
    keep_snapshots: int = 0
    resume: str = "auto"
    wandb: str = "auto"
    dry_run: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be.

        Raises:
            UserError: Naming the flag.
        """
        for name in ("kimg", "tick_kimg", "checkpoint_kimg", "snapshot_kimg", "keep_checkpoints"):
            if not getattr(self, name) > 0:
                raise UserError(f"--run.{name} {getattr(self, name)}: must be positive")
        if self.resume not in ("auto", "never"):
            raise UserError(f"--run.resume {self.resume}: auto or never")


class KimgCallback(Callback):
    """Calls `at_mark` whenever the images seen pass a multiple of `every_kimg`, and at the end."""

    def __init__(self, every_kimg: float) -> None:
        self.every = every_kimg * 1000
        self.last = 0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Note where the run begins."""
        self.last = pl_module.seen_images

    def on_train_batch_end(self, trainer, pl_module, *_: Any) -> None:
        """Look whether a mark was passed."""
        seen = pl_module.seen_images
        if seen // self.every > self.last // self.every:
            self.last = seen
            self.at_mark(trainer, pl_module)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """The end is a mark too."""
        if pl_module.seen_images > self.last:
            self.last = pl_module.seen_images
            self.at_mark(trainer, pl_module)

    def at_mark(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """What to do; in every process."""
        raise NotImplementedError


class StopAtKimg(Callback):
    """Ends training after `kimg` thousand images."""

    def __init__(self, kimg: float) -> None:
        self.kimg = kimg

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """A finished run has nothing to do."""
        self.on_train_batch_end(trainer, pl_module)

    def on_train_batch_end(self, trainer, pl_module, *_: Any) -> None:
        """Stop once enough images were seen."""
        if pl_module.seen_images >= self.kimg * 1000:
            trainer.should_stop = True


class RunCheckpoints(KimgCallback):
    """Saves the whole run, never one that is not finite."""

    def __init__(self, run_dir: str | Path, every_kimg: float, keep: int) -> None:
        super().__init__(every_kimg)
        self.run_dir, self.keep = Path(run_dir), keep

    def at_mark(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Save, then delete what is older than the newest `keep`."""
        self.save(trainer, pl_module)

    def save(self, trainer: lightning.Trainer, pl_module: Any) -> Path:
        """Save now, unless this very state is already saved.

        Raises:
            UserError: If a weight is not finite; the previous checkpoint stays.
        """
        path = checkpoint_path(self.run_dir, pl_module.seen_images)
        if not is_whole(path):
            require_finite(pl_module)
            trainer.save_checkpoint(path)
        if trainer.is_global_zero:
            prune(self.run_dir, self.keep)
        return path


def require_finite(module: torch.nn.Module) -> None:
    """Raise a UserError that names the first tensor of `module` with NaN or infinity in it."""
    for name, tensor in module.state_dict().items():
        if not tensor.isfinite().all():
            raise UserError(
                f"{name} is no longer finite: nothing was saved, the last checkpoint is good; "
                "resume with a lower --model.lr or a higher --model.r1_gamma"
            )


class StatusLine(KimgCallback):
    """Once a tick: averages of everything reported, to the console, stats.jsonl and the logger."""

    def __init__(self, run_dir: str | Path, every_kimg: float, total_kimg: float) -> None:
        super().__init__(every_kimg)
        self.run_dir, self.total_kimg = Path(run_dir), total_kimg
        self.bar = sys.stdout.isatty()

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Start the clocks."""
        super().on_train_start(trainer, pl_module)
        self.started = self.tick_started = time.monotonic()
        self.first = self.tick_first = pl_module.seen_images / 1000

    def on_train_batch_end(self, trainer, pl_module, *rest: Any) -> None:
        """Move the bar, and pass ticks."""
        super().on_train_batch_end(trainer, pl_module, *rest)
        if self.bar and trainer.is_global_zero:
            self._show_bar(pl_module.seen_images / 1000)

    def at_mark(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Collect, print, write and log."""
        stats = pl_module.stats.collect()
        if not trainer.is_global_zero:
            return
        now, kimg = time.monotonic(), pl_module.seen_images / 1000
        tick_sec, tick_kimg = now - self.tick_started, kimg - self.tick_first
        self.tick_started, self.tick_first = now, kimg
        singles = {
            "Progress/tick": pl_module.seen_images // self.every,
            "Progress/kimg": kimg,
            "Timing/total_sec": now - self.started,
            "Timing/sec_per_tick": tick_sec,
            "Timing/sec_per_kimg": tick_sec / tick_kimg,
            "Resources/cpu_mem_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
            "Resources/peak_gpu_mem_gb": _peak_gpu_gb(),
        }
        for name, value in singles.items():
            stats[name] = {"num": 1, "mean": float(value), "std": 0.0}
        self._write(stats)
        self._print(stats, kimg)
        metrics = {name: moments["mean"] for name, moments in stats.items()}
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=pl_module.batches_seen)

    def _write(self, stats: dict[str, dict[str, float]]) -> None:
        line = json.dumps({**stats, "timestamp": time.time()})
        with open(self.run_dir / "stats.jsonl", "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _print(self, stats: dict[str, dict[str, float]], kimg: float) -> None:
        def mean(name: str) -> float:
            return stats[name]["mean"] if name in stats else float("nan")

        line = (
            f"tick {mean('Progress/tick'):<5.0f} kimg {kimg:<8.1f} "
            f"time {_clock(mean('Timing/total_sec')):<12s} "
            f"sec/kimg {mean('Timing/sec_per_kimg'):<7.2f} "
            f"mem {mean('Resources/cpu_mem_gb'):<5.1f} gpumem {_peak_gpu_gb():<5.1f} "
            f"G {mean('Loss/G/loss'):<6.3f} D {mean('Loss/D/loss'):<6.3f} "
            f"r1 {mean('Loss/r1_penalty'):<8.4f} left {_clock(self._left(kimg))}"
        )
        bad = mean("Guard/nonfinite_grads")
        line += f"  {bad:.1f} gradients a step were not finite" if bad > 0 else ""
        print(("\r\033[K" if self.bar else "") + line, flush=True)
        with open(self.run_dir / "log.txt", "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _left(self, kimg: float) -> float:
        """Seconds to go at the mean speed of this session."""
        done = kimg - self.first
        elapsed = time.monotonic() - self.started
        return elapsed / done * max(self.total_kimg - kimg, 0) if done > 0 else float("nan")

    def _show_bar(self, kimg: float) -> None:
        width = max(10, shutil.get_terminal_size().columns - 50)
        filled = int(width * min(1.0, kimg / self.total_kimg))
        bar = "█" * filled + "·" * (width - filled)
        left = _clock(self._left(kimg))
        print(f"\r\033[K{bar} {kimg:.1f}/{self.total_kimg:g} kimg, {left} left", end="", flush=True)


class StopSignals(Callback):
    """SIGTERM and Ctrl-C end the run after the current batch, saved; a second one ends it at once.

    Attributes:
        received: Number of the signal that stopped the run, 0 if none did.
    """

    def __init__(self, checkpoints: RunCheckpoints) -> None:
        self.checkpoints, self.received = checkpoints, 0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Take the signals over from Lightning, which would exit with code 0."""
        signals = (signal.SIGTERM, signal.SIGINT)
        self._before = {number: signal.signal(number, self._note) for number in signals}

    def _note(self, number: int, _frame: Any) -> None:
        if self.received:
            os._exit(128 + number)
        self.received = number

    def on_train_batch_end(self, trainer, pl_module, *_: Any) -> None:
        """Save and stop if any process was told to."""
        stop = trainer.strategy.reduce_boolean_decision(bool(self.received), all=False)
        if stop and not trainer.should_stop:
            self.received = self.received or signal.SIGTERM
            path = self.checkpoints.save(trainer, pl_module)
            trainer.should_stop = True
            if trainer.is_global_zero:
                print(f"\nstopped; {path} holds the run, the same command goes on", flush=True)

    def teardown(self, trainer: lightning.Trainer, pl_module: Any, stage: str) -> None:
        """Give the signals back."""
        for number, handler in getattr(self, "_before", {}).items():
            signal.signal(number, handler)


def _peak_gpu_gb() -> float:
    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0


def _clock(seconds: float) -> str:
    """Seconds as `1d 02h 03m`, `2h 03m 04s` or `3m 04s`."""
    if seconds != seconds:
        return "?"
    minutes, sec = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours:02d}h {minutes:02d}m"
    return f"{hours}h {minutes:02d}m {sec:02d}s" if hours else f"{minutes}m {sec:02d}s"
