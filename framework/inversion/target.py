"""The photographs that an inversion approaches, checked, and the distance of pictures to them."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from framework.errors import UserError
from framework.inversion.losses import pixel_loss
from framework.inversion.settings import RefineSettings, TuneSettings
from framework.inversion.step import Status
from framework.models.features.distance import Distance, masked
from framework.models.stylegan2 import Generator

_LARGEST = 4.0  # above any overshoot of a generator, below any picture in 0 … 255


@dataclass(frozen=True, eq=False)
class Target:
    """Photographs to compare with pictures.

    Args:
        pictures: Photographs (N, C, H, W), about [-1, 1].
        weight: Weight of their pixels, shape (N, 1, H, W); None for everywhere.
        distance: Perceptual distance; None for pixels alone.
        features: Features of the photographs, from `distance`.
    """

    pictures: Tensor
    weight: Tensor | None = None
    distance: Distance | None = None
    features: tuple[Tensor, ...] = ()

    def visible(self, images: Tensor) -> Tensor:
        """Put the photographs' own pixels into pictures (N, C, H, W) where the weight is 0.

        Networks look around each pixel: only thus is the gradient outside exactly zero.
        """
        return images if self.weight is None else masked(images, self.pictures, self.weight)

    def terms(self, visible: Tensor) -> dict[str, Tensor]:
        """Return distances of pictures, (N,) each: "pixel" and, with a distance, "perceptual"."""
        terms = {"pixel": pixel_loss(visible, self.pictures, self.weight)}
        if self.distance is not None:
            features = self.distance.features(visible)
            terms["perceptual"] = self.distance.compare(features, [*self.features], self.weight)
        return terms

    def rows(self, keep: Tensor) -> "Target":
        """Select photographs by a mask (N,)."""
        return replace(
            self,
            pictures=self.pictures[keep],
            weight=None if self.weight is None else self.weight[keep],
            features=tuple(level[keep] for level in self.features),
        )


def check_inputs(
    generator: Generator,
    pictures: Any,
    ws: Any,
    distance: Distance | None,
    settings: RefineSettings | TuneSettings,
    weight: Any,
) -> tuple[Target, Tensor]:
    """Check photographs and latents of refine and tune against the settings."""
    if settings.stop is not None and distance is None:
        raise UserError("stop: there is no perceptual distance to compare with it")
    measures = settings.perceptual > 0 or settings.stop is not None
    target = check_target(generator, pictures, weight, distance if measures else None)
    return target, check_ws(generator, ws, len(target.pictures))


def check_target(
    generator: Generator, pictures: Any, weight: Any = None, distance: Distance | None = None
) -> Target:
    """Check photographs against a model; the result's tensors are on its device, copies.

    Raises:
        UserError: If the photographs are not finite pictures of the model's size in [-1, 1], or
            the weight is negative somewhere, zero everywhere or of another size.
    """
    device = next(generator.parameters()).device
    height, width = generator.img_size
    expected = f"(N, {generator.img_channels}, {height}, {width})"
    if not isinstance(pictures, Tensor) or not pictures.is_floating_point():
        raise UserError(f"pictures {type(pictures).__name__}: expected a float tensor {expected}")
    shape = tuple(pictures.shape)
    if len(shape) != 4 or shape[0] < 1 or f"(N, {shape[1]}, {shape[2]}, {shape[3]})" != expected:
        raise UserError(f"pictures {shape}: this model takes {expected}")
    pictures = pictures.detach().to(device, torch.float32, copy=True)
    if not bool((pictures.abs() <= _LARGEST).all()):  # also false for NaN
        raise UserError("pictures: values must be from -1 to 1, without NaN or infinity")
    weight = None if weight is None else _check_weight(weight, shape).to(device)
    features = () if distance is None else tuple(distance.features(pictures))
    return Target(pictures, weight, distance, features)


def _check_weight(weight: Any, shape: tuple[int, ...]) -> Tensor:
    """Check the weight of pictures of this shape; return it as (N, 1, H, W)."""
    count, _, height, width = shape
    weight = torch.as_tensor(weight).detach().float()
    if weight.ndim == 2:
        weight = weight[None, None]
    if weight.shape[1:] != (1, height, width) or len(weight) not in (1, count):
        raise UserError(
            f"weight {tuple(weight.shape)}: expected ({count}, 1, {height}, {width}), or its last"
            " two sides"
        )
    if not bool(((weight >= 0) & weight.isfinite()).all()):
        raise UserError("weight: values must be at least 0, without NaN or infinity")
    if not bool(weight.flatten(1).any(dim=1).all()):
        raise UserError("weight: zero everywhere, so that nothing of the picture counts")
    return weight.expand(count, 1, height, width).clone()


def check_ws(generator: Generator, ws: Any, count: int) -> Tensor:
    """Check latents of `count` pictures; return a copy, (N, num_ws, w_dim), on the model's device.

    Raises:
        UserError: If the latents are not finite numbers of that shape.
    """
    expected = (count, generator.num_ws, generator.w_dim)
    if not isinstance(ws, Tensor) or not ws.is_floating_point():
        raise UserError(f"latents {type(ws).__name__}: expected a float tensor {expected}")
    if ws.ndim == 2 and count == 1:
        ws = ws[None]
    if tuple(ws.shape) != expected:
        raise UserError(
            f"latents {tuple(ws.shape)}: this model takes {expected} for these pictures"
        )
    if not bool(ws.isfinite().all()):
        raise UserError("latents hold NaN or infinity: embed the picture again")
    device = next(generator.parameters()).device
    return ws.detach().to(device, torch.float32, copy=True)


def weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Sum weighted terms to a loss (N,); a term without a weight is ignored."""
    return sum((weights[n] * t for n, t in terms.items() if n in weights), torch.zeros(()))


def no_best(pictures: Tensor) -> dict[str, Tensor]:
    """Make the best of each of N pictures before any step, in the form for `with_rows`."""
    count, device = len(pictures), pictures.device
    return {
        "loss": torch.full((count,), torch.inf, device=device),
        "step": torch.zeros(count, dtype=torch.long, device=device),
        "images": torch.zeros_like(pictures),
    }


def with_rows(
    whole: Mapping[str, Tensor], rows: Tensor, values: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Copy tensors (N, ...) with `rows`, numbers (M,), replaced by `values` (M, ...).

    The tensors of earlier steps stay unchanged.
    """
    return {n: t.index_copy(0, rows, values[n].detach().to(t.dtype)) for n, t in whole.items()}


def deadline_of(max_seconds: float | None) -> float:
    """Return the deadline, by `time.monotonic`."""
    return math.inf if max_seconds is None else time.monotonic() + max_seconds


def status_of(over: Status, all_over: bool, out_of_steps: bool, out_of_time: bool) -> Status:
    """Return a step's status, which is `over` once nothing is left to do."""
    if all_over:
        return over
    if out_of_steps:
        return "max_steps"
    return "max_seconds" if out_of_time else "running"
