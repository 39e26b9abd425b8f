"""Lightning's checkpoints, through our own reader and writer."""

import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO

from framework.errors import UserError
from framework.formats.run_checkpoint import (
    FORMAT_VERSION,
    read_checkpoint,
    remove_checkpoint,
    write_checkpoint,
)

_WEIGHTS = "weights"


class WholeCheckpointIO(CheckpointIO):
    """Writes beside the target, flushes, renames, and raises every error.

    Lightning's own writer stages in the temporary folder, which may be on another disk, where the
    rename becomes a copy, and swallows permission errors (its issue 21800).
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Save `checkpoint` (tensors and plain values) to `path`, whole or not at all.

        Raises:
            UserError: If the disk refuses.
        """
        if "dragline" not in checkpoint:
            # Bare weights, which a process that Lightning started hands back to its parent.
            checkpoint = {"dragline": {"format": FORMAT_VERSION}, _WEIGHTS: checkpoint}
        try:
            write_checkpoint(checkpoint, path)
        except (OSError, RuntimeError) as error:  # RuntimeError is how torch says "disk full"
            reason = getattr(error, "strerror", None) or str(error).strip().splitlines()[-1]
            raise UserError(
                f"{path}: not saved ({reason}; {_room(checkpoint, Path(path))}); the last "
                "checkpoint is good, the same command goes on from it"
            ) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Load `path` to the CPU; code in it is never run, whatever the caller asks for."""
        checkpoint = read_checkpoint(path)
        return checkpoint.get(_WEIGHTS, checkpoint)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete the checkpoint and its manifest."""
        remove_checkpoint(path)


def _room(checkpoint: Any, path: Path) -> str:
    """Return how much room a checkpoint takes and how much there is, in words."""
    need = f"{_tensor_bytes(checkpoint) / 1e6:.1f} MB needed"
    try:
        return f"{need}, {shutil.disk_usage(path.parent).free / 1e6:.1f} MB free"
    except OSError:
        return need


def _tensor_bytes(value: Any) -> int:
    """Return the memory of all tensors in nested tables and lists, in bytes."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return sum(map(_tensor_bytes, value))
    return value.nbytes if isinstance(value, torch.Tensor) else 0
