"""Sheets of pictures under NVIDIA's names, and a model folder at every snapshot."""

import re
import shutil
from pathlib import Path
from typing import Any

import lightning
import numpy as np

from framework.formats import save_model_folder
from framework.media.images import grid, save_png
from framework.training.callbacks import KimgCallback, require_finite
from framework.training.wandb_logger import KimgWandbLogger

_GRID_WIDTH_PX, _GRID_HEIGHT_PX = 1024, 512
_COLUMNS, _ROWS = (4, 16), (4, 8)  # at least and at most


class Snapshots(KimgCallback):
    """What a training shows, as sheets of pictures, and what it is worth, as a model folder.

    Args:
        run_dir: Run folder; gets sheets such as `reals.png`, `fakes_init.png`, `fakes000200.png`, …
            and `network-000200/`, ….
        every_kimg: Between snapshots.
        total_kimg: The end, which is a snapshot, too.
        keep: Newest model folders to keep; 0 keeps all.
    """

    def __init__(
        self, run_dir: str | Path, every_kimg: float, total_kimg: float, keep: int = 0
    ) -> None:
        super().__init__(every_kimg, total_kimg)
        self.run_dir, self.keep = Path(run_dir), keep

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Choose what will be shown, and show the data beside the untrained network."""
        super().on_train_start(trainer, pl_module)
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
        """Write the sheets and the model folder."""
        if not trainer.is_global_zero:
            return
        for average in pl_module.averages()[:1]:
            require_finite(average.network, remedy=pl_module.remedy)
        seen_kimg = pl_module.seen_images / 1000
        kimg = f"{int(seen_kimg):06d}"
        name = f"network-{kimg}"
        facts = trainer.datamodule.facts()  # type: ignore[attr-defined]
        for kind, pictures in self.exhibit.now().items():
            self._show(trainer, f"{kind}{kimg}", pictures, seen_kimg)
        save_model_folder(
            self.run_dir / name,
            **pl_module.published(),
            provenance=pl_module.provenance(facts),
            card=pl_module.card(name, facts),
        )
        self._prune()

    def _show(
        self, trainer: lightning.Trainer, name: str, pictures: np.ndarray, kimg: float
    ) -> None:
        sheet = grid(pictures, self.columns)
        save_png(self.run_dir / f"{name}.png", sheet)
        key = f"Samples/{re.match('[a-z]*', name)[0]}"  # type: ignore[index]
        for logger in trainer.loggers:
            if isinstance(logger, KimgWandbLogger):
                logger.log_picture(key, sheet, kimg, caption=name)

    def _prune(self) -> None:
        folders = sorted(self.run_dir.glob("network-*"))
        for folder in folders[: -self.keep] if self.keep else []:
            shutil.rmtree(folder, ignore_errors=True)


def _within(limits: tuple[int, int], value: int) -> int:
    return min(max(value, limits[0]), limits[1])
