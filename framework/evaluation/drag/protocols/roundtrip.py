"""`roundtrip`: drag there and back; what has not come home was lost on the way.

CCSD of FreeDrag (Ling et al. 2024): the perceptual distance between a picture and itself after a
drag forth and back. It needs no annotation, so any model and photographs can be used; but a drag
that does nothing comes home best, so what the way there achieved stands beside it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from framework.errors import UserError
from framework.evaluation.drag.columns import COST, both_ways, count, mean, middle
from framework.evaluation.drag.lab import Lab
from framework.evaluation.drag.measures import NEAR_PX
from framework.evaluation.drag.protocol import Column, Facts, Result
from framework.evaluation.drag.specs import MethodSpec
from framework.evaluation.drag.targets import Task
from framework.evaluation.drag.trial import costs
from framework.evaluation.drag.true_picture import keypoints_apart_px
from framework.evaluation.image_metrics import psnr
from framework.evaluation.inversion.editability import outward, strong_points, there_and_back
from framework.media.images import to_float, to_uint8

GENERATED, PHOTOGRAPHS = "generated pictures", "photographs"
SHARE = 1 / 16  # of the picture's shorter side: 4 px at 64 px
POINTS = 2

COLUMNS: Sequence[Column] = (
    mean("there_px", "there: px", about="from the targets to where the outside correspondence finds"
         " the points after the way there"),
    count("there_near", "there: under 2 px", lambda line: line["there_px"] < NEAR_PX,
          lambda line: "there_px" in line),
    mean("changed", "there: change", ".4f", "perceptual distance to the start, features of"
         " `features64`"),
    mean("returned", "back: change", ".4f", "the same after the way back (as CCSD, with another"
         " distance)"),
    mean("own_returned", "back: dfeat", ".4f", "distance in the model's own discriminator's"
         " features, that of the inversion report"),
    mean("psnr", "back: PSNR dB", ".1f", "to the start"),
    mean("home_px", "back: px", about="from where the points began to where the correspondence"
         " finds them after both ways"),
    mean("keypoints_px", "back: key points px", about="how far all key points of toy cars are from"
         " where they began, where the judge is sure"),
    mean("inversion_psnr", "inversion PSNR dB", ".1f", "of the inverted photograph, before any"
         " drag"),
    mean("steps", "steps, both ways", ".1f", part=COST),
    both_ways("passes forward / backward", "through the generator's synthesis, both ways"),
    mean("cpu_seconds", "CPU s", part=COST),
    middle("wall_seconds", "wall s, median", part=COST),
    count("arrived", "arrived there", lambda line: line["status"] == "arrived", part=COST),
    count("arrived_back", "arrived back", lambda line: line["status_back"] == "arrived", part=COST),
)  # fmt: skip


@dataclass(frozen=True)
class Roundtrip:
    """See the module."""

    name: str = "roundtrip"
    about: str = (
        f"{POINTS} points where a picture changes most are pulled away from its middle by a"
        " sixteenth of its shorter side, then from where the drag says they are back to where they"
        " were. Photographs are inverted by the model's encoder and all default stages, and dragged"
        " in their own tuned generators."
    )
    groups: Sequence[str] = (GENERATED, PHOTOGRAPHS)
    columns: Sequence[Column] = COLUMNS
    ruler: str = "returned"
    plots: Mapping[str, str] = field(
        default_factory=lambda: {
            "there_px": "distance to the target after the way there, px",
            "returned": "perceptual distance to the start after both ways",
        }
    )
    images: Sequence[str] = ("start", "there", "back")
    pair: tuple[str, str] | None = None

    def identity(self, lab: Lab) -> Facts:
        """Facts on the judges, and on how photographs are inverted."""
        return {
            "correspondence": lab.correspondence.protocol(),
            "perceptual": lab.distance.protocol(),
            "own_distance": None if lab.own_distance is None else lab.own_distance.protocol(),
            "photographs": None if lab.photographs is None else lab.photographs.protocol(),
        }

    def rows(self, group: str, specs: Sequence[MethodSpec]) -> dict[str, MethodSpec | None]:
        """The methods: what is not dragged comes home, of course."""
        return {spec.text: spec for spec in specs}

    def tasks(self, lab: Lab, group: str) -> Iterator[Task]:
        """Seeds one after another, or all photographs; none without a folder of them."""
        if group == GENERATED:
            seed = lab.first_seed
            while True:
                picture = to_float(lab.picture(lab.latents(seed)))
                yield {"seed": seed, **_points(picture)}
                seed += 1
        for place in range(len(lab.photographs or ())):
            assert lab.photographs is not None
            photo = lab.photographs.photo(place)
            yield {"place": place, "name": lab.photographs.name(place), **_points(photo)}

    def run(self, lab: Lab, group: str, task: Task, row: str, spec: MethodSpec | None) -> Result:
        """Drag there and back, and compare."""
        assert spec is not None  # there are no baselines
        if group == GENERATED:
            generator, ws, photo = lab.generator, lab.latents(task["seed"]), None
        else:
            assert lab.photographs is not None
            generator, ws, photo = lab.photographs.inverted(task["place"])
        height, width = generator.img_size
        lab.warm_up(spec)
        with costs(generator, lab.discriminator) as spent:
            try:
                way = there_and_back(
                    generator, ws, task["handles"], SHARE * min(height, width), spec.settings,
                    discriminator=lab.discriminator, editor=lab.editor, origin=lab.generator,
                )  # fmt: skip
            except UserError as error:
                reason = {"status": "refused", "status_back": "refused", "refusal": str(error)}
                return Result(reason)
        start, there, back = (to_uint8(image)[0] for image in (way.start, way.there, way.back))
        found = [
            lab.correspondence(start, after, torch.tensor(task["handles"]), 4 * SHARE * height)
            for after in (there, back)
        ]
        wanted = (task["targets"], task["handles"])
        apart = [
            float((f.points - torch.tensor(points)).norm(dim=1).mean())
            for f, points in zip(found, wanted, strict=True)
        ]
        facts: Facts = {
            "there_px": apart[0],
            "home_px": apart[1],
            "changed": lab.perceptual(start, there),
            "returned": lab.perceptual(start, back),
            "own_returned": lab.own_perceptual(start, back),
            "psnr": float(psnr(to_float(back[None]), to_float(start[None]))),
            "keypoints_px": keypoints_apart_px(lab, start, back),
            "steps": sum(way.steps),
            "status": way.status[0],
            "status_back": way.status[1],
            "marks": {
                "start": {"arrows": list(zip(task["handles"], task["targets"], strict=True))},
                "there": {"rings": task["targets"], "seen": found[0].points.tolist()},
                "back": {"rings": task["handles"], "seen": found[1].points.tolist()},
            },
            **spent,
        }
        if photo is not None:
            facts["inversion_psnr"] = float(psnr(to_float(start[None]), photo))
        return Result(facts, {"start": start, "there": there, "back": back})

    def lines(self, row: str, facts: Facts) -> dict[str, Facts]:
        """A result is a line of its row."""
        return {row: facts}


def _points(picture: Tensor) -> dict[str, Any]:
    """Strong points of a picture (1, C, H, W), and where they are pulled."""
    handles = strong_points(picture, POINTS)
    size = (int(picture.shape[2]), int(picture.shape[3]))
    targets = outward(handles, size, SHARE * min(size))
    return {"handles": [list(p) for p in handles], "targets": [list(p) for p in targets]}


PROTOCOL = Roundtrip()
