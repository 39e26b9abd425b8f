"""Third stage: pivotal tuning of the generator to the photographs (Roich et al. 2022)."""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from framework.errors import UserError
from framework.inversion.deltas import WeightDeltas, shell
from framework.inversion.losses import pixel_loss
from framework.inversion.refine import picture
from framework.inversion.settings import Locality, Parameters, TuneSettings
from framework.inversion.step import InversionStep
from framework.inversion.target import (
    Target,
    check_inputs,
    deadline_of,
    status_of,
    weighted_sum,
)
from framework.models.features.blocks import in_float32
from framework.models.features.distance import Distance
from framework.models.frozen import Adam, adam_update, gradients
from framework.models.stylegan2 import Generator
from framework.models.stylegan2.statistics import StyleStatistics, style_statistics

USUAL_FAN_IN = 512 * 3 * 3
_SAMPLES = 2000  # number of w for the spread, if it was not measured yet


def tune(
    generator: Generator,
    pictures: Any,
    ws: Any,
    distance: Distance | None,
    settings: TuneSettings | None = None,
    *,
    noise: Mapping[str, Tensor] | None = None,
    statistics: StyleStatistics | None = None,
    weight: Any = None,
) -> Iterator[InversionStep]:
    """Change a generator's weights until it makes the photographs from their latents, the pivots.

    Inputs are checked at once; each step is computed when it is requested. To stop, request no
    more. One set of changes serves all photographs; the best has the least mean loss. The generator
    itself is only read: the changes are differences, see `deltas.personal`.

    Args:
        generator: A frozen generator; only read.
        pictures: Photographs, shape (N, C, H, W), the model's size, in [-1, 1].
        ws: Their latents, shape (N, num_ws, w_dim), which stay fixed.
        distance: Perceptual distance, on the model's device; None for pixels alone.
        settings: Settings of the stage.
        noise: The photographs' noise maps from `refine`, (N, 1, h, w) by buffer name.
        statistics: Statistics of the generator's latents; measured here if None.
        weight: Weight of pixels, as in `refine`.

    Returns:
        The steps, beginning with the generator as it is (step 0), ending with one whose status is
        not "running".

    Raises:
        UserError: If pictures, latents, noise, weight or settings do not fit; from the first step,
            if the model gives NaN for these latents.
    """
    settings = settings or TuneSettings()
    with gradients(False):
        target, pivots = check_inputs(generator, pictures, ws, distance, settings, weight)
        maps = _check_noise(generator, noise or {}, len(pivots))
        if statistics is None and settings.locality is not None:
            statistics = style_statistics(generator, _SAMPLES)
    return _tune(generator, target, pivots, maps, settings, statistics)


def _tune(
    generator: Generator,
    target: Target,
    pivots: Tensor,
    maps: dict[str, Tensor],
    settings: TuneSettings,
    statistics: StyleStatistics | None,
) -> Iterator[InversionStep]:
    """The loop in one piece; nothing is yielded inside a `with`."""
    deadline = deadline_of(settings.max_seconds)
    rng = torch.Generator().manual_seed(settings.seed)
    weights = {"pixel": settings.pixel, "perceptual": settings.perceptual}
    count = len(pivots)

    with gradients(False):
        network = in_float32(shell(generator))
        originals = tuned_weights(network, settings.parameters)
        deltas = first_deltas(originals, settings.rank, rng)
        # Not torch.optim's Adam: making one imports a compiler, which takes over a second.
        rates = speeds(deltas, originals, settings.lr)
        factors = [factor.requires_grad_() for factor, _ in rates]
        optimizers = [Adam.new(factor) for factor in factors]
        best: InversionStep | None = None
        apart = pivots.new_zeros(count)
    step = 0

    while True:
        with gradients(True):
            changed = changed_weights(originals, deltas)
            images = picture(network, pivots, {**changed, **maps})
            terms = target.terms(target.visible(images))
            loss = weighted_sum(terms, weights)

        with gradients(False):
            losses = loss.detach()
            measured = {name: term.detach() for name, term in terms.items()}
            finite = bool(losses.isfinite().all())
            if best is None and not finite:
                raise UserError("the model gives NaN or infinity for these latents or pictures")
            if best is None or float(losses.mean()) < float(best.best_loss.mean()):
                best = InversionStep(
                    stage="tune",
                    step=step,
                    status="running",
                    ws=pivots,
                    noise=maps,
                    deltas=deltas.detach(),
                    loss=losses,
                    best_loss=losses,
                    best_step=torch.full((count,), step, device=pivots.device),
                    finished=torch.zeros(count, dtype=torch.bool, device=pivots.device),
                    terms=measured,
                    images=images.detach(),
                )
            near = torch.zeros_like(best.finished)
            if settings.stop is not None:
                near = best.terms["perceptual"] <= settings.stop
            status = status_of(
                "done" if finite else "diverged",
                not finite or bool(near.all()),
                step >= settings.steps,
                time.monotonic() >= deadline,
            )

        yield replace(
            best,
            step=step,
            status=status,
            loss=losses,
            finished=near,
            terms={**measured, "locality": apart},
        )
        if status != "running":
            return

        with gradients(True):
            total = loss.mean()
            if settings.locality is not None and (step + 1) % settings.locality.every == 0:
                assert statistics is not None
                ws = nearby(network, pivots, settings.locality, statistics, rng)
                change = difference_at(network, ws, changed, target.distance)
                total = total + settings.locality.weight * settings.locality.every * change
                apart = change.detach().expand(count)
            grads = torch.autograd.grad(total, factors)
        with gradients(False):
            for i, ((factor, lr), gradient) in enumerate(zip(rates, grads, strict=True)):
                optimizers[i], update = adam_update(optimizers[i], gradient, lr)
                factor.add_(update)
        step += 1
        del changed, images, terms, loss, grads, total


