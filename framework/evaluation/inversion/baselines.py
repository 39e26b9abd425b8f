"""Baselines of an inversion: no inversion, a training picture, a search of equal time.

And the inversion itself as a report sees it: one result at the end of each stage, timed.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

import torch
from torch import Tensor

from framework.evaluation.generator.neighbours import nearest_vectors
from framework.evaluation.stopwatch import Stopwatch
from framework.inversion.deltas import personal
from framework.inversion.embed import mean_ws
from framework.inversion.refine import refine
from framework.inversion.settings import InversionSettings, RefineSettings
from framework.inversion.stages import invert
from framework.inversion.step import InversionStep
from framework.models.encoders.style_encoder import StyleEncoder
from framework.models.features.distance import Distance
from framework.models.frozen import NOISE_MODE, gradients
from framework.models.stylegan2 import Generator
from framework.models.stylegan2.statistics import StyleStatistics

Watch = Callable[[str], None]
MEAN, FROM_MEAN = "w_avg", "from_w_avg@"
NEAREST_PIXEL, NEAREST = "nearest_pixel", "nearest_"
_MEASURED_STEPS = 5  # steps of a search that are timed, to know how many there is time for
_PIXELS_AT_ONCE = 2**22  # pixels of the photographs whose features are in memory at once


@dataclass(frozen=True, eq=False)
class Result:
    """One method's reconstruction of one photograph.

    Args:
        method: Name of the method.
        image: The reconstruction, shape (1, C, H, W).
        ws: Latents (1, num_ws, w_dim); None where a picture has none.
        generator: Draws the image from the latents; the shared generator or a tuned one.
        seconds: Wall time from the photograph to the result; None where nothing is searched.
        work_seconds: Computing time of the same; see `Stopwatch`.
        peak_mb: Peak memory in that time; None where unknown.
        steps: Updates of all stages.
        status: How the last stage ended.
    """

    method: str
    image: Tensor
    ws: Tensor | None = None
    generator: Generator | None = None
    seconds: float | None = None
    work_seconds: float | None = None
    peak_mb: float | None = None
    steps: int = 0
    status: str = ""


@dataclass(frozen=True, eq=False)
class StageRunner:
    """The stages of an inversion, ready to run, with all settings (`InversionSettings.suited`).

    Generator, distance and encoder are on one device; without an encoder it begins at `w_avg`.
    """

    generator: Generator
    distance: Distance
    settings: InversionSettings
    statistics: StyleStatistics
    encoder: StyleEncoder | None = None

    @property
    def methods(self) -> list[str]:
        """Methods of `results` in order, such as "embed" and "embed+refine"."""
        stages = self.settings.stages
        return ["+".join(stages[: i + 1]) for i in range(len(stages))]

    def results(self, picture: Tensor, watch: Watch = lambda _: None) -> Iterator[Result]:
        """Invert one photograph (1, C, H, W); yield a result at the end of each stage."""
        clock, steps = Stopwatch(next(self.generator.parameters()).device), 0
        for step in invert(
            self.generator, picture, self.distance, self.settings,
            encoder=self.encoder, statistics=self.statistics,
        ):  # fmt: skip
            watch(f"{step.stage} {step.step}")
            if step.status != "running":
                steps += step.step if step.stage != "embed" else 0
                method = self.methods[self.settings.stages.index(step.stage)]
                yield _result(method, self.generator, step, clock, steps)


def _result(
    method: str, generator: Generator, step: InversionStep, clock: Stopwatch, steps: int
) -> Result:
    """Convert a stage's last step to a result; the time ends here."""
    spent = clock.spent()
    # Changes of weights in half precision, as in a file: what is measured is what is saved.
    deltas = None if step.deltas is None else step.deltas.half()
    own = personal(generator, step.noise_of(0), deltas)
    image = render(own, step.ws)
    return Result(method, image, step.ws, own, steps=steps, status=step.status, **spent)


def render(generator: Generator, ws: Tensor) -> Tensor:
    """Draw the pictures of latents, (N, C, H, W)."""
    with gradients(False):
        return generator.synthesis(ws, noise_mode=NOISE_MODE)


