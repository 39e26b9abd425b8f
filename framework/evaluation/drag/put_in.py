"""Pictures put into a model of any family, for the benchmark of drags."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from framework.evaluation.inversion.baselines import StageRunner
from framework.evaluation.stopwatch import Stopwatch
from framework.inversion.deltas import personal, shell
from framework.inversion.diffusion import STEPS, invert_diffusion, suited
from framework.inversion.settings import TuneSettings
from framework.media.images import to_float
from framework.models.diffusion.attention import DEPTH
from framework.models.diffusion.generator import DiffusionGenerator

_KEPT = 16  # inversions in memory: the rows of a task ask for the same ones


@dataclass(frozen=True)
class Variant:
    """How a picture is put into a diffusion model and drawn from it; others have no choice.

    Args:
        lora_steps: Steps of the identity LoRA; 0 for none.
        strength: Share of DDIM's steps between picture and latents; None for the model's.
        reference: Share of the attention layers before the first that is shared; 1 shares none.
        settings: Settings of the drag that differ.
    """

    lora_steps: int = STEPS
    strength: float | None = None
    reference: float = DEPTH
    settings: tuple[tuple[str, Any], ...] = ()


class Own(NamedTuple):
    """A picture in a model.

    Attributes:
        generator: The model, changed for the picture where that is a stage.
        ws: Its latents.
        cpu_seconds: Seconds of one core that it took.
    """

    generator: Any
    ws: Tensor
    cpu_seconds: float


class PutIn:
    """Puts pictures into a model: all stages of the inversion of its kind.

    Args:
        runner: Function that returns the stages for a StyleGAN2; called when first needed.
        generator: The model.
    """

    def __init__(self, runner: Callable[[], StageRunner], generator: Any) -> None:
        self._make, self._generator = runner, generator
        self._runner: StageRunner | None = None
        self._kept: dict[tuple[bytes, int, float | None], Own] = {}

    def __call__(self, picture: np.ndarray, variant: Variant | None = None) -> Own:
        """Put a picture, uint8 (H, W, C), in; None is the usual way."""
        variant = variant or Variant()
        key = picture.tobytes(), variant.lora_steps, variant.strength
        if key not in self._kept:
            while len(self._kept) >= _KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = self._inverted(to_float(picture[None]), variant)
        own = self._kept[key]
        if isinstance(own.generator, DiffusionGenerator):
            return own._replace(generator=_suited(own.generator, variant))
        return own

    def _inverted(self, picture: Tensor, variant: Variant) -> Own:
        generator = self._generator
        watch = Stopwatch(torch.device("cpu"))
        if isinstance(generator, DiffusionGenerator):
            generator, tune = _suited(generator, variant), suited(TuneSettings())
            stages = ("embed", "tune") if variant.lora_steps else ("embed",)
            tune = replace(tune, steps=variant.lora_steps)
            *_, last = invert_diffusion(generator, picture, stages, tune)
            deltas = None if last.deltas is None else last.deltas.half()
            own, ws = personal(generator, deltas=deltas), last.ws  # type: ignore[arg-type]
        else:
            if self._runner is None:
                self._runner = self._make()
                watch = Stopwatch(torch.device("cpu"))
            *_, result = self._runner.results(picture)
            own, ws = result.generator, result.ws
            assert ws is not None
        return Own(own, ws, watch.spent()["work_seconds"] or 0.0)


def _suited(generator: DiffusionGenerator, variant: Variant) -> DiffusionGenerator:
    """A model around the same weights with a variant's level and attention."""
    changed: Any = shell(generator)  # type: ignore[arg-type]
    changed.reference = variant.reference
    if variant.strength is not None:
        changed.strength = variant.strength
    return changed
