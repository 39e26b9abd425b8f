"""The sheets of a run: pictures, and what is drawn from what is said of them."""

from typing import Any

import numpy as np
import torch

from framework.media.images import to_uint8

_PSI = (0.0, 0.7)  # of the rows below the pictures: what is meant, and one of what it leaves open


class Described:
    """The same pictures all through a run; below each, two drawn from what is said of it.

    Args:
        training: The run.
        pictures: uint8 (M, C, H, W), those of its pairs.
        columns: Columns of a sheet.
        count: Pictures on a sheet.
    """

    def __init__(self, training: Any, pictures: torch.Tensor, columns: int, count: int) -> None:
        rows = 1 + len(_PSI)
        shown = columns * max(1, count // columns // rows)
        pairs, index = training.shown(shown)
        self.training, self.columns = training, min(columns, len(index))
        self.count = len(index) // self.columns * self.columns
        self.pictures = pictures[: self.count].permute(0, 2, 3, 1).numpy()
        self.inputs = pairs.inputs[: self.count, -1]

    def begin(self) -> dict[str, np.ndarray]:
        """Return what is drawn before anything was learned."""
        return {"described_init": self._sheet()}

    def now(self) -> dict[str, np.ndarray]:
        """Return what is drawn now."""
        return {"described": self._sheet()}

    def _sheet(self) -> np.ndarray:
        drawn = [to_uint8(self.training.drawn(self.inputs, psi)) for psi in _PSI]
        rows = [self.pictures, *drawn]
        parts = zip(*(np.split(row, self.count // self.columns) for row in rows), strict=True)
        return np.concatenate([row for part in parts for row in part])
