"""The sheets of a diffusion model's run: pictures of fixed noise, beside pictures of the data."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from framework.media.images import to_uint8
from framework.training.randomness import keyed_generator

_MOST, _BATCH = 32, 16  # each picture costs as many evaluations as it has steps


class FixedNoise:
    """Samples from the same noise all through a run.

    Args:
        draw: Function from noise (N, C, h, w) to pictures.
        shape: (C, h, w) of the noise of one picture.
        images: The pictures of the data, uint8 (N, C, H, W).
        columns: Columns of a sheet.
        count: Pictures on a sheet, a multiple of `columns`.
        seed: Seed of the noise.
    """

    def __init__(
        self,
        draw: Callable[[Tensor], Tensor],
        shape: tuple[int, int, int],
        images: Tensor,
        columns: int,
        count: int,
        seed: int,
    ) -> None:
        rng = keyed_generator("cpu", seed, "grid")
        shown = max(columns, min(count, _MOST // columns * columns))
        self.draw, self.noise = draw, torch.randn(shown, *shape, generator=rng)
        picks = torch.randint(len(images), (shown,), generator=rng)
        self.reals = images[picks].permute(0, 2, 3, 1).numpy()

    def begin(self) -> dict[str, np.ndarray]:
        """Return pictures of the data."""
        return {"reals": self.reals}

    def now(self) -> dict[str, np.ndarray]:
        """Return the network's current pictures."""
        parts = [to_uint8(self.draw(noise)) for noise in self.noise.split(_BATCH)]
        return {"fakes": np.concatenate(parts)}
