"""The stages of an inversion, one after another."""

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from framework.inversion.embed import embed
from framework.inversion.refine import refine
from framework.inversion.settings import InversionSettings
from framework.inversion.step import InversionStep
from framework.inversion.tune import tune
from framework.models.encoders.style_encoder import StyleEncoder
from framework.models.features.distance import Distance
from framework.models.frozen import gradients
from framework.models.stylegan2 import Generator
from framework.models.stylegan2.statistics import StyleStatistics, styles_of_seeds

_REFINES_SHARE = 0.75  # share of the seconds if tuning follows, whose few steps cost more
USUAL = 0.999  # quantile of latents of seeds, beyond which edits cannot be trusted


def invert(
    generator: Generator,
    pictures: Any,
    distance: Distance | None,
    settings: InversionSettings | None = None,
    *,
    encoder: StyleEncoder | None = None,
    statistics: StyleStatistics | None = None,
    weight: Any = None,
) -> Iterator[InversionStep]:
    """Find latents, and the changes of the generator, that make photographs.

    Arguments are as in `embed`, `refine` and `tune`, each of which begins with the best of the one
    before. Tuning finds one set of changes for all photographs: give one photograph for its own.

    Args:
        generator: A frozen generator; only read.
        pictures: Photographs, shape (N, C, H, W), the model's size, in [-1, 1].
        distance: Perceptual distance, on the model's device; None for pixels alone.
        settings: Stages and their settings.
        encoder: Encoder for the first guess; None begins at `w_avg`.
        statistics: Statistics of the generator's latents; measured here if None.
        weight: Weight of pixels, (N or 1, 1, H, W) or (H, W); None for everywhere.

    Returns:
        The steps of all stages in `settings`.

    Raises:
        UserError: If anything does not fit.
    """
    settings = settings or InversionSettings()
    encoder = encoder if "embed" in settings.stages else None
    settings = settings.suited(encoder is not None, encoder is not None and encoder.residual)
    refining, tuning = settings.refine, settings.tune
    assert refining is not None
    # Outside `steps`, so that inputs are checked at once.
    begun = embed(generator, pictures, encoder, settings.embed, distance, weight)

    def steps() -> Iterator[InversionStep]:
        limit = settings.max_seconds
        deadline = math.inf if limit is None else time.monotonic() + limit
        last = None
        for last in begun:
            if "embed" in settings.stages:
                yield last
        assert last is not None
        if "refine" in settings.stages:
            share = _REFINES_SHARE if "tune" in settings.stages else 1
            seconds = _left(deadline, refining.max_seconds, share)
            refined = refine(
                generator, pictures, last.ws, distance, replace(refining, max_seconds=seconds),
                encoder=encoder, statistics=statistics, weight=weight,
            )  # fmt: skip
            for last in refined:
                yield last
        if "tune" in settings.stages:
            seconds = _left(deadline, tuning.max_seconds)
            yield from tune(
                generator, pictures, last.ws, distance, replace(tuning, max_seconds=seconds),
                noise=last.noise, statistics=statistics, weight=weight,
            )  # fmt: skip

    return steps()


def _left(deadline: float, own: float | None, share: float = 1) -> float | None:
    """Return the seconds of a stage: its own limit, or its share of the rest."""
    left = max(0.0, share * (deadline - time.monotonic()))
    limits = [limit for limit in (own, left) if limit is not None and limit < math.inf]
    return min(limits, default=None)


def usual_deviations(
    generator: Generator, statistics: StyleStatistics, samples: int = 5000, seed: int = 1
) -> float:
    """Return the `USUAL` quantile of the distance of seeds' latents from `w_avg`, in deviations.

    A photograph's latents beyond it lie where the generator was not trained.
    """
    with gradients(False):
        styles = styles_of_seeds(generator, samples, seed)
        deviations = [statistics.deviations(ws[:, :1]) for ws in styles]
    return torch.cat(deviations).quantile(USUAL).item()
