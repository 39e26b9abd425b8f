"""Lightning's W&B logger with images seen as the x-axis."""

import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import WandbLogger

from framework.dashboard import WandbMode, open_run, resolve_mode
from framework.files import write_text
from framework.training.run_record import read_record, update_record

X_AXIS = "Progress/kimg"
_ID_FILE = "wandb-id.txt"


class KimgWandbLogger(WandbLogger):
    """Logs metrics and pictures under their own names against `Progress/kimg`.

    Lightning declares its own step for every name at once, so each name is declared again, alone,
    when it first appears.
    """

    def __init__(self, run: Any, save_dir: str | Path, reached_images: int = 0) -> None:
        super().__init__(experiment=run, save_dir=str(save_dir))
        self._declared, self._failed = {X_AXIS}, False
        # Unless it gets the step, too, W&B counts from 0 in every session.
        last_step = read_record(save_dir).get("wandb_step")
        last_step = last_step if isinstance(last_step, int) else -1
        self._step = max(reached_images or -1, last_step, int(getattr(run, "step", 0) or 0) - 1)
        run.define_metric(X_AXIS)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log scalars or media; `Progress/kimg` should be among them.

        W&B's own step is the number of images seen, or the next free one: it only ever rises, over
        all sessions of a run. A failure of W&B is reported once and never ends a run.
        """
        try:
            self._declare(metrics)
            table: dict[str, Any] = dict(metrics)
            if step is not None:
                table["trainer/global_step"] = step
            self._step = max(self._step + 1, round(table.get(X_AXIS, 0) * 1000))
            self.experiment.log(table, step=self._step)
        except Exception as error:
            if not self._failed:
                print(f"note: W&B takes no more ({error}); stats.jsonl has all", file=sys.stderr)
            self._failed = True

    def close(self) -> None:
        """Finish the W&B run; what W&B can no longer write must not look like a failed run."""
        with suppress(OSError):  # a full disk, a deleted folder: the next session counts by images
            update_record(str(self.save_dir), wandb_step=self._step)
        try:
            self.experiment.finish()
        except Exception as error:
            print(f"note: W&B did not finish ({error}); stats.jsonl has all", file=sys.stderr)

    def log_picture(self, key: str, picture: np.ndarray, kimg: float, caption: str) -> None:
        """Log one uint8 (H, W, C) picture."""
        import wandb

        image = wandb.Image(picture.squeeze(), caption=caption)
        self.log_metrics({key: image, X_AXIS: kimg})

    def _declare(self, names: Iterable[str]) -> None:
        for name in set(names) - self._declared:
            self.experiment.define_metric(name, step_metric=X_AXIS)
            self._declared.add(name)


@rank_zero_only
def open_logger(
    run_dir: str | Path, mode: WandbMode, config: dict[str, Any], reached_images: int = 0
) -> KimgWandbLogger | None:
    """Open the W&B run of a run folder, or go on with it.

    Args:
        run_dir: Run folder; keeps the W&B id, so that a resumed run is one curve.
        mode: See `framework.dashboard.resolve_mode`.
        config: Resolved settings.
        reached_images: Images seen by earlier sessions, from which W&B's steps go on.

    Returns:
        The logger; None in processes other than the first, if disabled, or if W&B cannot be used.
    """
    folder = Path(run_dir)
    run_id = os.environ.get("WANDB_RUN_ID") or _own_run_id(
        folder, speaks=resolve_mode(mode) != "disabled"
    )
    run = open_run(run_dir, mode, job_type="train", config=config, id=run_id, resume="allow")
    if run is None:
        return None
    write_text(folder / _ID_FILE, f"{run.id}\n")
    update_record(folder, wandb_folder=_identity(folder))
    return KimgWandbLogger(run, run_dir, reached_images)


def _own_run_id(folder: Path, speaks: bool) -> str | None:
    """Return the W&B id of this very folder; None if it has none, or is a copy of one that has."""
    id_file = folder / _ID_FILE
    run_id = id_file.read_text(encoding="utf-8").strip() if id_file.is_file() else None
    owner = read_record(folder).get("wandb_folder")
    if not run_id or not isinstance(owner, list) or len(owner) != 3:
        return run_id or None
    place, *number = _identity(folder)
    if owner[0] == place or owner[1:] == number:
        return run_id
    if speaks:
        print(
            f"note: {folder} is a copy of {owner[0]}: it gets a W&B run of its own; to go on with "
            f"the other's curve, set WANDB_RUN_ID={run_id}",
            file=sys.stderr,
        )
    return None


def _identity(folder: Path) -> list[str | int]:
    """Return what tells a folder from its copies: path, device and inode."""
    facts = folder.stat()
    return [str(folder.resolve()), facts.st_dev, facts.st_ino]
