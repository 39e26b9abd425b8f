"""The sheets of a generator's run: pictures of fixed latents, beside pictures of the data."""

from typing import Any

import numpy as np
import torch

from framework.media.images import to_uint8
from framework.training.data import TrainingImages
from framework.training.randomness import keyed_generator
from framework.training.run_folder import CONFIG

_BATCH = 16


class FixedLatents:
    """Pictures that the averaged generator makes of the same latents all through a run.

    Args:
        module: Training module with the `generator_ema` to show.
        data: The pictures and labels of the run.
        count: Number of pictures.
    """

    def __init__(self, module: Any, data: TrainingImages, count: int) -> None:
        rng = keyed_generator("cpu", module.seed, "grid")
        self.module = module
        self.z = torch.randn(count, module.generator.z_dim, generator=rng)
        picks = torch.randperm(len(data.images), generator=rng)[:count]
        self.labels = data.label_table[picks].repeat(-(-count // len(picks)), 1)[:count]
        self.reals = data.images[picks]

    def begin(self) -> dict[str, np.ndarray]:
        """Return pictures of the data and of the untrained generator."""
        return {"reals": self.reals.permute(0, 2, 3, 1).numpy(), "fakes_init": self._fakes()}

    def now(self) -> dict[str, np.ndarray]:
        """Return the generator's current pictures."""
        return {"fakes": self._fakes()}

    @torch.no_grad()
    def _fakes(self) -> np.ndarray:
        device, pictures = self.module.device, []
        for z, c in zip(self.z.split(_BATCH), self.labels.split(_BATCH), strict=True):
            images = self.module.generator_ema(z.to(device), c.to(device), noise_mode="const")
            pictures.append(to_uint8(images))
        return np.concatenate(pictures)


def generator_card(name: str, seen_kimg: float, facts: dict[str, Any]) -> str:
    """Return the model card of a snapshot, Markdown."""
    height, width = facts["size"]
    sheet = f"../fakes{name.removeprefix('network-')}.png"
    return f"""# {name}

StyleGAN2 generator, {width}x{height} px, averaged weights after {seen_kimg:g} thousand images.

- Data: {facts["count"]} pictures of `{facts["source"]}`. Their licence is not known to the trainer:
  add it here before passing this folder on.
- Quality: not measured; `python train.py validate` measures a run, `{sheet}` shows it.
- Made by: `python train.py fit --config ../{CONFIG}`
"""
