"""Second stage: TediGAN's instance-level optimisation of latents (Xia et al. 2021, section 3.2)."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from framework.errors import UserError
from framework.inversion.deltas import shell
from framework.inversion.embed import mean_ws
from framework.inversion.losses import encoder_loss
from framework.inversion.settings import RefineSettings
from framework.inversion.step import InversionStep
from framework.inversion.target import (
    Target,
    check_inputs,
    deadline_of,
    no_best,
    status_of,
    weighted_sum,
    with_rows,
)
from framework.models.encoders.style_encoder import StyleEncoder
from framework.models.features.blocks import in_float32
from framework.models.features.distance import Distance
from framework.models.frozen import NOISE_MODE, Adam, adam_update, gradients
from framework.models.stylegan2 import Generator
from framework.models.stylegan2.statistics import StyleStatistics, style_statistics

_SAMPLES = 2000  # number of w for the spread, if it was not measured yet
RAMP_UP, RAMP_DOWN = 0.05, 0.25  # shares of the steps (Karras et al. 2020, appendix D)
NOISE_UNTIL = 0.75  # share of the steps with noise on the latents
_SMALLEST_NOISE_PX = 8  # smallest side at which noise maps are compared with themselves


def refine(
    generator: Generator,
    pictures: Any,
    ws: Any,
    distance: Distance | None,
    settings: RefineSettings | None = None,
    *,
    encoder: StyleEncoder | None = None,
    statistics: StyleStatistics | None = None,
    weight: Any = None,
) -> Iterator[InversionStep]:
    """Optimise latents until their pictures match the photographs.

    Inputs are checked at once; each step is computed when it is requested. To stop, request no
    more; to continue, begin again at a step's `ws`. Each photograph has its own optimiser and its
    own best, and is left out once finished: the result is the one it would have alone.

    Args:
        generator: A frozen generator; only read.
        pictures: Photographs, shape (N, C, H, W), the model's size, in [-1, 1].
        ws: Latents to begin with, shape (N, num_ws, w_dim).
        distance: Perceptual distance, on the model's device; None for pixels alone.
        settings: Settings of the stage.
        encoder: Encoder that keeps the latents near its own: "in domain" (Zhu et al. 2020).
        statistics: Statistics of the generator's latents; measured here if None.
        weight: Weight of pixels, (N or 1, 1, H, W) or (H, W); those of weight 0 may become
            anything. None for everywhere.

    Returns:
        The steps, beginning with the pictures as they are (step 0), ending with one whose status is
        not "running".

    Raises:
        UserError: If pictures, latents, weight or settings do not fit; from the first step, if the
            model gives NaN for these latents.
    """
    settings = settings or RefineSettings()
    with gradients(False):
        target, start = check_inputs(generator, pictures, ws, distance, settings, weight)
        if statistics is None:
            statistics = style_statistics(generator, _SAMPLES)
    encoder = encoder if settings.encoder > 0 else None
    return _steps(partial(_Refinement, generator, target, start, settings, encoder, statistics))


def _steps(begin: Callable[[], "_Refinement"]) -> Iterator[InversionStep]:
    """The loop; nothing is yielded inside a `with`."""
    with gradients(False):
        run = begin()
    while True:
        with gradients(True):
            drawn = run.draw()
        with gradients(False):
            step = run.judge(drawn)
        yield step
        if step.status != "running":
            return
        with gradients(True):
            slopes = run.slopes(drawn)
        del drawn, step  # a graph goes before the next is made: half the memory
        with gradients(False):
            run.move(slopes)
        del slopes


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Pictures (M, C, H, W) of latents (M, num_ws, w_dim), and their loss (M,) with its terms."""

    ws: Tensor
    images: Tensor
    terms: dict[str, Tensor]
    loss: Tensor


