"""`paired`: drag one picture of the model into another one, by points of the flow between them.

DragGAN's paired image reconstruction (Pan et al. 2023, section 4.1, table 2) on pairs made as for
UserControllableLT (Endo 2022): the true result is known, pixel by pixel. Differences from the
published protocol are in `Paired.about`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from framework.evaluation.drag.columns import COST, both_ways, ends, mean, middle
from framework.evaluation.drag.correspondence import SURE as SURE_MATCH
from framework.evaluation.drag.lab import Lab
from framework.evaluation.drag.protocol import Column, Facts, Result
from framework.evaluation.drag.specs import MethodSpec
from framework.evaluation.drag.targets import Task
from framework.evaluation.drag.trial import run_trial
from framework.evaluation.drag.true_picture import measure
from framework.models.stylegan2.statistics import styles_of_seeds

NO_EDIT = "no edit"
LAYERS, TRUNCATION = 6, 0.3  # UserControllableLT's
SHARE = 0.5  # there 0.1 at 256 px, which at 64 px moves points by a third of a pixel
POINTS, DRAWN = 32, 160
HOME_PX = 1.0  # how near a point that is found must come home, searched for in the first picture
REACH = 1 / 4  # of the picture's side, in which points are searched

COLUMNS: Sequence[Column] = (
    mean("mse", "MSE ·10²", about="to the true picture, of values in [-1, 1]"),
    mean("perceptual", "perceptual ·10", about="distance to the true picture in the features of"
         " `features64`"),
    mean("px", "mean px", about="from where the outside correspondence finds the points in the"
         " result to where it finds them in the true picture"),
    mean("keypoints_px", "key points px", about="distance of all key points to those of the true"
         " picture, where the judge of toy cars is sure of both"),
    mean("direction", "direction", about="cosine of the change of the picture's features"
         " (`features64`) with the true change: 1 is the same change, 0 has nothing to do with it"),
    mean("steps", "steps", ".1f", part=COST),
    both_ways("passes forward / backward", "through the generator's synthesis"),
    mean("cpu_seconds", "CPU s", part=COST),
    middle("wall_seconds", "wall s, median", part=COST),
    ends("ended"),
)  # fmt: skip


def pair(lab: Lab, seed: int) -> Tensor:
    """Latents of a pair, (2, num_ws, w_dim): a tame sample, and its first layers on their way.

    They go `SHARE` of the way to latents that are another sample's in each layer.
    """
    generator = lab.generator
    (styles,) = styles_of_seeds(generator, 1 + generator.num_ws, seed)
    w_avg = generator.mapping.w_avg
    first = w_avg + TRUNCATION * (styles[0] - w_avg)
    other = torch.stack([ws[layer] for layer, ws in enumerate(styles[1:])])
    second = first.clone()
    second[:LAYERS] += SHARE * (other - first)[:LAYERS]
    return torch.stack([first, second])


def tasks(lab: Lab) -> Iterator[Task]:
    """Pairs with points drawn uniformly that the correspondence finds surely, and back again."""
    height, width = (int(side) for side in lab.generator.img_size)
    seed = lab.first_seed
    while True:
        rng = np.random.default_rng(seed)
        handles = torch.from_numpy(rng.uniform(0, (width - 1, height - 1), (DRAWN, 2))).float()
        before, after = lab.picture(pair(lab, seed))
        found = lab.correspondence(before, after, handles, REACH * height)
        home = lab.correspondence(after, before, found.points, REACH * height)
        returns = (home.points - handles).norm(dim=1) < HOME_PX  # a sky's points do not
        sure = (returns & (found.confidence >= SURE_MATCH)).nonzero()[:POINTS, 0]
        if len(sure) == POINTS:
            yield {
                "seed": seed,
                "handles": handles[sure].tolist(),
                "targets": found.points[sure].tolist(),
            }
        seed += 1


@dataclass(frozen=True)
class Paired:
    """See the module."""

    name: str = "paired"
    about: str = (
        f"A sample at truncation {TRUNCATION} and a second picture, whose first {LAYERS} latents"
        f" went {SHARE:.0%} of the way to other, untruncated samples (another in each layer)."
        f" {POINTS} random points are dragged to where they are in the second picture, and the"
        " result is compared with it. Differences from DragGAN's table 2: other models; points from"
        " matched features (XFeat) that are sure of themselves and found back, not from dense"
        " optical flow;"
        f" {SHARE:.0%} of the way where UserControllableLT goes 10 %, which at 64 px would move the"
        " points by a third of a pixel; MSE of values in [-1, 1]; the perceptual distance is not"
        " LPIPS; the settings' own limits of steps. Numbers compare within a table alone."
    )
    groups: Sequence[str] = ("first layers perturbed",)
    columns: Sequence[Column] = COLUMNS
    ruler: str = "mse"
    plots: Mapping[str, str] = field(
        default_factory=lambda: {"mse": "MSE to the true picture, ·10²", "px": "mean px"}
    )
    images: Sequence[str] = ("start", "result", "true")
    pair: tuple[str, str] | None = None

    def identity(self, lab: Lab) -> Facts:
        """Facts on pairs and judges."""
        return {
            "pairs": {"layers": LAYERS, "share": SHARE, "truncation": TRUNCATION},
            "points": POINTS,
            "correspondence": lab.correspondence.protocol(),
            "perceptual": lab.distance.protocol(),
        }

    def rows(self, group: str, specs: Sequence[MethodSpec]) -> dict[str, MethodSpec | None]:
        """The start and the methods."""
        return {NO_EDIT: None} | {spec.text: spec for spec in specs}

    def tasks(self, lab: Lab, group: str) -> Iterator[Task]:
        """See `tasks`."""
        return tasks(lab)

    def run(self, lab: Lab, group: str, task: Task, row: str, spec: MethodSpec | None) -> Result:
        """Drag, and compare the result with the true picture."""
        both = pair(lab, task["seed"])
        end, facts = both[:1], {}
        if spec is not None:
            trial = run_trial(lab, spec, both[:1], task["handles"], task["targets"])
            end, facts = trial.ws, trial.facts
        start, true, result = lab.picture(torch.cat([both, end]))
        points, reach_px = (task["handles"], task["targets"]), REACH * len(true)
        facts |= measure(lab, start, true, result, *points, reach_px)
        arrows = list(zip(task["handles"], task["targets"], strict=True))
        facts["marks"] = {"start": {"arrows": arrows}}
        return Result(facts, {"start": start, "result": result, "true": true})

    def lines(self, row: str, facts: Facts) -> dict[str, Facts]:
        """A result is a line of its row."""
        return {row: facts}


PROTOCOL = Paired()