def tuned_weights(generator: Generator, parameters: Parameters) -> dict[str, Tensor]:
    """Return the weights that tuning may change, by name; never those of the mapping."""
    return {
        name: value.detach()
        for name, value in generator.named_parameters()
        if name.startswith("synthesis.") and (parameters == "all" or value.ndim == 4)
    }


def first_deltas(
    originals: Mapping[str, Tensor], rank: int | None, rng: torch.Generator
) -> WeightDeltas:
    """Make changes of weights, by name, that change nothing yet; `rng` is on the CPU.

    In a low-rank change A B only A is zero (Hu et al. 2022, section 4.1); rows of B have unit
    variance in sum, so that a step of A is about as large as one of a full change. Changes are full
    if `rank` is None or two factors are no smaller than the weight.
    """
    full, low_rank = {}, {}
    for name, weight in originals.items():
        rows = len(weight) if weight.ndim else 1
        columns = weight.numel() // rows
        if rank is None or rank * (rows + columns) >= weight.numel():
            full[name] = torch.zeros_like(weight)
        else:
            b = torch.randn(rank, columns, generator=rng) / math.sqrt(rank)
            low_rank[name] = (weight.new_zeros(rows, rank), b.to(weight))
    return WeightDeltas(full, low_rank)


def speeds(
    deltas: WeightDeltas, originals: Mapping[str, Tensor], lr: float
) -> list[tuple[Tensor, float]]:
    """Return the tensors to change with their learning rates: small layers may change faster.

    A step moves every weight by about the learning rate, and a layer's output by that times the
    root of its fan-in; `lr` is for a layer of PTI's generators, with `USUAL_FAN_IN`.
    """
    rates = []
    for name, weight in originals.items():
        fan_in = weight.numel() / len(weight) if weight.ndim in (2, 4) else 1
        factors = [deltas.full[name]] if name in deltas.full else [*deltas.low_rank[name]]
        rates += [(factor, lr * math.sqrt(USUAL_FAN_IN / fan_in)) for factor in factors]
    return rates


def changed_weights(originals: Mapping[str, Tensor], deltas: WeightDeltas) -> dict[str, Tensor]:
    """Add changes to the weights, differentiably."""
    changed = {name: originals[name] + delta for name, delta in deltas.full.items()}
    for name, (a, b) in deltas.low_rank.items():
        changed[name] = originals[name] + (a @ b).view_as(originals[name])
    return changed


def nearby(
    generator: Generator,
    pivots: Tensor,
    locality: Locality,
    statistics: StyleStatistics,
    rng: torch.Generator,
) -> Tensor:
    """Draw latents (samples, num_ws, w_dim) at distance `alpha` from a pivot, towards random ones.

    PTI, section 3.3. Each begins at one of the pivots (N, num_ws, w_dim); `rng` is on the CPU.
    """
    count, classes = locality.samples, generator.c_dim
    z = torch.randn(count, generator.z_dim, generator=rng).to(pivots)
    c = None
    if classes:
        labels = torch.randint(classes, (count,), generator=rng).to(pivots.device)
        c = torch.eye(classes, device=pivots.device)[labels]
    pivot = pivots[torch.randint(len(pivots), (count,), generator=rng).to(pivots.device)]
    way = generator.mapping(z, c) - pivot
    length = (way / statistics.w_std).square().mean(dim=(1, 2), keepdim=True).sqrt()
    return pivot + locality.alpha / length.clamp_min(1e-8) * way


def difference_at(
    network: Generator, ws: Tensor, changed: Mapping[str, Tensor], distance: Distance | None
) -> Tensor:
    """Return how far changed weights move other latents' pictures: mean of pixels plus distance."""
    with torch.no_grad():
        before = picture(network, ws, {})
    after = picture(network, ws, changed)
    apart = pixel_loss(after, before)
    if distance is not None:
        apart = apart + distance(after, before)
    return apart.mean()


def _check_noise(
    generator: Generator, noise: Mapping[str, Tensor], count: int
) -> dict[str, Tensor]:
    """Check noise maps of `count` pictures and copy them, (count, 1, h, w) each, to the device."""
    buffers, checked = dict(generator.named_buffers()), {}
    for name, maps in noise.items():
        own = buffers.get(name)
        if own is None or not isinstance(maps, Tensor) or maps.numel() != count * own.numel():
            raise UserError(
                f"noise map {name}: this model has none of {count} times this size; it belongs to"
                " another"
            )
        maps = maps.detach().to(own.device, torch.float32, copy=True)
        checked[name] = maps.reshape(count, 1, *own.shape[-2:])
    return checked
