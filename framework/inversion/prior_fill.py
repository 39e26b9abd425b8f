"""What a mask covers, made up by a generator (Bau et al. 2019, Semantic photo manipulation).

The photograph is inverted with the inside of the mask free, so the generator's own idea of the
rest fills it; its weights are tuned to this photograph's surroundings; and the picture is composed
at a block in between: inside the mask the features of latents near the mean, where the generator
is at its best, outside those of the latents that match the photograph.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from framework.errors import UserError
from framework.inversion.deltas import personal, shell
from framework.inversion.embed import embed
from framework.inversion.refine import refine
from framework.inversion.settings import RefineSettings, TuneSettings
from framework.inversion.tune import tune
from framework.models.encoders.style_encoder import StyleEncoder
from framework.models.features.distance import Distance
from framework.models.frozen import NOISE_MODE, gradients
from framework.models.stylegan2 import Generator
from framework.models.stylegan2.statistics import StyleStatistics
from framework.settings import Settings


@dataclass(frozen=True)
class PriorFillSettings(Settings):
    """Settings of a filling by a generator.

    Args:
        inside: Latents of what is made up: a strong prior keeps them usual.
        outside: Latents of what is around it, which only has to match.
        tune: Tuning of the weights to what is around.
        composed_at: Nominal resolution of the block at which both are composed; None for the
            middle one.

    Raises:
        UserError: If a value has the wrong type or is out of range.
    """

    inside: RefineSettings = field(default_factory=lambda: RefineSettings(steps=120, prior=0.2))
    outside: RefineSettings = field(default_factory=lambda: RefineSettings(steps=80))
    tune: TuneSettings = field(default_factory=lambda: TuneSettings(steps=60))
    composed_at: int | None = None

    def __post_init__(self) -> None:
        self._nested("inside", RefineSettings)
        self._nested("outside", RefineSettings)
        self._nested("tune", TuneSettings)
        self._whole("composed_at", least=1)


class PriorFillStep(NamedTuple):
    """A filling after some steps.

    Attributes:
        picture: The generator's picture, (1, C, H, W), about [-1, 1]; what counts is in the hole.
        stage: What is done now.
        step: Number of the step, from 0.
        steps: Number of the last one.
    """

    picture: Tensor
    stage: str
    step: int
    steps: int


def fill_by_prior(
    generator: Generator,
    picture: Tensor,
    hole: Tensor,
    distance: Distance | None,
    settings: PriorFillSettings | None = None,
    *,
    encoder: StyleEncoder | None = None,
    statistics: StyleStatistics | None = None,
    valid: Tensor | None = None,
) -> Iterator[PriorFillStep]:
    """Make up what is in a hole.

    Args:
        generator: A frozen generator; only read.
        picture: The photograph as the model sees it, (1, C, H, W) in [-1, 1]; in the hole a first
            guess, such as a smooth transition, which only the encoder sees.
        hole: What is to be made up, bool (H, W).
        distance: Perceptual distance, on the model's device; None for pixels alone.
        settings: Settings.
        encoder: Encoder for the first guess of latents; None begins at `w_avg`.
        statistics: Statistics of the generator's latents; measured here if None.
        valid: Where the picture is of the photograph at all, bool (H, W); None for everywhere.

    Returns:
        The steps; the last one's picture is composed.

    Raises:
        UserError: If hole or picture do not fit the model, or the hole leaves nothing to match.
    """
    settings = settings or PriorFillSettings()
    if tuple(hole.shape) != tuple(generator.img_size):
        raise UserError(f"hole {tuple(hole.shape)}: this model's pictures are {generator.img_size}")
    weight = ~hole.bool() if valid is None else ~hole.bool() & valid.bool()
    if not bool(hole.any()) or not bool(weight.any()):
        raise UserError("the hole must cover a part of what the model sees, and not all of it")
    resolution = _composed_at(generator, settings.composed_at)
    return _fill(
        generator, picture, hole.bool(), weight.float(), distance, settings, encoder, statistics,
        resolution,
    )  # fmt: skip


def _fill(
    generator: Generator,
    picture: Tensor,
    hole: Tensor,
    weight: Tensor,
    distance: Distance | None,
    settings: PriorFillSettings,
    encoder: StyleEncoder | None,
    statistics: StyleStatistics | None,
    resolution: int,
) -> Iterator[PriorFillStep]:
    counts = [settings.inside.steps, settings.outside.steps, settings.tune.steps]
    steps, done = sum(counts), 0
    *_, guess = embed(generator, picture, encoder, None, distance, weight)

    inside = guess
    for inside in refine(
        generator, picture, guess.ws, distance, settings.inside, statistics=statistics,
        weight=weight,
    ):  # fmt: skip
        yield PriorFillStep(_shown(inside.images), "inside", inside.step, steps)
    done += counts[0]

    outside = inside
    for outside in refine(
        generator, picture, inside.ws, distance, settings.outside, statistics=statistics,
        weight=weight,
    ):  # fmt: skip
        yield PriorFillStep(_shown(outside.images), "outside", done + outside.step, steps)
    done += counts[1]

    last = outside
    for last in tune(
        generator, picture, outside.ws, distance, settings.tune, statistics=statistics,
        weight=weight,
    ):  # fmt: skip
        yield PriorFillStep(_shown(last.images), "tune", done + last.step, steps)

    tuned = generator if last.deltas is None else personal(generator, deltas=last.deltas)
    composed = compose(tuned, inside.ws, outside.ws, hole, resolution)
    yield PriorFillStep(composed, "composed", steps, steps)


def compose(
    generator: Generator, inside: Tensor, outside: Tensor, mask: Tensor, resolution: int
) -> Tensor:
    """Compose the features of two latents and finish the picture (Bau et al. 2019, eq. 3).

    Args:
        generator: A frozen generator.
        inside: Latents that count inside the mask, (N, num_ws, w_dim).
        outside: Latents that count outside it, and in all later layers.
        mask: bool (H, W).
        resolution: Nominal resolution of the block whose features are composed.

    Returns:
        The picture, (N, C, H, W).
    """
    with gradients(False):
        synthesis = shell(generator).synthesis
        here, around = (synthesis.partial(ws, resolution, NOISE_MODE) for ws in (inside, outside))
        share = F.interpolate(mask[None, None].float(), around.x.shape[2:], mode="area")
        share = share.to(around.x)
        x = around.x.lerp(here.x, share)
        img = None
        if around.img is not None and here.img is not None:
            img = around.img.lerp(here.img, share.to(around.img))
        return synthesis.finish(replace(around, x=x, img=img), outside, NOISE_MODE).float()


def _composed_at(generator: Generator, resolution: int | None) -> int:
    """Return the block at which to compose, checked.

    Raises:
        UserError: If the model has no such block.
    """
    resolutions = list(generator.synthesis.resolutions)
    if resolution is None:
        return resolutions[len(resolutions) // 2]
    if resolution not in resolutions:
        raise UserError(f"{resolution}: this model has blocks {resolutions}", "composed_at")
    return resolution


def _shown(images: Tensor | None) -> Tensor:
    assert images is not None
    return images
