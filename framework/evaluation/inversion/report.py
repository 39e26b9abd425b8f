"""How well photographs that no training saw are inverted, and whether the results can be edited.

The work is a stream of records, one for each photograph and question, so that whoever keeps them
can stop at any time and go on later; tables and pages are made of the records alone.
"""

from collections.abc import Callable, Iterator, Sequence
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
    drawn,
    from_mean,
    mean_result,
    nearest_of_each,
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
from framework.evaluation.inversion.record import PHOTO, Key, Record, ReportSettings
from framework.media.images import to_float, to_uint8
from framework.models.stylegan2 import Discriminator, Generator
from framework.models.stylegan2.styles import style_directions, style_vectors
from framework.training.encoder.losses import alignment_loss

_BATCH = 16
_LATENT_SAMPLES = 2000  # of the generator's own latents, for how far from w_avg they lie
_DIRECTION_SAMPLES = 10_000  # of them, for where their styles point
_LATENT_SEED = 1  # of both


@dataclass(frozen=True, eq=False)
class InversionReport:
    """The questions of a report, and what answers them.

    Args:
        runner: Has generator, encoder, stages.
        measures: The columns.
        held_out: Photographs that the encoder's training did not see.
        gallery: Pictures that it did see; None where there are none.
        settings: How much.
        discriminator: Judges edited pictures; None where the model has none without labels.
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
        """Answer every question that is not done.

        Args:
            done: Kinds and numbers of records that are there already.
            watch: Told what is being done, often.
        """
        questions: list[tuple[str, int, Callable[[int, Watch], Record]]] = [
            ("latents", 1, self._latents),
            ("nearest", self.count if self.gallery is not None else 0, self._nearest),
            ("embedded", self._embedded_count, self._embedded),
            ("picture", self.count, self._picture),
            ("synthetic", self.settings.synthetic, self._synthetic),
        ]
        for kind, count, answer in questions:
            for index in range(count):
                if (kind, index) in done:
                    continue
                where = f"{kind} {index + 1}/{count}"
                watch(where)
                yield answer(index, lambda text, where=where: watch(f"{where}: {text}"))

    # ------------------------------------------------------------------------------ photographs

    @cached_property
    def order(self) -> list[int]:
        """Numbers of the held-out photographs, drawn: more of them begin with the same ones."""
        return np.random.default_rng(self.settings.seed).permutation(len(self.held_out)).tolist()

    @property
    def count(self) -> int:
        """Photographs that go through everything."""
        return min(self.settings.count, len(self.held_out))

    @property
    def _embedded_count(self) -> int:
        looks = self.runner.settings.stages[0] == "embed" and self.runner.encoder is not None
        return min(self.settings.embedded, len(self.held_out)) if looks else 0

    def _photo(self, index: int) -> Tensor:
        """Held-out photograph by its place in `order`, (1, C, H, W) on the model's device."""
        return self._floats([self.held_out.image(self.order[index])])

    def _floats(self, pictures: Sequence[np.ndarray]) -> Tensor:
        """Pictures, uint8 (C, H, W) each, in [-1, 1] on the model's device."""
        stacked = np.stack(pictures).transpose(0, 2, 3, 1)
        return to_float(stacked).to(next(self.runner.generator.parameters()).device)

    def _facts(self, index: int) -> dict[str, Any]:
        return {"picture": self.held_out.name(self.order[index])}

    # -------------------------------------------------------------------------------- questions

    def _latents(self, index: int, _watch: Watch) -> Record:
        """How far from `w_avg` the generator's own latents lie."""
        ws = sampled_ws(self.runner.generator, _LATENT_SAMPLES, _LATENT_SEED)
        facts = {
            "deviations": self.runner.statistics.deviations(ws).tolist(),
            "nscd": self._nscd(ws).tolist(),
        }
        return Record("latents", index, facts, {})

    def _nearest(self, index: int, watch: Watch) -> Record:
        """The training pictures nearest to a photograph; all are searched with the first asked."""
        watch("among training pictures")
        found = {name: row[index] for name, row in self._nearest_of_all.items()}
        assert self.gallery is not None
        facts: dict[str, Any] = self._facts(index)
        images, rows = {PHOTO: self._shown(self._photo(index))}, []
        for method, number in found.items():
            facts[method] = self.gallery.name(number)
            image = self._floats([self.gallery.image(number)])
            rows.append(self._row(Result(method, image), self._photo(index)))
            images[method] = self._shown(image)
        return Record("nearest", index, {**facts, "rows": rows}, images)

    @cached_property
    def _nearest_of_all(self) -> dict[str, list[int]]:
        """Numbers in the gallery for each counted photograph, by method."""
        photos = torch.cat([self._photo(index) for index in range(self.count)])
        distance = self.runner.distance
        kinds = {NEAREST_PIXEL: None, NEAREST + distance.name: distance}
        numbers = self.searched
        found = {}
        for method, measure in kinds.items():
            index, _ = nearest_of_each(photos, self._batches, measure)
            found[method] = [numbers[i] for i in index.tolist()]
        return found

    @cached_property
    def searched(self) -> list[int]:
        """Numbers of the training pictures that nearest ones are searched among."""
        assert self.gallery is not None
        rng = np.random.default_rng(self.settings.seed)
        drawn_numbers = rng.permutation(len(self.gallery))[: self.settings.gallery]
        return sorted(drawn_numbers.tolist())

    def _batches(self) -> Iterator[Tensor]:
        assert self.gallery is not None
        for first in range(0, len(self.searched), _BATCH):
            numbers = self.searched[first : first + _BATCH]
            yield self._floats([self.gallery.image(number) for number in numbers])

    def _embedded(self, index: int, _watch: Watch) -> Record:
        """The mean picture and the encoder's first guess, which cost little: of many."""
        photo = self._photo(index)
        results = [self._mean, *self._embedder.results(photo)]
        rows = [self._row(result, photo) for result in results]
        images = {PHOTO: self._shown(photo), "embed": self._shown(results[-1].image)}
        return Record("embedded", index, {**self._facts(index), "rows": rows}, images)

    @cached_property
    def _embedder(self) -> StageRunner:
        settings = replace(self.runner.settings, stages=("embed",))
        return replace(self.runner, settings=settings)

    @cached_property
    def _mean(self) -> Result:
        return mean_result(self.runner.generator)

    def _picture(self, index: int, watch: Watch) -> Record:
        """All methods on one photograph."""
        photo = self._photo(index)
        stages = list(self.runner.results(photo, watch))
        rivals = [from_mean(self.runner, photo, stage, watch) for stage in stages]
        rows, images = [], {PHOTO: self._shown(photo)}
        for result in [self._mean, *rivals, *stages]:
            rows.append(self._row(result, photo))
            images[result.method] = self._shown(result.image)
        facts = {**self._facts(index), "rows": rows}
        if self.settings.editability and index < self.settings.edited:
            facts["edited"] = [self._edited(result, photo, images, watch) for result in stages]
        return Record("picture", index, facts, images)

    def _synthetic(self, index: int, watch: Watch) -> Record:
        """A picture whose latents are known: how near the inversion comes to both."""
        true = self._known[index : index + 1]
        photo = drawn(self.runner.generator, true)
        rows, images = [], {PHOTO: self._shown(photo)}
        for result in [self._mean, *self.runner.results(rounded(photo), watch)]:
            row = self._row(result, photo)
            assert result.ws is not None
            row["latent_error"] = latent_error(result.ws, true, self.runner.statistics).item()
            rows.append(row)
            images[result.method] = self._shown(result.image)
        facts: dict[str, Any] = {"picture": f"sample {index}", "rows": rows}
        if self.settings.editability:
            known = Result("sampled", photo, true, self.runner.generator)
            facts["edited"] = [self._edited(known, photo, images, watch)]
        return Record("synthetic", index, facts, images)

    @cached_property
    def _known(self) -> Tensor:
        return sampled_ws(self.runner.generator, self.settings.synthetic, self.settings.seed)

    # --------------------------------------------------------------------------------- one result

    def _row(self, result: Result, photo: Tensor) -> dict[str, Any]:
        """One line of the table."""
        row: dict[str, Any] = {"method": result.method}
        row |= self.measures(result.image, photo)[0]
        row |= {"seconds": result.seconds, "work_seconds": result.work_seconds}
        row |= {"peak_mb": result.peak_mb, "steps": result.steps, "status": result.status}
        if result.ws is not None:
            row["deviations"] = self.runner.statistics.deviations(result.ws).item()
            row["nscd"] = self._nscd(result.ws, result.generator).item()
        return row

    def _nscd(self, ws: Tensor, generator: Generator | None = None) -> Tensor:
        """Style-direction alignment, (N,); see `alignment_loss`."""
        with torch.no_grad():
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
        except InvalidEdit as error:  # told in the table; the other photographs go on
            return {"method": result.method, "failed": str(error)}
        images[f"{result.method} there"] = self._shown(way.there)
        images[f"{result.method} back"] = self._shown(way.back)
        facts: dict[str, Any] = {
            "method": result.method,
            "moved": self.measures(way.there, way.start)[0],
            "returned": self.measures(way.back, way.start)[0],
            "missed_px": way.missed_px,
            "home_px": way.home_px,
            "handles": way.handles,
            "targets": way.targets,
            "steps": way.steps,
            "status": way.status,
        }
        if self.discriminator is not None:
            before, shifts = realism_shifts(
                result.generator, self.discriminator, result.ws, self._edits
            )
            facts |= {"logit": before.item(), "logit_shift": shifts.mean().item()}
        return facts

    @cached_property
    def _edits(self) -> Tensor:
        settings = self.settings
        statistics = self.runner.statistics
        return random_edits(statistics, settings.edits, settings.edit_length, settings.seed)

    def _shown(self, image: Tensor) -> np.ndarray:
        return to_uint8(image)[0]
