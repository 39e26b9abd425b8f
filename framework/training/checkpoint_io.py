"""Lightning's checkpoints through our own reader and writer."""

from pathlib import Path
from typing import Any

from lightning.pytorch.plugins.io import CheckpointIO

from framework.checkpoint import read_checkpoint, remove_checkpoint, write_checkpoint


class WholeCheckpointIO(CheckpointIO):
    """Writes beside the target, flushes, renames, and lets every error out.

    Lightning's own writer stages in the temporary folder, which may lie on another disk and turns
    the rename into a copy, and swallows permission errors (its issue 21800).
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Save `checkpoint` (tensors and plain values) to `path`, whole or not at all."""
        write_checkpoint(checkpoint, path)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Load `path` to the CPU; code inside is never run, whatever the caller asks for."""
        return read_checkpoint(path)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete the checkpoint and its manifest."""
        remove_checkpoint(path)
