"""Second stage: TediGAN's instance-level optimisation of latents (Xia et al. 2021, section 3.2)."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping
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
    return _refine(generator, target, start, settings, encoder, statistics)


def _refine(
    generator: Generator,
    target: Target,
    start: Tensor,
    settings: RefineSettings,
    encoder: StyleEncoder | None,
    statistics: StyleStatistics,
) -> Iterator[InversionStep]:
    """The loop in one piece; nothing is yielded inside a `with`."""
    deadline = deadline_of(settings.max_seconds)
    rng = torch.Generator().manual_seed(settings.seed)
    weights = {n: getattr(settings, n) for n in ("pixel", "perceptual", "encoder", "prior")}
    weights["noise"] = settings.noise_weight

    with gradients(False):
        network = in_float32(shell(generator))
        origin = _origin(network, encoder)
        # The variables: latents, and noise maps if enabled; each picture has its own rows.
        moving = {"ws": start}
        if settings.noise == "optimise":
            moving |= noise_maps(network, len(start))
        optimizers = {name: Adam.new(value) for name, value in moving.items()}
        if settings.space == "w":
            optimizers["ws"] = Adam.new(start[:, :1])
        rows = torch.arange(len(start), device=start.device)
        finished = torch.zeros_like(rows, dtype=torch.bool)
        best = no_best(target.pictures) | moving
        best["perceptual"] = best["loss"]
        latest: dict[str, Tensor] = {}
    step, diverged = 0, False

    while True:
        with gradients(True):
            moving = {name: value.detach().requires_grad_() for name, value in moving.items()}
            maps = {name: value for name, value in moving.items() if name != "ws"}
            ws = moving["ws"]
            if settings.latent_noise > 0:
                ws = ws + _shake(optimizers["ws"].mean[:1], step, settings, statistics, rng)
            images = picture(network, ws, maps)
            visible = target.visible(images)
            terms = target.terms(visible)
            if encoder is not None:
                terms["encoder"] = _encoder_term(encoder, visible, ws, origin, statistics)
            if settings.prior > 0:
                # Not deviations squared: a root has no gradient at `w_avg`, where many begin.
                terms["prior"] = statistics.normalise(ws).square().mean(dim=(1, 2))
            if maps:
                terms["noise"] = noise_loss(maps.values())
            loss = weighted_sum(terms, weights)

        with gradients(False):
            finite = loss.isfinite()
            if step == 0 and not bool(finite.all()):
                raise UserError("the model gives NaN or infinity for these latents or pictures")
            latest = with_rows(latest or {"loss": loss, **terms}, rows, {"loss": loss, **terms})
            candidate = {
                "loss": loss,
                "step": torch.full_like(rows, step),
                "images": images,
                "ws": ws,
            }
            candidate |= {"perceptual": terms.get("perceptual", loss), **maps}
            better = torch.nonzero(loss < best["loss"][rows])[:, 0]
            best = with_rows(best, rows[better], {n: t[better] for n, t in candidate.items()})
            over = ~finite
            if settings.stop is not None:
                over = over | (best["perceptual"][rows] <= settings.stop)
            finished = finished.index_copy(0, rows, over)
            diverged = diverged or not bool(finite.all())
            status = status_of(
                "diverged" if diverged else "done",
                bool(over.all()),
                step >= settings.steps,
                time.monotonic() >= deadline,
            )

        yield InversionStep(
            stage="refine",
            step=step,
            status=status,
            ws=best["ws"],
            noise={name: best[name] for name in maps},
            deltas=None,
            loss=latest["loss"],
            best_loss=best["loss"],
            best_step=best["step"],
            finished=finished,
            terms={name: value for name, value in latest.items() if name != "loss"},
            images=best["images"],
        )
        if status != "running":
            return

        with gradients(True):
            grads = torch.autograd.grad(loss.sum(), list(moving.values()))
        with gradients(False):
            lr = settings.lr * ramp(step, settings.steps)
            for (name, value), gradient in zip(moving.items(), grads, strict=True):
                if name == "ws" and settings.space == "w":
                    gradient = gradient.sum(dim=1, keepdim=True)
                optimizers[name], update = adam_update(optimizers[name], gradient, lr)
                if name == "ws":
                    moving[name] = value.detach() + update * statistics.w_std
                else:
                    moving[name] = _standardised(value.detach() + update)
            if bool(over.any()):
                rows, target = rows[~over], target.rows(~over)
                moving = {name: value[~over] for name, value in moving.items()}
                optimizers = {name: _rows(adam, ~over) for name, adam in optimizers.items()}
        step += 1
        # Free this step's graph before the next is made: half the memory.
        del ws, maps, images, visible, terms, loss, candidate, grads


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
