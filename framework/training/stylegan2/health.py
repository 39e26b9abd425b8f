"""Signs that a run seldom ends well, printed once, when they begin.

None of them ends a run: each is a reason to look at the pictures. The limits were set by the
statistics of runs that went well, where none of them is reached.
"""

from collections.abc import Iterator
from typing import Any

import lightning
import torch
from torch import Tensor

from framework.training.callbacks import KimgCallback
from framework.training.phased import Sign
from framework.training.randomness import keyed_generator
from framework.training.stylegan2.settings import StyleGAN2Settings

DIVERSITY = "Guard/diversity"
_LABELS, _EACH = 4, 4
# Untrained networks lie around 2, trained ones around 1.
_ALIKE, _ALIKE_TICKS = 0.1, 2
# Healthy runs pass 0.95 in a single early tick (Karras et al. 2020, ADA, aim at 0.6).
_SURE, _SURE_TICKS = 0.95, 5
# The others compare real with generated pictures: there the sign of an output says nothing.
_LOSSES_WITH_SIGNS = ("nonsaturating", "hinge")


class Diversity(KimgCallback):
    """Reports how different the averaged generator's pictures are, in terms of the data's own.

    The standard deviation over pictures of fixed latents that share a label, averaged over all
    pixels, divided by that of as many pictures of the data, whatever their labels: around 1 for a
    generator as diverse as its data, 0 for one that draws one picture only, or one a class. The
    first process draws; the others have nothing to add. If the data are all alike, it is empty.
    """

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Draw latents and pictures, the same in every session of a run."""
        super().on_train_start(trainer, pl_module)
        if not trainer.is_global_zero:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        rng = keyed_generator("cpu", pl_module.seed, "diversity")
        count = _LABELS * _EACH
        self.z = torch.randn(count, pl_module.generator_ema.z_dim, generator=rng)
        picks = torch.randint(len(data.images), (count,), generator=rng)
        self.labels = data.label_table[picks[:_LABELS]].repeat_interleave(_EACH, dim=0)
        self.of_data = _spread(data.images[picks].float() / 127.5 - 1)

    @torch.no_grad()
    def at_mark(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Generate pictures and compare their diversity with the data's."""
        draws = trainer.is_global_zero and self.of_data > 0
        pl_module.stats.report(DIVERSITY, self._ratio(pl_module) if draws else torch.empty(0))

    def _ratio(self, pl_module: Any) -> Tensor:
        z, labels = self.z.to(pl_module.device), self.labels.to(pl_module.device)
        fakes = pl_module.generator_ema(z, labels, noise_mode="const")
        return _spread(fakes.float().clamp(-1, 1)) / self.of_data.to(pl_module.device)


def _spread(pictures: Tensor) -> Tensor:
    """Return the mean standard deviation within groups of pictures (N, C, H, W); shape ()."""
    return pictures.unflatten(0, (_LABELS, _EACH)).std(dim=1).mean()


def signs(mean: dict[str, float], settings: StyleGAN2Settings) -> Iterator[Sign]:
    """Yield the signs in the averages of a tick, given by name."""
    diversity = mean.get(DIVERSITY, 1.0)
    yield Sign(
        "collapse",
        _ALIKE_TICKS,
        diversity < _ALIKE,
        f"generated pictures are all alike ({diversity:.2f} of the data's diversity): the "
        "generator has collapsed; begin again, or from an earlier model, with a higher "
        "--model.regularization.r1_gamma or a lower --model.lr",
    )
    ada = settings.augmentation
    adaptive = settings.adaptive and ada.ada_target is not None
    at_limit = adaptive and mean.get("Progress/augment", 0.0) >= ada.ada_p_max - 1e-6
    yield Sign(
        "p at its limit",
        1,
        at_limit,
        f"ADA's p has reached its limit, --model.augmentation.ada_p_max {ada.ada_p_max:g}: the "
        "discriminator overfits in spite of it; more pictures, or a smaller "
        "--model.networks.channel_base, help more",
    )
    sure = mean.get("Loss/signs/real", 0.0)
    yield Sign(
        "overfitting",
        _SURE_TICKS,
        # While p rises, something is being done about it.
        settings.loss in _LOSSES_WITH_SIGNS and sure > _SURE and (at_limit or not adaptive),
        f"the discriminator knows the pictures by heart (r_t {sure:.2f}) and teaches little; "
        + ("more pictures help" if adaptive else "--model.augment ada, or more pictures, help"),
    )
