"""`landmarks`: key points of toy cars, dragged to where another picture of the model has them.

After DragGAN's face landmark manipulation (Pan et al. 2023, section 4.1), with a judge that shares
nothing with the generator in place of dlib, and targets that a picture of the model is known to
reach (or not: the free pulls).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch

from framework.evaluation.drag.columns import COST, both_ways, count, ends, mean, middle
from framework.evaluation.drag.lab import Lab
from framework.evaluation.drag.measures import SURE, measure_edit
from framework.evaluation.drag.protocol import Column, Facts, Result
from framework.evaluation.drag.specs import MethodSpec
from framework.evaluation.drag.targets import (
    ANY_PART,
    HARD_PX,
    MIX_PX,
    ROOFS,
    WHEELS,
    Task,
    free_tasks,
    mix_tasks,
    mixed,
    several_tasks,
)
from framework.evaluation.drag.trial import run_trial

NO_EDIT, THE_MIX = "no edit", "the mix itself"
GROUPS: dict[str, Callable[[Lab], Iterator[Task]]] = {
    "wheels, real mix": partial(mix_tasks, part="wheel_hub", between_px=MIX_PX),
    "roofs, real mix": partial(mix_tasks, part="roof_corner", between_px=MIX_PX),
    "hard roofs, real mix": partial(mix_tasks, part="roof_corner", between_px=HARD_PX),
    "3 points, real mix": partial(several_tasks, number=3),
    "all key points, real mix": partial(several_tasks, number=99),
    "wheels, free 6 px": partial(free_tasks, pulls=WHEELS),
    "roofs, free 6 px": partial(free_tasks, pulls=ROOFS),
    "any part, free 6 px": partial(free_tasks, pulls=ANY_PART),
}

COLUMNS: Sequence[Column] = (
    mean("px", "mean px", about="distance of the points to their targets where the judge sees them,"
         " mean over a task's points"),
    middle("px", "median px"),
    count("under_2", "under 2 px", lambda line: line["under_2"], about="every point of a task is"),
    count("under_1", "under 1 px", lambda line: line["under_1"]),
    mean("others_px", "others px", about="how far the key points moved that nobody dragged"),
    mean("outside", "outside", ".3f", "mean change more than 10 px from handles and targets, of a"
         " range of 1"),
    mean("realism", "dD", "+.2f", "change of the logit of the model's own discriminator, which"
         " `dragline` watches and cannot be judged by"),
    mean("realism_to_a_stranger", "dD stranger", "+.2f", "the same by the discriminator"
         " `features64`, of another training on photographs: to it all toy cars look wrong"),
    mean("sharp", "sharp", about="gradient energy of the picture, after over before"),
    count("repainted", "repainted", lambda line: line["repainted"], about="the mean colour of the"
          " car, or of all around it, changed by more than 25 of 255 levels"),
    mean("identity", "identity", ".4f", "perceptual distance to the start in the features of"
         " `features64`; lower keeps more"),
    count("good", "good", lambda line: line["good"], about="every point under 2 px, dD above -1,"
          " sharp at least 0.75"),
    mean("steps", "steps", ".1f", part=COST),
    both_ways("passes forward / backward", "through the generator's synthesis, wherever they stop;"
              " those through a discriminator are in the JSON file"),
    mean("cpu_seconds", "CPU s", part=COST),
    middle("wall_seconds", "wall s, median", part=COST),
    middle("peak_mb", "peak MB, median", ".0f", "largest resident size of the process during a"
           " drag, networks and libraries included", COST),
    count("judge_unsure", "judge unsure", lambda line: line["judge_confidence"] < SURE,
          about="the judge hardly sees a dragged point", part=COST),
    count("arrived_wrong", "arrived, but wrong", lambda line: line["wrong"],
          lambda line: line.get("status") == "arrived",
          "of drags that end as `arrived`, those whose point the judge sees more than 3 px from"
          " where the drag says it is", COST),
    count("wrong_called_lost", "wrong, called lost", lambda line: line["called_lost"],
          lambda line: line.get("wrong") and "called_lost" in line,
          "of all drags that are wrong so, those that the drag itself calls lost", COST),
    ends("ended"),
)  # fmt: skip


@dataclass(frozen=True)
class Landmarks:
    """See the module."""

    name: str = "landmarks"
    about: str = (
        "A task takes key points of a generated toy car to where the judge sees them in a mix of"
        " it with another sample (the first 4 or 6 latents are the other's), so that a solution"
        " exists; or pulls one by 6 px, wheels and roofs outward, any part left or right, which the"
        " model may not draw at all. *Hard* roofs"
        " lie 4 to 10 px away, all others 2 to 10 (the mean over a task's points). The judge is a"
        " key-point regressor that saw procedural drawings alone."
    )
    groups: Sequence[str] = tuple(GROUPS)
    columns: Sequence[Column] = COLUMNS
    ruler: str = "px"
    plots: Mapping[str, str] = field(
        default_factory=lambda: {
            "px": "distance to the target, px",
            "outside": "change elsewhere, of a range of 1",
        }
    )
    images: Sequence[str] = ("start", "result")
    pair: tuple[str, str] | None = ("start", "result")

    def identity(self, lab: Lab) -> Facts:
        """Facts on the judges."""
        return lab.judges()

    def rows(self, group: str, specs: Sequence[MethodSpec]) -> dict[str, MethodSpec | None]:
        """The start, the mix where there is one, and the methods."""
        baselines = (NO_EDIT, THE_MIX) if "real mix" in group else (NO_EDIT,)
        return dict.fromkeys(baselines) | {spec.text: spec for spec in specs}

    def tasks(self, lab: Lab, group: str) -> Iterator[Task]:
        """See `framework.evaluation.drag.targets`."""
        return GROUPS[group](lab)

    def run(self, lab: Lab, group: str, task: Task, row: str, spec: MethodSpec | None) -> Result:
        """Drag, and judge the result."""
        start, trial = lab.latents(task["seed"]), None
        end = mixed(lab, task["seed"], task["layers"]) if row == THE_MIX else start
        if spec is not None:
            trial = run_trial(lab, spec, start, task["handles"], task["targets"])
            end = trial.ws
        before, after = lab.picture(torch.cat([start, end]))
        facts = measure_edit(
            lab, before, after, task["handles"], task["targets"], task["parts"], trial
        )
        return Result(facts, {"start": before, "result": after})

    def lines(self, row: str, facts: Facts) -> dict[str, Facts]:
        """A result is a line of its row."""
        return {row: facts}


PROTOCOL = Landmarks()