def mean_result(generator: Generator) -> Result:
    """The result that is the same for every photograph: the picture of `w_avg`."""
    ws = mean_ws(generator)
    return Result(MEAN, render(generator, ws), ws, generator)


def from_mean(
    runner: StageRunner, picture: Tensor, rival: Result, watch: Watch = lambda _: None
) -> Result:
    """Optimise latents from `w_avg`, without an encoder, in the time that another method took.

    That is computing time. The settings are those of refine (its defaults if that is no stage), but
    with as many steps as there is time for, so that the learning rate comes down at the end; the
    number is measured on this photograph (1, C, H, W) just before, outside the time.
    """
    assert rival.work_seconds is not None
    refining = runner.settings.refine or RefineSettings()
    settings = replace(refining, encoder=0.0, stop=None, max_seconds=None)
    step_sec = _seconds_a_step(runner, picture, replace(settings, steps=_MEASURED_STEPS))
    steps = max(1, round(rival.work_seconds / step_sec))
    clock = Stopwatch(picture.device)
    for step in _search(runner, picture, replace(settings, steps=steps)):
        watch(f"from w_avg in the time of {rival.method}: {step.step} of {steps}")
    return _result(FROM_MEAN + rival.method, runner.generator, step, clock, step.step)


def _search(
    runner: StageRunner, picture: Tensor, settings: RefineSettings
) -> Iterator[InversionStep]:
    start = mean_ws(runner.generator)
    return refine(
        runner.generator, picture, start, runner.distance, settings,
        statistics=runner.statistics,
    )  # fmt: skip


def _seconds_a_step(runner: StageRunner, picture: Tensor, settings: RefineSettings) -> float:
    """Computing time of one step, the median of a few: the first ones are slower."""
    clock = Stopwatch(picture.device)
    ends = [clock.work_seconds() for _ in _search(runner, picture, settings)]
    return median(after - before for before, after in pairwise(ends))


# ------------------------------------------------------------------------------ training pictures


def nearest_of_each(
    photos: Tensor, gallery: Callable[[], Iterable[Tensor]], distance: Distance | None = None
) -> tuple[Tensor, Tensor]:
    """Find the training picture nearest to each photograph (N, C, H, W) in [-1, 1].

    Args:
        photos: The photographs.
        gallery: Starts a new pass over the training pictures, in batches (B, C, H, W) in [-1, 1].
        distance: The distance; None for the root mean square difference of pixels.

    Returns:
        Indices in the gallery, shape (N,), and the distances, shape (N,).
    """
    at_once = max(1, _PIXELS_AT_ONCE // photos[0].numel())
    parts = [_nearest(part, gallery(), distance) for part in photos.split(at_once)]
    return torch.cat([index for index, _ in parts]), torch.cat([far for _, far in parts])


@torch.no_grad()
def _nearest(
    photos: Tensor, batches: Iterable[Tensor], distance: Distance | None
) -> tuple[Tensor, Tensor]:
    features = [] if distance is None else distance.features(photos)
    index = torch.zeros(len(photos), dtype=torch.long)
    least, first = torch.full((len(photos),), torch.inf), 0
    for batch in batches:
        if distance is None:
            nearest = nearest_vectors(photos.flatten(1), batch.flatten(1), 1)
            place, far = (column[:, 0].cpu() for column in nearest)
        else:
            far, place = _table(features, distance, batch).min(dim=1)
        index = torch.where(far < least, place + first, index)
        least, first = torch.minimum(far, least), first + len(batch)
    return index, least


def _table(features: list[Tensor], distance: Distance, batch: Tensor) -> Tensor:
    """Distances of all photographs to a batch of pictures, shape (N, B)."""
    rows = zip(*(level.split(1) for level in distance.features(batch)), strict=True)
    columns = [
        distance.compare(features, [b.expand_as(a) for a, b in zip(features, row, strict=True)])
        for row in rows
    ]
    return torch.stack(columns, dim=1).cpu()
