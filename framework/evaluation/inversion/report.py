"""How well photographs outside the training data are inverted, and how editable the results are.

The work is a stream of records, one for each photograph and kind, so that a caller who saves them
can stop at any time and continue later; tables and pages are written from the records alone.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from framework.data import ImageDataset
from framework.errors import InvalidEdit
from framework.evaluation.inversion.baselines import (
    NEAREST,
    NEAREST_PIXEL,
    Result,
    StageRunner,
    Watch,
    from_mean,
    mean_result,
    nearest_of_each,
    render,
)
from framework.evaluation.inversion.editability import (
    latent_error,
    random_edits,
    realism_shifts,
    sampled_ws,
    strong_points,
    there_and_back,
)
from framework.evaluation.inversion.measures import Measures, rounded
from framework.evaluation.inversion.record import PHOTO, ReportSettings
from framework.evaluation.report_folder import Key, Record
from framework.media.images import to_float, to_uint8
from framework.models.stylegan2 import Discriminator, Generator
from framework.models.stylegan2.styles import style_directions, style_vectors
from framework.training.encoder.losses import alignment_loss

_BATCH = 16
_LATENT_SAMPLES = 2000  # latents of the generator's own, for their distance from w_avg
_DIRECTION_SAMPLES = 10_000  # latents of the generator's own, for the direction of their styles
_LATENT_SEED = 1  # seed of both
_COSTS = ("seconds", "work_seconds", "peak_mb", "steps", "status")
_WAYS = ("missed_px", "home_px", "handles", "targets", "steps", "status")


@dataclass(frozen=True, eq=False)
class InversionReport:
    """The measurements of a report.

    Args:
        runner: Generator, encoder and stages.
        measures: Measures, the columns of the tables.
        held_out: Photographs that the encoder was not trained on.
        gallery: Pictures that it was trained on; None if there are none.
        settings: How much to measure.
        discriminator: Judge of edited pictures; None if the model has none, or one with labels.
    """

    runner: StageRunner
    measures: Measures
    held_out: ImageDataset
    gallery: ImageDataset | None
    settings: ReportSettings
    discriminator: Discriminator | None = None

    def records(
        self, done: set[Key] | frozenset[Key] = frozenset(), watch: Watch = lambda _: None
    ) -> Iterator[Record]:
        """Make every record that is not `done`; `watch` is called often, with the progress."""
        has_guess = self.runner.settings.stages[0] == "embed" and self.runner.encoder is not None
        embedded = min(self.settings.embedded, len(self.held_out)) if has_guess else 0
        kinds: list[tuple[str, int, Callable[[int, Watch], Record]]] = [
            ("latents", 1, self._latents),
            ("nearest", self.count if self.gallery is not None else 0, self._nearest),
            ("embedded", embedded, self._embedded),
            ("picture", self.count, self._picture),
            ("synthetic", self.settings.synthetic, self._synthetic),
        ]
        for kind, count, make in kinds:
            for index in range(count):
                if (kind, index) in done:
                    continue
                where = f"{kind} {index + 1}/{count}"
                watch(where)
                yield make(index, lambda text, where=where: watch(f"{where}: {text}"))

    # ------------------------------------------------------------------------------ photographs

    @cached_property
    def order(self) -> list[int]:
        """Indices of held-out photographs, shuffled: a larger count begins with the same ones."""
        return np.random.default_rng(self.settings.seed).permutation(len(self.held_out)).tolist()

    @property
    def count(self) -> int:
        """Number of photographs that go through all methods."""
        return min(self.settings.count, len(self.held_out))

    def _photo(self, index: int) -> Tensor:
        """A held-out photograph by its place in `order`, (1, C, H, W) on the model's device."""
        return self._floats([self.held_out.image(self.order[index])])

    def _floats(self, pictures: Sequence[np.ndarray]) -> Tensor:
        """Convert pictures, uint8 (C, H, W) each, to [-1, 1] on the model's device."""
        stacked = np.stack(pictures).transpose(0, 2, 3, 1)
        return to_float(stacked).to(next(self.runner.generator.parameters()).device)

    # ------------------------------------------------------------------------------------ kinds

    def _latents(self, index: int, _watch: Watch) -> Record:
        """How far the generator's own latents are from `w_avg`."""
        ws = sampled_ws(self.runner.generator, _LATENT_SAMPLES, _LATENT_SEED)
        deviations = self.runner.statistics.deviations(ws).tolist()
        return Record(
            "latents", index, {"deviations": deviations, "nscd": self._nscd(ws).tolist()}, {}
        )

    def _nearest(self, index: int, watch: Watch) -> Record:
        """The training pictures nearest to a photograph; the first call searches for all."""
        watch("among training pictures")
        gallery = self.gallery
        assert gallery is not None
        numbers = {method: row[index] for method, row in self._nearest_of_all.items()}
        results = [Result(m, self._floats([gallery.image(n)])) for m, n in numbers.items()]
        names = {method: gallery.name(number) for method, number in numbers.items()}
        return self._record("nearest", index, results, **names)

    @cached_property
    def _nearest_of_all(self) -> dict[str, list[int]]:
        """Indices in the gallery for each photograph in `count`, by method."""
        gallery, distance = self.gallery, self.runner.distance
        assert gallery is not None
        photos = torch.cat([self._photo(index) for index in range(self.count)])
        rng = np.random.default_rng(self.settings.seed)
        numbers = sorted(rng.permutation(len(gallery))[: self.settings.gallery].tolist())

        def batches() -> Iterator[Tensor]:
            for first in range(0, len(numbers), _BATCH):
                yield self._floats([gallery.image(i) for i in numbers[first : first + _BATCH]])

        kinds = {NEAREST_PIXEL: None, NEAREST + distance.name: distance}
        places = {m: nearest_of_each(photos, batches, kind)[0] for m, kind in kinds.items()}
        return {method: [numbers[i] for i in place.tolist()] for method, place in places.items()}

    def _embedded(self, index: int, _watch: Watch) -> Record:
        """The mean picture and the encoder's first guess, cheap enough for many photographs."""
        settings = replace(self.runner.settings, stages=("embed",))
        embedder = replace(self.runner, settings=settings)
        results = [self._mean, *embedder.results(self._photo(index))]
        record = self._record("embedded", index, results)
        guess = {PHOTO: record.images[PHOTO], "embed": to_uint8(results[-1].image)[0]}
        return record._replace(images=guess)

    @cached_property
    def _mean(self) -> Result:
        return mean_result(self.runner.generator)

    def _picture(self, index: int, watch: Watch) -> Record:
        """All methods on one photograph."""
        photo = self._photo(index)
        stages = list(self.runner.results(photo, watch))
        rivals = [from_mean(self.runner, photo, stage, watch) for stage in stages]
        record = self._record("picture", index, [self._mean, *rivals, *stages])
        if self.settings.editability and index < self.settings.edited:
            edited = [self._edited(stage, photo, record.images, watch) for stage in stages]
            record.facts["edited"] = edited
        return record

    def _synthetic(self, index: int, watch: Watch) -> Record:
        """A picture whose latents are known: how close the inversion comes to both."""
        true = self._true_ws[index : index + 1]
        photo = render(self.runner.generator, true)
        results = [self._mean, *self.runner.results(rounded(photo), watch)]
        rows = [self._row(result, photo, true) for result in results]
        images = {PHOTO: photo} | {result.method: result.image for result in results}
        shown = {name: to_uint8(image)[0] for name, image in images.items()}
        record = Record("synthetic", index, {"picture": f"sample {index}", "rows": rows}, shown)
        if self.settings.editability:
            sampled = Result("sampled", photo, true, self.runner.generator)
            record.facts["edited"] = [self._edited(sampled, photo, record.images, watch)]
        return record

    @cached_property
    def _true_ws(self) -> Tensor:
        return sampled_ws(self.runner.generator, self.settings.synthetic, self.settings.seed)

    # ---------------------------------------------------------------------------------- records

    def _record(self, kind: str, index: int, results: Iterable[Result], **facts: Any) -> Record:
        """The record of methods' results on a held-out photograph."""
        photo, name = self._photo(index), self.held_out.name(self.order[index])
        rows = [self._row(result, photo) for result in results]
        images = {PHOTO: to_uint8(photo)[0]} | {r.method: to_uint8(r.image)[0] for r in results}
        return Record(kind, index, {"picture": name, **facts, "rows": rows}, images)

    def _row(self, result: Result, photo: Tensor, true: Tensor | None = None) -> dict[str, Any]:
        """One line of the table; with `latent_error` where the true latents are known."""
        row = {"method": result.method, **self.measures(result.image, photo)[0]}
        row |= {name: getattr(result, name) for name in _COSTS}
        if result.ws is not None:
            row["deviations"] = self.runner.statistics.deviations(result.ws).item()
            row["nscd"] = self._nscd(result.ws, result.generator).item()
            if true is not None:
                row["latent_error"] = latent_error(result.ws, true, self.runner.statistics).item()
        return row

    @torch.no_grad()
    def _nscd(self, ws: Tensor, generator: Generator | None = None) -> Tensor:
        """Style-direction alignment, (N,); see `alignment_loss`."""
        styles = style_vectors(generator or self.runner.generator, ws)
        return alignment_loss(styles, self._directions)

    @cached_property
    def _directions(self) -> list[Tensor]:
        ws = sampled_ws(self.runner.generator, _DIRECTION_SAMPLES, _LATENT_SEED)
        return style_directions(self.runner.generator, ws[:, 0])

    def _edited(
        self, result: Result, photo: Tensor, images: dict[str, np.ndarray], watch: Watch
    ) -> dict[str, Any]:
        """Drag a result there and back by points of its photograph, and edit it at random."""
        assert result.ws is not None and result.generator is not None
        watch(f"drags of {result.method}")
        by_px = self.settings.drag_by * min(result.generator.img_size)
        handles = strong_points(photo, self.settings.drag_points)
        try:
            way = there_and_back(result.generator, result.ws, handles, by_px, self.settings.drag)
        except InvalidEdit as error:  # noted in the table; the other photographs go on
            return {"method": result.method, "failed": str(error)}
        images[f"{result.method} there"] = to_uint8(way.there)[0]
        images[f"{result.method} back"] = to_uint8(way.back)[0]
        facts: dict[str, Any] = {
            "method": result.method,
            "moved": self.measures(way.there, way.start)[0],
            "returned": self.measures(way.back, way.start)[0],
            **{name: getattr(way, name) for name in _WAYS},
        }
        if self.discriminator is not None:
            before, shifts = realism_shifts(
                result.generator, self.discriminator, result.ws, self._edits
            )
            facts |= {"logit": before.item(), "logit_shift": shifts.mean().item()}
        return facts

    @cached_property
    def _edits(self) -> Tensor:
        s = self.settings
        return random_edits(self.runner.statistics, s.edits, s.edit_length, s.seed)