class _Refinement:
    """The variables of all photographs, the best so far of each, and the rules of a step.

    Of N photographs the M that are not finished are moved on; `_rows` are their numbers.
    """

    def __init__(
        self,
        generator: Generator,
        target: Target,
        start: Tensor,
        settings: RefineSettings,
        encoder: StyleEncoder | None,
        statistics: StyleStatistics,
    ) -> None:
        self._target, self._settings = target, settings
        self._encoder, self._statistics = encoder, statistics
        self._deadline = deadline_of(settings.max_seconds)
        self._rng = torch.Generator().manual_seed(settings.seed)
        self._weights = {
            "pixel": settings.pixel,
            "perceptual": settings.perceptual,
            "encoder": settings.encoder,
            "prior": settings.prior,
            "noise": settings.noise_weight,
        }
        self._network = in_float32(shell(generator))
        self._origin = _origin(self._network, encoder)
        self._step, self._diverged = 0, False
        # Latents, and noise maps if enabled; each photograph has its own rows.
        self._moving = {"ws": start}
        if settings.noise == "optimise":
            self._moving |= noise_maps(self._network, len(start))
        self._optimizers = {name: Adam.new(value) for name, value in self._moving.items()}
        if settings.space == "w":
            self._optimizers["ws"] = Adam.new(start[:, :1])
        self._rows = torch.arange(len(start), device=start.device)
        self._over = self._finished = torch.zeros_like(self._rows, dtype=torch.bool)
        self._best = no_best(target.pictures) | self._moving
        self._best["perceptual"] = self._best["loss"]
        self._latest: dict[str, Tensor] = {}

    def draw(self) -> _Drawn:
        """Draw the pictures of this step's latents, with the graph of their loss."""
        settings, statistics = self._settings, self._statistics
        self._moving = {n: value.detach().requires_grad_() for n, value in self._moving.items()}
        ws, maps = self._moving["ws"], self._maps(self._moving)
        if settings.latent_noise > 0:
            like = self._optimizers["ws"].mean[:1]
            ws = ws + _shake(like, self._step, settings, statistics, self._rng)
        images = picture(self._network, ws, maps)
        visible = self._target.visible(images)
        terms = self._target.terms(visible)
        if self._encoder is not None:
            terms["encoder"] = _encoder_term(self._encoder, visible, ws, self._origin, statistics)
        if settings.prior > 0:
            # Not deviations squared: a root has no gradient at `w_avg`, where many begin.
            terms["prior"] = statistics.normalise(ws).square().mean(dim=(1, 2))
        if maps:
            terms["noise"] = noise_loss(maps.values())
        return _Drawn(ws, images, terms, weighted_sum(terms, self._weights))

    def judge(self, drawn: _Drawn) -> InversionStep:
        """Keep what is better than before, and say which photographs are finished.

        Raises:
            UserError: If the loss is not finite at the start.
        """
        finite = drawn.loss.isfinite()
        if self._step == 0 and not bool(finite.all()):
            raise UserError("the model gives NaN or infinity for these latents or pictures")
        losses = {"loss": drawn.loss, **drawn.terms}
        self._latest = with_rows(self._latest or losses, self._rows, losses)
        self._keep_better(drawn)
        self._over = ~finite
        if self._settings.stop is not None:
            near = self._best["perceptual"][self._rows] <= self._settings.stop
            self._over = self._over | near
        self._finished = self._finished.index_copy(0, self._rows, self._over)
        self._diverged = self._diverged or not bool(finite.all())
        status = status_of(
            "diverged" if self._diverged else "done",
            bool(self._over.all()),
            self._step >= self._settings.steps,
            time.monotonic() >= self._deadline,
        )
        return InversionStep(
            stage="refine",
            step=self._step,
            status=status,
            ws=self._best["ws"],
            noise=self._maps(self._best),
            deltas=None,
            loss=self._latest["loss"],
            best_loss=self._best["loss"],
            best_step=self._best["step"],
            finished=self._finished,
            terms={name: value for name, value in self._latest.items() if name != "loss"},
            images=self._best["images"],
        )

    def slopes(self, drawn: _Drawn) -> dict[str, Tensor]:
        """Return the gradient of the loss for each variable."""
        slopes = torch.autograd.grad(drawn.loss.sum(), list(self._moving.values()))
        return dict(zip(self._moving, slopes, strict=True))

    def move(self, slopes: dict[str, Tensor]) -> None:
        """Make a step of Adam, and leave finished photographs out from now on."""
        lr = self._settings.lr * ramp(self._step, self._settings.steps)
        if self._settings.space == "w":
            slopes = slopes | {"ws": slopes["ws"].sum(dim=1, keepdim=True)}
        for name, slope in slopes.items():
            before = self._moving[name].detach()
            self._optimizers[name], update = adam_update(self._optimizers[name], slope, lr)
            if name == "ws":
                self._moving[name] = before + update * self._statistics.w_std
            else:
                self._moving[name] = _standardised(before + update)
        if bool(self._over.any()):
            left = ~self._over
            self._rows, self._target = self._rows[left], self._target.rows(left)
            self._moving = {name: value[left] for name, value in self._moving.items()}
            self._optimizers = {name: _rows(adam, left) for name, adam in self._optimizers.items()}
        self._step += 1

    def _keep_better(self, drawn: _Drawn) -> None:
        better = torch.nonzero(drawn.loss < self._best["loss"][self._rows])[:, 0]
        candidate = {
            "loss": drawn.loss,
            "step": torch.full_like(self._rows, self._step),
            "images": drawn.images,
            "perceptual": drawn.terms.get("perceptual", drawn.loss),
            **self._moving,
            "ws": drawn.ws,  # with the noise on them
        }
        rows = {name: value[better] for name, value in candidate.items()}
        self._best = with_rows(self._best, self._rows[better], rows)

    def _maps(self, of: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: of[name] for name in self._moving if name != "ws"}


