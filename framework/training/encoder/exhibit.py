"""What an encoder's training shows: pictures, and below them what it makes of them."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from framework.media.images import to_uint8


class Pairs:
    """The same pictures all through a run, in rows: pictures, their reconstructions, and so on.

    Args:
        pictures: uint8, shape (M, C, H, W); some, evenly spaced, are shown.
        columns: Of a sheet.
        count: Pictures that a sheet has room for, reconstructions included.
        reconstruct: Pictures (N, C, H, W) in [-1, 1] to what is made of them.
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
        """What the untrained encoder makes: the mean picture, about."""
        return {"reconstructions_init": self._sheet()}

    def now(self) -> dict[str, np.ndarray]:
        """What the encoder makes."""
        return {"reconstructions": self._sheet()}

    def _sheet(self) -> np.ndarray:
        made = to_uint8(self.reconstruct(self.pictures))
        rows = []
        for first in range(0, len(made), self.columns):
            part = slice(first, first + self.columns)
            rows += [self._row(to_uint8(self.pictures[part])), self._row(made[part])]
        return np.concatenate(rows)

    def _row(self, pictures: np.ndarray) -> np.ndarray:
        """A whole row, white where pictures are missing."""
        missing = self.columns - len(pictures)
        return np.pad(pictures, ((0, missing), (0, 0), (0, 0), (0, 0)), constant_values=255)
