"""A diffusion model as a `Draggable`: its states are noisy pictures, its features a U-Net's.

Latent optimisation at one time step (Shi et al. 2024, "DragDiffusion", section 3.3).
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from framework.drag.interface import View
from framework.drag.settings import DragSettings
from framework.drag.statistics import Statistics
from framework.drag.stylegan2 import check_latents
from framework.errors import UserError
from framework.models.diffusion.generator import DiffusionGenerator, feature_block
from framework.models.frozen import gradients

OF_STYLEGAN2 = frozenset({"dragline", "latent-transformer"})


class Diffusion:
    """A U-Net at the time step of the latents; the picture is denoised on demand.

    The trainable part of a state is the noisy picture; the one that the edit began with, which
    lies beside it, is what the attention of the picture refers to.

    Args:
        generator: A frozen model.
        settings: The block whose features are compared.

    Raises:
        UserError: If the model does not have the block.
    """

    def __init__(self, generator: DiffusionGenerator, settings: DragSettings | None = None) -> None:
        settings = settings or DragSettings()
        if settings.method in OF_STYLEGAN2:
            raise UserError(
                f"{settings.method}: needs the latents of a StyleGAN2; a diffusion model takes"
                " dragdiffusion, draggan or freedrag",
                "method",
            )
        self.generator = generator
        self.img_size = int(generator.img_size[0]), int(generator.img_size[1])
        self._block = feature_block(generator.unet, settings.feature_resolution, generator.places)

    def own(self, state: Tensor) -> Tensor:
        """A copy of latents, shape (1, 2·C, h·w) or (2·C, h·w)."""
        weights = next(self.generator.parameters())
        dtype = torch.float64 if weights.dtype == torch.float64 else torch.float32
        with gradients(False):
            ws = check_latents(self.generator, state).detach()
            return ws.to(weights.device, dtype, copy=True)

    def trainable(self, state: Tensor) -> Tensor:
        """The noisy picture, shape (1, C, h·w)."""
        return state[:, : self.generator.channels]

    def moved(self, state: Tensor, update: Tensor) -> Tensor:
        """Latents with the update added to the noisy picture."""
        ws = state.clone()
        ws[:, : self.generator.channels] += update
        return ws

    def view(self, state: Tensor) -> View:
        """Features at the latents' level, and the noisy picture of the level below."""
        generator = self.generator
        x = generator.parts(state.detach())[0].requires_grad_(torch.is_grad_enabled())
        output, features = generator.looked_at(x, self._block)
        below = generator.schedule.step(x, output, generator.t, generator.before(generator.t))
        features, sketch = features.to(x.dtype), self._estimate(x, output).detach()
        if below.shape[2:] != features.shape[2:]:
            below = interpolate(below, features.shape[2:], mode="area")
        return View(state, x, features, below, output, generator.space.sketch(sketch))

    def gradient(self, view: View, loss: Tensor, keep: bool = False) -> Tensor:
        """Gradient with respect to the noisy picture."""
        (gradient,) = torch.autograd.grad(loss, view.leaf, retain_graph=keep)
        return gradient.flatten(2)

    def picture(self, state: Tensor, view: View | None = None) -> Tensor:
        """The picture, denoised from the latents."""
        return self.generator.synthesis(state)

    def showing(self, picture: Tensor, state: Tensor) -> Tensor:
        """The latents of a picture, which the model draws again exactly, referring to itself."""
        with gradients(False):
            return self.generator.inverted(picture.to(state.dtype).clamp(-1, 1))

    def finer(self, state: Tensor) -> Tensor | None:
        """Nothing: the features are the finest but one that there are."""
        return None

    def maps(self, view: View) -> list[Tensor]:
        """The features, and the picture that the U-Net sees in the noise, at its resolution."""
        return [view.features, self._estimate(view.leaf, view.rest)]

    def _estimate(self, x: Tensor, output: Tensor) -> Tensor:
        """The picture that the U-Net sees in the noise, in what it works on."""
        return self.generator.schedule.estimates(x, output, self.generator.t)[0]

    def statistics(self) -> Statistics:
        """Refuse: noise has no covariance that would say what pictures look like."""
        raise UserError("a diffusion model has no statistics of latents", "method")

    def realism(self, picture: Tensor) -> Tensor | None:
        """No judge."""
        return None

    def predicted(self, view: View, points: Tensor, moves: Tensor) -> Any:
        """No network that predicts updates."""
        return None
