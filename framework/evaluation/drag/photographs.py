"""Photographs for the benchmark of drags, inverted when a task first asks for them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from framework.data import ImageDataset
from framework.evaluation.inversion.baselines import StageRunner
from framework.media.images import to_float
from framework.models.stylegan2 import Generator

_KEPT = 4  # inversions in memory: all rows of a task ask for the same one


class Inverted(NamedTuple):
    """An inverted photograph: the generator is tuned to it where that is a stage."""

    generator: Generator
    ws: Tensor
    photo: Tensor


class Photographs:
    """Photographs of a folder, in an order shuffled once and for all.

    Args:
        dataset: Pictures of the model's size.
        runner: How they are inverted: all stages.
    """

    def __init__(self, dataset: ImageDataset, runner: StageRunner) -> None:
        self._dataset, self._runner = dataset, runner
        self.order: Sequence[int] = np.random.default_rng(0).permutation(len(dataset)).tolist()
        self._inverted: dict[int, Inverted] = {}

    def __len__(self) -> int:
        return len(self._dataset)

    def protocol(self) -> dict[str, Any]:
        """Facts on the photographs and how they are inverted; JSON values."""
        return {
            "fingerprint": self._dataset.fingerprint,
            "settings": self._runner.settings.to_dict(),
            "encoder": self._runner.encoder is not None,
            "perceptual": self._runner.distance.protocol(),
        }

    def name(self, place: int) -> str:
        """Name of the photograph at this place of the order."""
        return self._dataset.name(self.order[place])

    def photo(self, place: int) -> Tensor:
        """The photograph as the model sees it, (1, C, H, W) in [-1, 1]."""
        return to_float(self._dataset.image(self.order[place]).transpose(1, 2, 0)[None])

    def inverted(self, place: int) -> Inverted:
        """The photograph inverted through all stages."""
        if place not in self._inverted:
            photo = self.photo(place)
            *_, last = self._runner.results(photo)
            assert last.ws is not None and last.generator is not None
            while len(self._inverted) >= _KEPT:
                del self._inverted[next(iter(self._inverted))]
            self._inverted[place] = Inverted(last.generator, last.ws, photo)
        return self._inverted[place]
