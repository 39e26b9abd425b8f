"""`mask`: the wheel tasks again, with an area that may change: does it arrive, does it hold?"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch

from framework.evaluation.drag.columns import (
    COST,
    both_ways,
    count,
    ends,
    mean,
    middle,
)
from framework.evaluation.drag.lab import Lab
from framework.evaluation.drag.measures import mean_change, measure_edit
from framework.evaluation.drag.protocol import Column, Facts, Result
from framework.evaluation.drag.specs import MethodSpec
from framework.evaluation.drag.targets import MIX_PX, WHEELS, Task, free_tasks, mix_tasks
from framework.evaluation.drag.trial import Point, run_trial

REACH_PX = {"small": 8, "medium": 16}  # of a box about handle and target
BORDER_PX = (4, 2)  # left and right, top and bottom, of "large"
SIZES = ("no", "small", "medium", "large")
Box = tuple[int, int, int, int]
GROUPS: dict[str, Callable[[Lab], Iterator[Task]]] = {
    "wheels, real mix": partial(mix_tasks, part="wheel_hub", between_px=MIX_PX),
    "wheels, free 6 px": partial(free_tasks, pulls=WHEELS),
}

COLUMNS: Sequence[Column] = (
    mean("may_change", "may change", ".0%", "share of the picture"),
    mean("px", "mean px"),
    middle("px", "median px"),
    count("under_2", "under 2 px", lambda line: line["under_2"]),
    count("keeps_up", "arrives, too", lambda line: line["under_2"],
          lambda line: line["free_under_2"],
          "under 2 px, of the tasks in which the drag without a mask is"),
    mean("fixed", "change outside the area", ".4f", "mean change of what must not change, of a"
         " range of 1"),
    mean("share", "share of the unmasked", about="that change as a share of the change there"
         " without a mask, where both are under 2 px"),
    middle("share", "share, median"),
    mean("realism", "dD", "+.2f", "change of the logit of the model's own discriminator"),
    mean("sharp", "sharp", about="gradient energy of the picture, after over before"),
    count("good", "good", lambda line: line["good"], about="under 2 px, dD above -1, sharp at"
          " least 0.75"),
    mean("steps", "steps", ".1f", part=COST),
    both_ways("passes forward / backward"),
    mean("cpu_seconds", "CPU s", part=COST),
    count("arrived_wrong", "arrived, but wrong", lambda line: line["wrong"],
          lambda line: line["status"] == "arrived",
          "the judge sees the point more than 3 px from where the drag says it is", COST),
    ends("ended"),
)  # fmt: skip


@dataclass(frozen=True)
class Mask:
    """See the module."""

    name: str = "mask"
    about: str = (
        "The wheel tasks of `landmarks`, each dragged four times: with *no* mask, with a *small*"
        " and a *medium* area that may change (boxes 8 and 16 px about handle and target) and with"
        " a *large* one (all but a border of 2 and 4 px)."
    )
    groups: Sequence[str] = tuple(GROUPS)
    columns: Sequence[Column] = COLUMNS
    ruler: str = "px"
    plots: Mapping[str, str] = field(
        default_factory=lambda: {
            "px": "distance to the target, px",
            "share": "change outside the area, as a share of the change there without a mask",
        }
    )
    images: Sequence[str] = ("start", *SIZES)
    pair: tuple[str, str] | None = None

    def identity(self, lab: Lab) -> Facts:
        """Facts on the judges."""
        return lab.judges()

    def rows(self, group: str, specs: Sequence[MethodSpec]) -> dict[str, MethodSpec | None]:
        """The methods."""
        return {spec.text: spec for spec in specs}

    def tasks(self, lab: Lab, group: str) -> Iterator[Task]:
        """See `framework.evaluation.drag.targets`."""
        return GROUPS[group](lab)

    def run(self, lab: Lab, group: str, task: Task, row: str, spec: MethodSpec | None) -> Result:
        """Drag without a mask and with each, and judge all results."""
        assert spec is not None
        start = lab.latents(task["seed"])
        (before,) = lab.picture(start)
        runs: Facts = {}
        images, marks = {"start": before}, {}
        for size in SIZES:
            box = area(size, task["handles"][0], task["targets"][0], before.shape[:2])
            mask = mask_of(box, before.shape[:2])
            trial = run_trial(
                lab, spec, start, task["handles"], task["targets"], None if size == "no" else mask
            )
            (images[size],) = lab.picture(trial.ws)
            facts = measure_edit(
                lab, before, images[size], task["handles"], task["targets"], task["parts"], trial
            )
            drawn = facts.pop("marks")
            marks |= {"start": drawn["start"], size: {**drawn["result"], "box": box}}
            runs[size] = {**facts, "may_change": float(mask.mean())}
            runs[size]["free_under_2"] = runs["no"]["under_2"]
            if size != "no":
                runs[size] |= _against_free(before, images["no"], images[size], 1 - mask.numpy())
                if not (facts["under_2"] and runs["no"]["under_2"]):
                    runs[size]["share"] = None
        return Result({"px": runs["small"]["px"], "runs": runs, "marks": marks}, images)

    def lines(self, row: str, facts: Facts) -> dict[str, Facts]:
        """A line for each size of the area."""
        return {f"{row}, {size} mask": facts["runs"][size] for size in SIZES}


def area(size: str, handle: Point, target: Point, img_size: tuple[int, ...]) -> Box:
    """What may change: (left, top, right, bottom) in pixels, the last two excluded."""
    height, width = img_size[:2]
    if size == "no":
        return 0, 0, width, height
    if size == "large":
        x, y = BORDER_PX
        return x, y, width - x, height - y
    reach, (xs, ys) = REACH_PX[size], zip(handle, target, strict=True)
    left, top = (max(0, round(min(pair)) - reach) for pair in (xs, ys))
    right, bottom = (round(max(pair)) + reach + 1 for pair in (xs, ys))
    return left, top, min(width, right), min(height, bottom)


def mask_of(box: Box, img_size: tuple[int, ...]) -> torch.Tensor:
    """The mask of a box, shape (H, W), 1 = may change."""
    mask = torch.zeros(*img_size[:2])
    left, top, right, bottom = box
    mask[top:bottom, left:right] = 1
    return mask


def _against_free(
    before: np.ndarray, free: np.ndarray, masked: np.ndarray, fixed: np.ndarray
) -> Facts:
    """The change of what must not change, and its share of the change there without a mask."""
    change, free_change = (mean_change(before, after, fixed) for after in (masked, free))
    return {"fixed": change, "share": change / max(free_change, 1e-9)}


PROTOCOL = Mask()
