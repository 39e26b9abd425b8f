"""Sample grids under NVIDIA's names, and a model folder at every snapshot."""

import shutil
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch

from framework.formats import save_model_folder
from framework.media.images import grid, save_png, to_uint8
from framework.training.callbacks import KimgCallback, require_finite
from framework.training.randomness import keyed_generator
from framework.training.run_folder import CONFIG
from framework.training.wandb_logger import KimgWandbLogger

_GRID_WIDTH_PX, _GRID_HEIGHT_PX = 1024, 512
_COLUMNS, _ROWS = (4, 16), (4, 8)  # at least and at most
_BATCH = 16


class Snapshots(KimgCallback):
    """Pictures from fixed latents, and the averaged generator as a model folder.

    Args:
        run_dir: Run folder; gets `reals.png`, `fakes_init.png`, `fakes000200.png`, … and
            `network-000200/`, ….
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
        """Draw the fixed latents and show the data beside the untrained network."""
        super().on_train_start(trainer, pl_module)
        if not trainer.is_global_zero:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        height, width = data.dataset.size
        self.columns = _within(_COLUMNS, _GRID_WIDTH_PX // width)
        count = self.columns * _within(_ROWS, _GRID_HEIGHT_PX // height)
        rng = keyed_generator("cpu", pl_module.seed, "grid")
        self.z = torch.randn(count, pl_module.generator.z_dim, generator=rng)
        picks = torch.randperm(len(data.images), generator=rng)[:count]
        self.labels = data.label_table[picks].repeat(-(-count // len(picks)), 1)[:count]
        if pl_module.seen_images == 0:
            reals = data.images[picks].permute(0, 2, 3, 1).numpy()
            self._show(trainer, "reals", reals, 0.0)
            self._show(trainer, "fakes_init", self._fakes(pl_module), 0.0)

    def at_mark(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Write the grid and the model folder."""
        if not trainer.is_global_zero:
            return
        require_finite(pl_module.generator_ema)
        seen_kimg = pl_module.seen_images / 1000
        name = f"{int(seen_kimg):06d}"
        facts = trainer.datamodule.facts()  # type: ignore[attr-defined]
        self._show(trainer, f"fakes{name}", self._fakes(pl_module), seen_kimg)
        save_model_folder(
            self.run_dir / f"network-{name}",
            pl_module.generator_ema,
            pl_module.discriminator,
            provenance={"seen_kimg": seen_kimg, "data": facts, "training": pl_module.settings},
            card=_card(name, seen_kimg, facts),
        )
        self._prune()

    def _fakes(self, pl_module: Any) -> np.ndarray:
        """Pictures of the fixed latents, uint8 (N, H, W, C)."""
        device, pictures = pl_module.device, []
        with torch.no_grad():
            for z, c in zip(self.z.split(_BATCH), self.labels.split(_BATCH), strict=True):
                images = pl_module.generator_ema(z.to(device), c.to(device), noise_mode="const")
                pictures.append(to_uint8(images))
        return np.concatenate(pictures)

    def _show(
        self, trainer: lightning.Trainer, name: str, pictures: np.ndarray, kimg: float
    ) -> None:
        sheet = grid(pictures, self.columns)
        save_png(self.run_dir / f"{name}.png", sheet)
        key = "Samples/reals" if name == "reals" else "Samples/fakes"
        for logger in trainer.loggers:
            if isinstance(logger, KimgWandbLogger):
                logger.log_picture(key, sheet, kimg, caption=name)

    def _prune(self) -> None:
        folders = sorted(self.run_dir.glob("network-*"))
        for folder in folders[: -self.keep] if self.keep else []:
            shutil.rmtree(folder, ignore_errors=True)


def _within(limits: tuple[int, int], value: int) -> int:
    return min(max(value, limits[0]), limits[1])


def _card(name: str, seen_kimg: float, facts: dict[str, Any]) -> str:
    """Model card of a snapshot, Markdown."""
    height, width = facts["size"]
    return f"""# network-{name}

StyleGAN2 generator, {width}x{height} px, averaged weights after {seen_kimg:g} thousand images.

- Data: {facts["count"]} pictures of `{facts["source"]}`. Their licence is not known to the trainer:
  add it here before passing this folder on.
- Quality: not measured; `python train.py validate` measures a run, `../fakes{name}.png` shows it.
- Made by: `python train.py fit --config ../{CONFIG}`
"""
