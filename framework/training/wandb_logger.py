"""Lightning's W&B logger with images seen as the x-axis."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import WandbLogger

from framework.dashboard import WandbMode, open_run
from framework.files import write_text

X_AXIS = "Progress/kimg"
_ID_FILE = "wandb-id.txt"


class KimgWandbLogger(WandbLogger):
    """Logs metrics and pictures under their own names against `Progress/kimg`.

    Lightning declares its own step for every name at once, so each name is declared again, alone,
    when it first appears.
    """

    def __init__(self, run: Any, save_dir: str | Path) -> None:
        super().__init__(experiment=run, save_dir=str(save_dir))
        self._declared, self._failed = {X_AXIS}, False
        run.define_metric(X_AXIS)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log scalars or media; `Progress/kimg` should be among them.

        A failure of W&B's is told once and never ends a training.
        """
        try:
            self._declare(metrics)
            super().log_metrics(dict(metrics), step)
        except Exception as error:
            if not self._failed:
                print(f"note: W&B takes no more ({error}); stats.jsonl has all", file=sys.stderr)
            self._failed = True

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
    run_dir: str | Path, mode: WandbMode, config: dict[str, Any]
) -> KimgWandbLogger | None:
    """Open, or go on with, the W&B run of a run folder.

    Args:
        run_dir: Run folder; remembers the W&B id, so that a resumed run is one curve.
        mode: See `framework.dashboard.resolve_mode`.
        config: Resolved settings.

    Returns:
        The logger; None in processes other than the first, if disabled, or if W&B cannot be used.
    """
    id_file = Path(run_dir) / _ID_FILE
    known = id_file.read_text(encoding="utf-8").strip() if id_file.is_file() else None
    run = open_run(run_dir, mode, job_type="train", config=config, id=known, resume="allow")
    if run is None:
        return None
    write_text(id_file, f"{run.id}\n")
    return KimgWandbLogger(run, run_dir)
