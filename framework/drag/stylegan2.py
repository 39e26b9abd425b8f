"""StyleGAN2 as a `Draggable`: its states are `ws`, its features those of a synthesis block."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.drag.interface import View
from framework.drag.redrawing import apart, importance
from framework.drag.settings import DragSettings
from framework.drag.statistics import Statistics, effects_of, scales_of, spread_of
from framework.drag.statistics_cache import cached_statistics, is_cached
from framework.errors import InvalidEdit, UserError
from framework.models.editors.latent_transformer import LatentTransformer
from framework.models.frozen import NOISE_MODE, Adam, adam_update, gradients
from framework.models.stylegan2 import Discriminator, Generator
from framework.models.stylegan2.work import synthesis_gflop

W_SAMPLES, PSI = 8192, 0.7
MOST_TOGETHER, TOGETHER_GFLOP = 32, 64.0  # pictures at once
LEAST_PROBES, MOST_PROBES, BUDGET_GFLOP = 16, 192, 1500.0  # more were no better
REDRAWING_STEPS, REDRAWING_RATE = 100, 0.05  # of a given picture, by Adam
PAPER_BLOCK = 5  # index of the paper's feature block, the sixth: b4, b8, b16, b32, b64, b128


class StyleGAN2:
    """A generator's synthesis, stopped at the feature block and finished on demand.

    Args:
        generator: A frozen generator.
        settings: Feature block, latent space and layers.
        discriminator: The generator's frozen discriminator, which judges realism, or None.
        editor: The generator's frozen latent transformer, which predicts updates, or None.
        origin: The generator that this one was tuned from: its statistics serve as well.

    Raises:
        UserError: If the model does not have the block.
    """

    def __init__(
        self,
        generator: Generator,
        settings: DragSettings | None = None,
        discriminator: Discriminator | None = None,
        editor: LatentTransformer | None = None,
        origin: Generator | None = None,
    ) -> None:
        settings = settings or DragSettings()
        self.generator, self.synthesis = generator, generator.synthesis
        self.discriminator, self.editor, self._settings = discriminator, editor, settings
        self._origin = generator if origin is None else origin
        height, width = generator.img_size
        self.img_size = int(height), int(width)
        resolutions = self.synthesis.resolutions
        if settings.method == "dragline" and settings.feature_resolution is None:
            resolutions = resolutions[:-1] or resolutions  # `maps` has the last one, too
        self.resolution = _feature_block(settings.feature_resolution, resolutions)
        self.in_common = settings.latent_space == "w"  # one vector moves all latents
        self.layers = generator.num_ws if self.in_common else min(settings.layers, generator.num_ws)

    def own(self, state: Tensor) -> Tensor:
        """A copy of latents, shape (1, num_ws, w_dim) or (num_ws, w_dim)."""
        weights = next(self.generator.parameters())
        dtype = torch.float64 if weights.dtype == torch.float64 else torch.float32
        with gradients(False):
            ws = check_latents(self.generator, state).detach()
            return ws.to(weights.device, dtype, copy=True)

    def trainable(self, state: Tensor) -> Tensor:
        """The first `layers` latents, shape (1, layers, w_dim); (1, 1, w_dim) in W."""
        return state[:, : 1 if self.in_common else self.layers]

    def moved(self, state: Tensor, update: Tensor) -> Tensor:
        """Latents with the update added to those that move."""
        ws = state.clone()
        ws[:, : self.layers] += update
        return ws

    def view(self, state: Tensor) -> View:
        """Features and running picture at the feature block."""
        ws = state.detach().requires_grad_(torch.is_grad_enabled())
        partial = self.synthesis.partial(ws, self.resolution, noise_mode=NOISE_MODE)
        running = None if partial.img is None else partial.img.to(ws.dtype)
        return View(state, ws, partial.x.to(ws.dtype), running, partial)

    def gradient(self, view: View, loss: Tensor, keep: bool = False) -> Tensor:
        """Gradient with respect to the latents that move."""
        (gradient,) = torch.autograd.grad(loss, view.leaf, retain_graph=keep)
        gradient = gradient[:, : self.layers]
        return gradient.sum(dim=1, keepdim=True) if self.in_common else gradient

    def picture(self, state: Tensor, view: View | None = None) -> Tensor:
        """The picture, by finishing the synthesis of a view, or from the latents alone."""
        if view is None:
            return self.synthesis(state, noise_mode=NOISE_MODE)
        return self.synthesis.finish(view.rest, state, noise_mode=NOISE_MODE)

    def showing(self, picture: Tensor, state: Tensor) -> Tensor:
        """Latents whose picture is near to a given one, by a descent from those of another."""
        optimizer, weights = Adam.new(self.trainable(state)), None
        for step in range(REDRAWING_STEPS):
            with gradients(True):
                ws = state.detach().requires_grad_(True)
                shown = self.synthesis(ws, noise_mode=NOISE_MODE).to(ws.dtype)
                weights = importance(shown.detach(), picture) if weights is None else weights
                gradient = self.gradient(View(state, ws, shown), apart(shown, picture, weights))
            with gradients(False):
                rate = REDRAWING_RATE * min(1, 2 * (1 - step / REDRAWING_STEPS))
                optimizer, update = adam_update(optimizer, gradient, rate)
                state = self.moved(state, update)
        return state

    def finer(self, state: Tensor) -> Tensor | None:
        """Features of the last block, where the feature block is an earlier one."""
        last = self.synthesis.resolutions[-1]
        if self.resolution == last:
            return None
        return self.synthesis.partial(state, last, noise_mode=NOISE_MODE).x.to(state.dtype)

    def maps(self, view: View) -> list[Tensor]:
        """Features of the feature block and of the last block, and the picture."""
        last = self.synthesis.resolutions[-1]
        if view.rest.resolution == last:
            return [view.features, self.picture(view.leaf, view)]
        whole = self.synthesis.extend(view.rest, view.leaf, last, noise_mode=NOISE_MODE)
        picture = self.synthesis.finish(whole, view.leaf, noise_mode=NOISE_MODE)
        return [view.features, whole.x.to(view.leaf.dtype), picture.to(view.leaf.dtype)]

    def statistics(self) -> Statistics:
        """Statistics of this generator and these layers, measured once and cached."""
        origin = self
        if self._origin is not self.generator:
            origin = StyleGAN2(self._origin, self._settings)
        device = next(self.generator.parameters()).device
        return cached_statistics(self._statistics_name, device, origin._measure)

    @property
    def has_statistics(self) -> bool:
        """Whether they were measured before."""
        return is_cached(self._statistics_name)

    @property
    def _statistics_name(self) -> str:
        moving = "w" if self.in_common else str(self.layers)
        return f"{self._origin.digest[:32]}-{moving}-b{self.resolution}"

    def realism(self, picture: Tensor) -> Tensor | None:
        """The discriminator's logit."""
        if self.discriminator is None or self.generator.c_dim:
            return None
        return self.discriminator(picture).sum()

    def predicted(self, view: View, points: Tensor, moves: Tensor) -> Tensor | None:
        """The latent transformer's update; of latents that it does not move, zero."""
        editor = self.editor
        if editor is None:
            return None
        with gradients(False):
            ws, features = view.state, view.features
            if self.resolution != editor.resolution:
                features = self.synthesis.partial(ws, editor.resolution, noise_mode=NOISE_MODE).x
            update = editor.update(ws, features.float(), points, moves, self.img_size).to(ws.dtype)
            if self.in_common:
                return update.mean(dim=1, keepdim=True)
            return F.pad(update, (0, 0, 0, max(0, self.layers - editor.layers)))[:, : self.layers]

    def _measure(self) -> Statistics:
        """Measure the statistics on sampled latents and their pictures."""
        generator, rng = self.generator, torch.Generator().manual_seed(0)
        like = next(generator.parameters())

        def samples(count: int, psi: float) -> Tensor:
            z = torch.randn(count, generator.z_dim, generator=rng).to(like)
            c = torch.zeros(count, generator.c_dim).to(like) if generator.c_dim else None
            return generator.mapping(z, c, truncation_psi=psi)

        work = max(synthesis_gflop(generator), 1e-9)
        together = max(1, min(MOST_TOGETHER, int(TOGETHER_GFLOP / work)))
        probes = max(LEAST_PROBES, min(MOST_PROBES, int(BUDGET_GFLOP / (3 * work))))
        with gradients(False):
            spread = spread_of(samples(W_SAMPLES, 1.0)[:, 0].float())
            scales = scales_of(self.maps(self.view(samples(together, PSI))))
        effects = []
        for _ in range(-(-probes // together)):
            with gradients(True):
                view = self.view(samples(together, PSI))
                picture = self.maps(view)[-1]
                noise = torch.randn(picture.shape, generator=rng).to(picture)
                effects.append((self.gradient(view, (picture * noise).sum()) @ spread).flatten(1))
        return Statistics(spread, effects_of(torch.cat(effects)), scales)


def check_latents(generator: Any, ws: Any) -> Tensor:
    """Check one picture's latents against a model; return them with shape (1, num_ws, w_dim).

    Raises:
        InvalidEdit: If they are not finite numbers of that shape.
    """
    expected = (1, generator.num_ws, generator.w_dim)
    if not isinstance(ws, Tensor) or not ws.is_floating_point():
        raise InvalidEdit(f"latents {type(ws).__name__}: expected a float tensor {expected}")
    shape = tuple(ws.shape)
    if shape == expected[1:]:
        ws = ws[None]
    elif shape != expected:
        raise InvalidEdit(f"latents {shape}: this model takes (1, num_ws, w_dim) = {expected}")
    if not torch.isfinite(ws).all():
        raise InvalidEdit("latents hold NaN or infinity: invert or generate the picture again")
    return ws


def _feature_block(resolution: int | None, resolutions: tuple[int, ...]) -> int:
    """Nominal side of the block whose features are compared."""
    if resolution is None:
        return resolutions[min(PAPER_BLOCK, len(resolutions) - 1)]
    if resolution not in resolutions:
        raise UserError(
            f"{resolution}: this model has {', '.join(map(str, resolutions))};"
            " preset=draggan takes what there is",
            "feature_resolution",
        )
    return resolution
