"""Sheets of pictures under NVIDIA's names, and a model folder at every snapshot."""

import re
from pathlib import Path
from typing import Any

import lightning
import numpy as np

from framework.media.images import grid, save_png
from framework.training.callbacks import KimgCallback, require_finite
from framework.training.snapshot_folders import (
    PREFIX,
    free_name,
    note_written,
    prune_snapshots,
)
from framework.training.wandb_logger import KimgWandbLogger

_GRID_WIDTH_PX, _GRID_HEIGHT_PX = 1024, 512
_COLUMNS, _ROWS = (4, 16), (4, 8)  # at least and at most


class Snapshots(KimgCallback):
    """Writes sheets of pictures and a model folder, at every mark and at the end of the run.

    A run that ends between two marks, by a signal or a limit of Lightning's, gets a snapshot that
    is kept until a newer one is written.

    Args:
        run_dir: Run folder, for sheets such as `reals.png`, `fakes_init.png`, `fakes000200.png`, …
            and `network-000200/`, ….
        every_kimg: Thousands of images from one snapshot to the next.
        total_kimg: Thousands of images at the end, which is a snapshot, too.
        keep: Number of newest model folders to keep, of those that it wrote; 0 keeps all.
    """

    def __init__(
        self, run_dir: str | Path, every_kimg: float, total_kimg: float, keep: int = 0
    ) -> None:
        super().__init__(every_kimg, total_kimg)
        self.run_dir, self.keep = Path(run_dir), keep

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Choose the pictures to show, and show the data beside the untrained network."""
        super().on_train_start(trainer, pl_module)
        self._noted: set[str] = set()
        self._shown = pl_module.seen_images
        if not trainer.is_global_zero:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        height, width = data.dataset.size
        self.columns = _within(_COLUMNS, _GRID_WIDTH_PX // width)
        count = self.columns * _within(_ROWS, _GRID_HEIGHT_PX // height)
        self.exhibit = pl_module.exhibit(data, self.columns, count)
        if pl_module.seen_images == 0:
            for name, pictures in self.exhibit.begin().items():
                self._show(trainer, name, pictures, 0.0)

    def at_mark(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Write the sheets and the model folder, named by the mark."""
        seen = pl_module.seen_images
        mark = seen // self.every * self.every
        self._write(trainer, pl_module, max(mark, self.total if seen >= self.total else 0))

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Write a snapshot of the end, unless it is written."""
        if pl_module.seen_images != self._shown:
            self._write(trainer, pl_module, pl_module.seen_images, interim=True)

    def _write(
        self, trainer: lightning.Trainer, pl_module: Any, images: int, interim: bool = False
    ) -> None:
        self._shown = pl_module.seen_images
        if not trainer.is_global_zero:
            return
        for average in pl_module.averages()[:1]:
            require_finite(average.network, remedy=pl_module.remedy)
        facts = trainer.datamodule.facts()  # type: ignore[attr-defined]
        provenance = pl_module.provenance(facts)
        name = free_name(self.run_dir, images, provenance)
        for kind, pictures in self.exhibit.now().items():
            sheet = kind + name.removeprefix(PREFIX)
            self._show(trainer, sheet, pictures, self._shown / 1000)
        (self.run_dir / name).mkdir(exist_ok=True)  # in the run's folder, which must be there
        pl_module.write_model(self.run_dir / name, provenance, pl_module.card(name, facts))
        note_written(self.run_dir, name, interim)
        prune_snapshots(self.run_dir, self.keep, self._noted)

    def _show(
        self, trainer: lightning.Trainer, name: str, pictures: np.ndarray, kimg: float
    ) -> None:
        sheet = grid(pictures, self.columns)
        save_png(self.run_dir / f"{name}.png", sheet)
        key = f"Samples/{re.match('[a-z]*', name)[0]}"  # type: ignore[index]
        for logger in trainer.loggers:
            if isinstance(logger, KimgWandbLogger):
                logger.log_picture(key, sheet, kimg, caption=name)


def _within(limits: tuple[int, int], value: int) -> int:
    return min(max(value, limits[0]), limits[1])
