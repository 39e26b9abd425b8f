"""The sheets of an encoder's run: pictures, with their reconstructions below."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from framework.media.images import to_uint8


class Pairs:
    """The same pictures all through a run, in rows: pictures, their reconstructions, and so on.

    Args:
        pictures: Pictures, uint8, shape (M, C, H, W); some, evenly spaced, are shown.
        columns: Columns of a sheet.
        count: Pictures on a sheet, reconstructions included.
        reconstruct: Function from pictures (N, C, H, W) in [-1, 1] to their reconstructions.
    """

    def __init__(
        self,
        pictures: Tensor,
        columns: int,
        count: int,
        reconstruct: Callable[[Tensor], Tensor],
    ) -> None:
        shown = min(columns * max(1, count // columns // 2), len(pictures))
        picks = torch.linspace(0, len(pictures) - 1, shown).long()
        self.columns, self.reconstruct = columns, reconstruct
        self.pictures = pictures[picks].float() / 127.5 - 1

    def begin(self) -> dict[str, np.ndarray]:
        """Return what the untrained encoder makes: about the mean picture."""
        return {"reconstructions_init": self._sheet()}

    def now(self) -> dict[str, np.ndarray]:
        """Return the current reconstructions."""
        return {"reconstructions": self._sheet()}

    def _sheet(self) -> np.ndarray:
        reconstructions = to_uint8(self.reconstruct(self.pictures))
        rows = []
        for first in range(0, len(reconstructions), self.columns):
            part = slice(first, first + self.columns)
            rows += [self._row(to_uint8(self.pictures[part])), self._row(reconstructions[part])]
        return np.concatenate(rows)

    def _row(self, pictures: np.ndarray) -> np.ndarray:
        """Return a whole row, white where pictures are missing."""
        missing = self.columns - len(pictures)
        return np.pad(pictures, ((0, missing), (0, 0), (0, 0), (0, 0)), constant_values=255)
