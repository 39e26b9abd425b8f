"""The status of a run: a line, a bar, stats.jsonl and the logger, once a tick."""

import json
import math
import resource
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning
import torch

from framework.files import append_line
from framework.training.callbacks import KimgCallback
from framework.training.phased import Headline, Sign
from framework.training.run_folder import LOG, STATS


class Alarms:
    """Counts for how many ticks in a row each sign holds."""

    def __init__(self) -> None:
        self._ticks: dict[str, int] = {}

    def update(self, signs: Iterable[Sign]) -> tuple[int, list[str]]:
        """Return the number of alarms after a tick with `signs`, and a line for each new one."""
        lines, holding = [], 0
        for name, ticks, holds, line in signs:
            self._ticks[name] = self._ticks.get(name, 0) + 1 if holds else 0
            holding += self._ticks[name] >= ticks
            if self._ticks[name] == ticks:
                lines.append(line)
        return holding, lines


class StatusLine(KimgCallback):
    """Once a tick: averages of everything reported, to the console, stats.jsonl and the logger.

    Each new alarm is printed in a line of its own.

    Attributes:
        before_sec: Seconds of training in earlier sessions.
    """

    def __init__(self, run_dir: str | Path, every_kimg: float, total_kimg: float) -> None:
        super().__init__(every_kimg, total_kimg)
        self.run_dir = Path(run_dir)
        self.bar = sys.stdout.isatty()
        self._unwritable = False
        self.before_sec = 0.0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Start the clocks."""
        super().on_train_start(trainer, pl_module)
        self.started = self.tick_started = self.tick_ended = time.monotonic()
        self.cpu_started = time.process_time()
        self.first = self.tick_first = pl_module.seen_images / 1000
        self.alarms = Alarms()

    def on_train_batch_start(self, trainer, pl_module, *_: Any) -> None:
        """Start the tick when pictures, checkpoints and the like of the last one are done."""
        if self.tick_started < self.tick_ended:
            self.tick_started = time.monotonic()

    def on_train_batch_end(self, trainer, pl_module, *rest: Any) -> None:
        """Move the bar, and end the tick if a mark was passed."""
        super().on_train_batch_end(trainer, pl_module, *rest)
        if self.bar and trainer.is_global_zero:
            self._show_bar(pl_module.seen_images / 1000)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """End the bar's line."""
        if self.bar and trainer.is_global_zero:
            print(flush=True)

    def at_mark(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Collect, print, write and log."""
        stats = pl_module.stats.collect()
        kimg = pl_module.seen_images / 1000
        clocks = self._clocks(kimg)
        self.tick_ended, self.tick_first = time.monotonic(), kimg
        if not trainer.is_global_zero:
            return
        mean = {name: moments["mean"] for name, moments in stats.items()}
        holding, warnings = self.alarms.update(pl_module.signs(mean))
        for name, value in {**clocks, "Guard/alarms": holding}.items():
            stats[name] = {"num": 1, "mean": float(value), "std": 0.0}
        self._append(STATS, json.dumps({**stats, "timestamp": time.time()}))
        self._print(stats, kimg, pl_module.headlines)
        for warning in warnings:
            self._say(f"note: {warning}")
        metrics = {name: moments["mean"] for name, moments in stats.items()}
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=pl_module.batches_seen)

    def _clocks(self, kimg: float) -> dict[str, float]:
        """Return progress, times and memory under NVIDIA's names; a tick's time excludes upkeep."""
        now = time.monotonic()
        tick_sec, tick_kimg = now - self.tick_started, kimg - self.tick_first
        return {
            "Progress/tick": math.ceil(round(kimg * 1000) / self.every),
            "Progress/kimg": kimg,
            "Timing/total_sec": self.before_sec + now - self.started,
            "Timing/cpu_sec": time.process_time() - self.cpu_started,
            "Timing/sec_per_tick": tick_sec,
            "Timing/sec_per_kimg": tick_sec / tick_kimg,
            "Timing/maintenance_sec": self.tick_started - self.tick_ended,
            "Resources/cpu_mem_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
            "Resources/peak_gpu_mem_gb": _peak_gpu_gb(),
        }

    def _append(self, name: str, line: str) -> None:
        """Add a line to a log of the run; a full disk must not end a run."""
        try:
            append_line(self.run_dir / name, line)
        except OSError as error:
            if not self._unwritable:
                print(f"note: {self.run_dir / name}: {error.strerror}", file=sys.stderr)
            self._unwritable = True

    def _print(
        self, stats: dict[str, dict[str, float]], kimg: float, headlines: Iterable[Headline]
    ) -> None:
        def mean(name: str) -> float:
            return stats[name]["mean"] if name in stats else float("nan")

        line = (
            f"tick {mean('Progress/tick'):<5.0f} kimg {kimg:<8.1f} "
            f"time {_clock(mean('Timing/total_sec')):<12s} "
            f"sec/kimg {mean('Timing/sec_per_kimg'):<7.2f} "
            f"mem {mean('Resources/cpu_mem_gb'):<5.1f} gpumem {_peak_gpu_gb():<5.1f} "
            + "".join(
                f"{label} {_shown(stats.get(stat), form)} " for label, stat, form in headlines
            )
            + f"left {_clock(self._left(kimg))}"
        )
        bad = mean("Guard/nonfinite_grads")
        line += f"  {bad:.1f} gradients a step were not finite" if bad > 0 else ""
        self._say(line)

    def _say(self, line: str) -> None:
        print(("\r\033[K" if self.bar else "") + line, flush=True)
        self._append(LOG, line)

    def _left(self, kimg: float) -> float:
        """Return the seconds to go at the mean speed of this session."""
        done = kimg - self.first
        elapsed = time.monotonic() - self.started
        return elapsed / done * max(self.total / 1000 - kimg, 0) if done > 0 else float("nan")

    def _show_bar(self, kimg: float) -> None:
        width = max(10, shutil.get_terminal_size().columns - 50)
        filled = int(width * min(1.0, kimg * 1000 / self.total))
        bar = "█" * filled + "·" * (width - filled)
        to_go = _clock(self._left(kimg))
        print(
            f"\r\033[K{bar} {kimg:.1f}/{self.total / 1000:g} kimg, {to_go} left", end="", flush=True
        )


def _shown(moments: dict[str, float] | None, form: str) -> str:
    """Return a mean as text; `-` if no batch of the tick reported it, such as a lazy penalty."""
    return f"{'-':{form.split('.')[0]}}" if moments is None else f"{moments['mean']:{form}}"


def _peak_gpu_gb() -> float:
    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0


def _clock(seconds: float) -> str:
    """Return seconds as `1d 02h 03m`, `2h 03m 04s` or `3m 04s`."""
    if seconds != seconds:
        return "?"
    minutes, sec = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours:02d}h {minutes:02d}m"
    return f"{hours}h {minutes:02d}m {sec:02d}s" if hours else f"{minutes}m {sec:02d}s"
