"""Noise schedules, and the deterministic steps between their noise levels (DDIM)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from framework.errors import UserError

PREDICTIONS = ("epsilon", "v_prediction", "sample")
_LARGEST_BETA = 0.999  # of the cosine schedule (Nichol & Dhariwal 2021, section 3.2)
_SPACINGS = ("leading", "trailing", "linspace")


@dataclass(frozen=True, eq=False)
class Schedule:
    """How much of a picture is left at each time step, and what the network predicts there.

    x_t = √ᾱ_t x_0 + √(1 - ᾱ_t) ε (Ho et al. 2020, eq. 4).

    Args:
        alphas_bar: ᾱ_t, falling, float32, shape (T,).
        prediction: One of `PREDICTIONS`.
        spacing: How few of the T steps are chosen, by diffusers' name.
        offset: Added to the chosen steps with the spacing "leading".
        final_alpha_bar: ᾱ of what lies before the first step: 1, or ᾱ_0 as Stable Diffusion has it.
    """

    alphas_bar: Tensor
    prediction: str = "v_prediction"
    spacing: str = "trailing"
    offset: int = 0
    final_alpha_bar: float = 1.0

    def __len__(self) -> int:
        return len(self.alphas_bar)

    def timesteps(self, steps: int) -> list[int]:
        """Return `steps` of the T time steps, rising (Lin et al. 2024, table 2)."""
        total = len(self)
        if not 1 <= steps <= total:
            raise UserError(f"{steps}: this model has {total} time steps", "inversion_steps")
        if self.spacing == "trailing":
            chosen = [round(total - i * total / steps) - 1 for i in range(steps)][::-1]
        elif self.spacing == "linspace":
            chosen = [round(i * (total - 1) / max(1, steps - 1)) for i in range(steps)]
        else:
            chosen = [min(total - 1, i * (total // steps) + self.offset) for i in range(steps)]
        return chosen

    def alpha_bar(self, t: int | Tensor | None, like: Tensor) -> Tensor:
        """Return ᾱ of a time step, or of a batch's, (N,), ready to multiply with `like`.

        None is the picture itself.
        """
        if t is None:
            return like.new_tensor(self.final_alpha_bar)
        values = self.alphas_bar.to(like.device)[t].to(like.dtype)
        return values.view(-1, *[1] * (like.ndim - 1)) if values.ndim else values

    def noised(self, x0: Tensor, noise: Tensor, t: int | Tensor | None) -> Tensor:
        """Return x_t."""
        alpha_bar = self.alpha_bar(t, x0)
        return alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise

    def velocity(self, x0: Tensor, noise: Tensor, t: int | Tensor) -> Tensor:
        """Return v_t = √ᾱ ε - √(1 - ᾱ) x_0 (Salimans & Ho 2022, section 4)."""
        alpha_bar = self.alpha_bar(t, x0)
        return alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * x0

    def estimates(self, x: Tensor, output: Tensor, t: int | Tensor) -> tuple[Tensor, Tensor]:
        """Return the picture and the noise that a network's output at x_t means."""
        alpha_bar = self.alpha_bar(t, x)
        signal, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        if self.prediction == "v_prediction":
            return signal * x - sigma * output, sigma * x + signal * output
        if self.prediction == "epsilon":
            return (x - sigma * output) / signal, output
        return output, (x - signal * output) / sigma

    def step(self, x: Tensor, output: Tensor, t: int | Tensor, to: int | None) -> Tensor:
        """Go from x_t to the noise level `to`, less or more (Song et al. 2021, eq. 12, η = 0)."""
        x0, noise = self.estimates(x, output, t)
        return self.noised(x0, noise, to)

    def snr(self, t: Tensor) -> Tensor:
        """Return the signal-to-noise ratio ᾱ / (1 - ᾱ), shape (N,)."""
        alpha_bar = self.alphas_bar.to(t.device)[t]
        return alpha_bar / (1 - alpha_bar)


def cosine_alphas_bar(steps: int) -> Tensor:
    """Return ᾱ of the cosine schedule, shape (steps,) (Nichol & Dhariwal 2021, eq. 17)."""

    def level(share: float) -> float:
        return math.cos((share + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [1 - level((i + 1) / steps) / level(i / steps) for i in range(steps)]
    kept = 1 - torch.tensor(betas, dtype=torch.float64).clamp(max=_LARGEST_BETA)
    return kept.cumprod(dim=0).float()


def without_last_signal(alphas_bar: Tensor) -> Tensor:
    """Return ᾱ with nothing of the picture left at the last step (Lin et al. 2024, algorithm 1)."""
    roots = alphas_bar.double().sqrt()
    roots = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
    return roots.square().float()


def min_snr_weight(snr: Tensor, gamma: float, prediction: str = "v_prediction") -> Tensor:
    """Return the weight of each squared error (Hang et al. 2023, eq. 8), for what is predicted.

    Args:
        snr: Signal-to-noise ratios, shape (N,).
        gamma: Largest weight of the error of the picture.
        prediction: What the error is of.
    """
    clamped = snr.clamp(max=gamma)
    if prediction == "v_prediction":
        return clamped / (snr + 1)
    return clamped / snr.clamp(min=1e-8) if prediction == "epsilon" else clamped


def schedule_of(config: Mapping[str, Any]) -> Schedule:
    """Return the schedule that a `scheduler_config.json` of diffusers describes.

    Any of its schedulers will do: they share these names, and the steps here are DDIM's.

    Raises:
        UserError: If it describes none, or one of another kind.
    """
    total = config.get("num_train_timesteps", 1000)
    if type(total) is not int or not 1 <= total <= 100_000:
        raise UserError(f"num_train_timesteps {total!r:.40}: expected a whole number up to 100000")
    kind, first, last = (
        config.get("beta_schedule", "linear"),
        _number(config, "beta_start", 1e-4),
        _number(config, "beta_end", 0.02),
    )
    if kind == "squaredcos_cap_v2":
        alphas_bar = cosine_alphas_bar(total)
    elif kind in ("linear", "scaled_linear"):
        power = 1 if kind == "linear" else 2
        betas = torch.linspace(first ** (1 / power), last ** (1 / power), total).double() ** power
        alphas_bar = (1 - betas).cumprod(dim=0).float()
    else:
        raise UserError(f"beta_schedule {kind!r:.40}: linear, scaled_linear, squaredcos_cap_v2")
    if config.get("rescale_betas_zero_snr"):
        alphas_bar = without_last_signal(alphas_bar)
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        raise UserError(f"prediction_type {prediction!r:.40}: {', '.join(PREDICTIONS)}")
    if prediction == "epsilon" and float(alphas_bar[-1]) == 0:
        raise UserError("prediction_type epsilon: with rescale_betas_zero_snr no picture is in it")
    spacing = config.get("timestep_spacing", "leading")
    if spacing not in _SPACINGS:
        raise UserError(f"timestep_spacing {spacing!r:.40}: {', '.join(_SPACINGS)}")
    offset = config.get("steps_offset", 0)
    final = 1.0 if config.get("set_alpha_to_one", True) else float(alphas_bar[0])
    return Schedule(alphas_bar, prediction, spacing, offset if type(offset) is int else 0, final)


def _number(config: Mapping[str, Any], name: str, default: float) -> float:
    value = config.get(name, default)
    if type(value) not in (int, float) or not 0 < value < 1:
        raise UserError(f"{name} {value!r:.40}: expected a number between 0 and 1")
    return float(value)