def ramp(step: int, steps: int) -> float:
    """Return an update's share of the largest learning rate (Karras et al. 2020, appendix D)."""
    down = min(1.0, (1.0 - step / steps) / RAMP_DOWN)
    return (0.5 - 0.5 * math.cos(math.pi * down)) * min(1.0, (step + 1) / (RAMP_UP * steps))


def picture(network: Generator, ws: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
    """Generate pictures of latents with some of the network's tensors exchanged, by full name.

    The network is the caller's own `shell`: its tensors are exchanged and put back, which no other
    user may see.
    """
    inner = {name.removeprefix("synthesis."): value for name, value in tensors.items()}
    return functional_call(network.synthesis, inner, (ws,), {"noise_mode": NOISE_MODE})


def noise_maps(generator: Generator, count: int) -> dict[str, Tensor]:
    """Copy a generator's noise maps by buffer name, (count, 1, h, w) each."""
    return {
        name: maps.detach().float().expand(count, 1, *maps.shape).clone()
        for name, maps in generator.named_buffers()
        if name.endswith("noise_const")
    }


def noise_loss(maps: Iterable[Tensor]) -> Tensor:
    """Return the autocorrelation (N,) of noise maps (N, 1, h, w): L_noise (Karras et al. 2020, D).

    It is the squared mean product of neighbours to the right and below, at every scale of a
    pyramid whose levels keep unit variance, summed over scales and maps.
    """
    total = torch.zeros(())
    for level in maps:
        while True:
            for dim in (2, 3):
                total = total + (level * level.roll(1, dim)).mean(dim=(1, 2, 3)).square()
            if min(level.shape[2:]) <= _SMALLEST_NOISE_PX:
                break
            level = 2 * F.avg_pool2d(level, 2)
    return total


def _standardised(maps: Tensor) -> Tensor:
    """Scale each picture's noise maps to zero mean and unit variance."""
    maps = maps - maps.mean(dim=(1, 2, 3), keepdim=True)
    return maps * maps.square().mean(dim=(1, 2, 3), keepdim=True).clamp_min(1e-8).rsqrt()


def _shake(
    like: Tensor,
    step: int,
    settings: RefineSettings,
    statistics: StyleStatistics,
    rng: torch.Generator,
) -> Tensor:
    """Draw noise on the latents, the same for all pictures: none depends on its neighbours."""
    left = max(0.0, 1.0 - step / (NOISE_UNTIL * max(1, settings.steps)))
    strength = settings.latent_noise * left**2
    noise = torch.randn(like.shape, generator=rng).to(like)
    return strength * statistics.w_std * noise


def _origin(network: Generator, encoder: StyleEncoder | None) -> tuple[Tensor, Tensor] | None:
    """Return the start of a residual encoder: the picture of `w_avg` and `w_avg`, one row each."""
    if encoder is None or not encoder.residual:
        return None
    ws = mean_ws(network)
    return picture(network, ws, {}), ws


def _encoder_term(
    encoder: StyleEncoder,
    visible: Tensor,
    ws: Tensor,
    origin: tuple[Tensor, Tensor] | None,
    statistics: StyleStatistics,
) -> Tensor:
    """Return the squared difference of latents and encoded pictures, in variances of w."""
    current = None
    if origin is not None:
        current = (origin[0].expand_as(visible), origin[1].expand_as(ws))
    encoded = encoder(visible, current=current)
    return encoder_loss(statistics.normalise(ws), statistics.normalise(encoded))


def _rows(adam: Adam, keep: Tensor) -> Adam:
    return Adam(adam.count, adam.mean[keep], adam.square[keep])
