"""`drawn`: drawings of toy cars, put into any model and dragged to what another drawing shows.

The start is no model's own picture, so models of every family do the same tasks; and the true
result is drawn as well, as the RealDrag benchmark (2512.12287) asks of photographs.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from framework.data.toycars import LOOK, CarParameters, ToyCar, ToyCars
from framework.errors import UserError
from framework.evaluation.drag.columns import COST, both_ways, count, ends, mean, middle
from framework.evaluation.drag.lab import Lab
from framework.evaluation.drag.measures import SURE, measure_edit
from framework.evaluation.drag.protocol import Column, Facts, Result
from framework.evaluation.drag.put_in import Variant
from framework.evaluation.drag.specs import MethodSpec
from framework.evaluation.drag.targets import Task
from framework.evaluation.drag.trial import run_trial
from framework.evaluation.drag.true_picture import keypoints_apart_px, same_direction
from framework.evaluation.image_metrics import mse_pm1, psnr
from framework.media.images import to_float, to_uint8
from framework.models.frozen import gradients

SEED = 4242  # of the drawings; training has another
MATES = 1_000_000  # cars from which a part is taken begin here
BETWEEN_PX = (2.5, 7.0)
NO_EDIT, OF = "no edit", ": "
MOST_DB = 100.0  # an exact reconstruction would have no mean
VARIANTS: Mapping[str, Variant] = {
    "": Variant(),
    ", no LoRA": Variant(lora_steps=0),
    ", no reference": Variant(reference=1.0),
    ", no tracking": Variant(settings=(("tracker", "off"),)),
}
"""What is left out of a diffusion model's drag, by what a row's name says of it."""
PARTS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "wheels": (("wheel_hub",), ("rear_axle", "front_axle")),
    "roofs": (("roof_corner",), ("roof_rear", "roof_front", "roof_height", "roof_drop")),
}
"""Of each group, the key points that are dragged, and what is taken from the other car."""

COLUMNS: Sequence[Column] = (
    mean("px", "mean px", about="distance of the point to its place in the true drawing, where the"
         " judge sees it"),
    count("under_2", "under 2 px", lambda line: line["under_2"]),
    count("under_1", "under 1 px", lambda line: line["under_1"]),
    mean("others_px", "others px", about="how far the key points moved that nobody dragged, those"
         " of the true drawing included that move as well"),
    mean("outside", "outside", ".3f", "mean change of the drawing more than 10 px from handle and"
         " target, of a range of 1; what the inversion loses is part of it"),
    mean("identity", "identity", ".4f", "perceptual distance to the drawing in the features of"
         " `features64`; lower keeps more"),
    mean("mse", "MSE ·10²", about="to the true drawing, of values in [-1, 1]"),
    mean("true_perceptual", "to the true ·10", about="perceptual distance to the true drawing in"
         " the features of `features64`"),
    mean("keypoints_px", "key points px", about="distance of all key points to those of the true"
         " drawing, where the judge is sure of both"),
    mean("direction", "direction", about="cosine of the change of the picture's features"
         " (`features64`) with the true change"),
    mean("realism_to_a_stranger", "dD stranger", "+.2f", "change of the logit of the discriminator"
         " `features64`, of another training on photographs"),
    mean("sharp", "sharp", about="gradient energy of the picture, after over before"),
    mean("inversion_psnr", "inversion dB", ".1f", "PSNR of the drawing in the model, before any"
         " drag", COST),
    mean("steps", "steps", ".1f", part=COST),
    both_ways("passes forward / backward", "of the drag alone, through the generator's synthesis or"
              " the U-Net"),
    mean("cpu_seconds", "CPU s", about="of the drag alone, its picture not included", part=COST),
    mean("inversion_cpu_seconds", "inversion CPU s", part=COST),
    middle("wall_seconds", "wall s, median", part=COST),
    middle("peak_mb", "peak MB, median", ".0f", "largest resident size of the process during a"
           " drag, networks and libraries included", COST),
    middle("grown_mb", "drag MB, median", ".0f", "by how much that grew during the drag", COST),
    count("judge_unsure", "judge unsure", lambda line: line["judge_confidence"] < SURE, part=COST),
    ends("ended"),
)  # fmt: skip


@lru_cache(maxsize=1)
def cars() -> ToyCars:
    """The drawings."""
    return ToyCars(64, 2 * MATES, SEED)


def changed(group: str, index: int) -> CarParameters:
    """Return a car's parameters with a part of another car's."""
    own, other = (cars().parameters(i) for i in (index, MATES + index))
    names = PARTS[group][1]
    if group == "wheels":
        names = (names[index % 2],)
    return replace(own, body=replace(own.body, **{n: getattr(other.body, n) for n in names}))


def tasks_of(group: str, first: int) -> Iterator[Task]:
    """Tasks of one point, whose part moved by `BETWEEN_PX` from one drawing to the other."""
    index = first
    while True:
        before, after = cars()[index], cars().drawn(changed(group, index))
        way = {
            name: math.dist(before.keypoints[name], after.keypoints[name])
            for name in before.keypoints
            if name.endswith(PARTS[group][0])
        }
        part = max(way, key=lambda name: way[name])
        places = [before.keypoints[part], after.keypoints[part]]
        if BETWEEN_PX[0] <= way[part] <= BETWEEN_PX[1] and all(map(_inside, places)):
            yield {
                "car": index,
                "parts": [part],
                "handles": [list(places[0])],
                "targets": [list(places[1])],
            }
        index += 1


def _inside(point: Sequence[float]) -> bool:
    return all(0 <= value <= 63 for value in point)


@dataclass(frozen=True)
class Drawn:
    """See the module."""

    name: str = "drawn"
    about: str = (
        "A drawing of a toy car that no model was trained on is put into the model, and a wheel's"
        " hub or a roof's corner is dragged to where it is in a second drawing: the same car with"
        " another one's axle, or roof. Handle and target are as exact as the drawings,"
        f" {BETWEEN_PX[0]:g} to {BETWEEN_PX[1]:g} px apart. A StyleGAN2 gets the drawing by all"
        " stages of its inversion, a diffusion model by an identity LoRA and DDIM; rows of a"
        " diffusion model say what is left out. All changes are measured from the drawing, so that"
        " what an inversion loses counts. The measures against the true drawing are in the spirit"
        " of RealDrag's four, whose formulas were not to be had."
    )  # fmt: skip
    groups: Sequence[str] = tuple(PARTS)
    columns: Sequence[Column] = COLUMNS
    ruler: str = "px"
    plots: Mapping[str, str] = field(
        default_factory=lambda: {
            "px": "distance to the target, px",
            "identity": "perceptual distance to the drawing",
            "mse": "MSE to the true drawing, ·10²",
        }
    )
    images: Sequence[str] = ("start", "result", "true")
    variants: Mapping[str, Variant] = field(default_factory=lambda: VARIANTS)
    pair: tuple[str, str] | None = ("start", "result")

    def identity(self, lab: Lab) -> Facts:
        """Facts on drawings, judges and how drawings are put into the model."""
        labs = [lab, *lab.others.values()]
        if any(one.put_in is None or list(one.generator.img_size) != [64, 64] for one in labs):
            raise UserError("drawn: for models of 64x64 px", "protocol")
        return {"drawings": {"seed": SEED, "look": LOOK}, **lab.drawing_judges()}

    def rows(self, group: str, specs: Sequence[MethodSpec]) -> dict[str, MethodSpec | None]:
        """The inversions alone, and the methods; what a diffusion model can leave out is a row."""
        models = dict.fromkeys(spec.of for spec in specs if spec.model)
        rows: dict[str, MethodSpec | None] = {NO_EDIT: None}
        rows |= {f"{name}{OF}{NO_EDIT}": None for name in models}
        for spec in specs:
            diffuses = spec.settings.method == "dragdiffusion"
            rows |= {spec.text + name: spec for name in (self.variants if diffuses else ("",))}
        return rows

    def bases(self, specs: Sequence[MethodSpec]) -> dict[str, str]:
        """The row that each row with something left out compares with."""
        diffusing = [spec.text for spec in specs if spec.settings.method == "dragdiffusion"]
        return {text + name: text for text in diffusing for name in self.variants if name}

    def tasks(self, lab: Lab, group: str) -> Iterator[Task]:
        """See `tasks_of`."""
        return tasks_of(group, lab.first_seed)

    def run(self, lab: Lab, group: str, task: Task, row: str, spec: MethodSpec | None) -> Result:
        """Put the drawing in, drag, and compare with the true drawing."""
        lab = lab.of(row.removesuffix(NO_EDIT).removesuffix(OF) if spec is None else spec.of)
        assert lab.put_in is not None
        before, true = drawings(group, task["car"])
        variant = self.variants["" if spec is None else row.removeprefix(spec.text)]
        if spec is not None and spec.settings.method == "warp":  # moves pixels, whatever the LoRA
            variant = replace(variant, lora_steps=0)
        inverted = lab.put_in(before.image, variant)
        generator, ws, trial = inverted.generator, inverted.ws, None
        if spec is not None:
            spec = replace(spec, settings=replace(spec.settings, **dict(variant.settings)))
            trial = run_trial(lab, spec, ws, task["handles"], task["targets"], generator=generator)
        with gradients(False):
            pictures = [to_uint8(generator.synthesis(w, noise_mode="const"))[0]
                        for w in (ws, ws if trial is None else trial.ws)]  # fmt: skip
        start, result = pictures
        facts = measure_edit(
            lab, before.image, result, task["handles"], task["targets"], task["parts"], trial
        )
        end, goal = to_float(result[None]), to_float(true.image[None])
        facts |= {
            "mse": 100 * float(mse_pm1(end, goal)),
            "true_perceptual": 10 * lab.perceptual(true.image, result),
            "keypoints_px": keypoints_apart_px(lab, true.image, result, known=True),
            "direction": same_direction(lab, before.image, true.image, result),
            "inversion_psnr": min(
                MOST_DB, float(psnr(to_float(start[None]), to_float(before.image[None])))
            ),
            "inversion_cpu_seconds": inverted.cpu_seconds,
        }
        return Result(facts, {"start": before.image, "result": result, "true": true.image})

    def lines(self, row: str, facts: Facts) -> dict[str, Facts]:
        """A result is a line of its row."""
        return {row: facts}


def drawings(group: str, index: int) -> tuple[ToyCar, ToyCar]:
    """The drawing of a task, and the true result."""
    return cars()[index], cars().drawn(changed(group, index))


PROTOCOL = Drawn()
