"""`tracking`: every tracker against motions whose truth is known, without any drag.

DragGAN compares its tracker with RAFT and PIPs by what whole drags reach (Pan et al. 2023, table
1); here the trackers stand alone, so that a poor drag cannot be mistaken for a poor tracker.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from framework.drag.registry import names
from framework.drag.stylegan2 import StyleGAN2
from framework.errors import UserError
from framework.evaluation.drag.columns import COST, RESULT, mean
from framework.evaluation.drag.following import Followed, MovingFeatures, follow
from framework.evaluation.drag.known_motion import Motion, random_motion
from framework.evaluation.drag.lab import Lab
from framework.evaluation.drag.measures import WRONG_PX
from framework.evaluation.drag.protocol import Column, Facts, Line, Result
from framework.evaluation.drag.specs import MethodSpec
from framework.evaluation.drag.targets import Task, judge_knows, mixed, several_tasks
from framework.evaluation.inversion.editability import strong_points
from framework.media.images import to_float, to_uint8

STEPS = 16
POINTS, MARGIN = 4, 1 / 16  # of the picture's side, at the border
SHIFT = 1 / 8  # of the picture's side
SHIFTED, TURNED, PATHS = "features, shifted", "features, turned too", "latent paths to a mix"


def moved_tasks(lab: Lab, turn_degrees: float, stretch: float) -> Iterator[Task]:
    """Tasks on pictures whose features are moved: strong points that stay inside."""
    size = lab.generator.img_size
    height, width = (int(side) for side in size)
    seed = lab.first_seed
    while True:
        rng = torch.Generator().manual_seed(seed)
        motion = random_motion((height, width), rng, SHIFT * height, turn_degrees, stretch)
        picture = to_float(lab.picture(lab.latents(seed)))
        handles = torch.tensor(strong_points(picture, POINTS))
        last = torch.tensor([width - 1.0, height - 1.0])
        went = motion.points(handles)
        inside = ((went >= MARGIN * height) & (went <= last - MARGIN * height)).all(dim=1)
        if inside.any():
            yield {
                "seed": seed,
                "handles": handles[inside].tolist(),
                "targets": went[inside].tolist(),
                "matrix": motion.matrix.tolist(),
                "shift_px": motion.shift_px.tolist(),
            }
        seed += 1


def path_tasks(lab: Lab) -> Iterator[Task]:
    """All key points on the way to a mix; none where the judge does not know the pictures."""
    return several_tasks(lab, 99) if judge_knows(lab) else iter(())


GROUPS: dict[str, Callable[[Lab], Iterator[Task]]] = {
    SHIFTED: partial(moved_tasks, turn_degrees=0.0, stretch=0.0),
    TURNED: partial(moved_tasks, turn_degrees=12.0, stretch=0.1),
    PATHS: path_tasks,
}


def auc(scores: Sequence[float], wrong: Sequence[bool]) -> float | None:
    """How often a wrong one has the higher score: the area under the ROC curve; None without both.

    Ties count half (Hanley and McNeil 1982).
    """
    values, chosen = np.asarray(scores, float), np.asarray(wrong, bool)
    higher, lower = values[chosen], values[~chosen]
    if not len(higher) or not len(lower):
        return None
    apart = higher[:, None] - lower[None]
    return float((apart > 0).mean() + (apart == 0).mean() / 2)


def _pooled(lines: Sequence[Line], name: str) -> list[Any]:
    return [value for line in lines for value in line.get(name, [])]


def _predicts(name: str, title: str, about: str) -> Column:
    """How well a value per point tells the lost points of all tasks from the others."""

    def summary(lines: Sequence[Line]) -> Facts:
        lost = [error > WRONG_PX for error in _pooled(lines, "errors_px")]
        return {"auc": auc(_pooled(lines, name), lost), "lost": sum(lost), "of": len(lost)}

    def text(numbers: Facts) -> str:
        return "" if numbers["auc"] is None else f"{numbers['auc']:.2f}"

    return Column(f"auc_{name}", title, summary, text, about, RESULT)


def _not_run(title: str) -> Column:
    """Why a tracker did not run, such as for want of its weights."""

    def summary(lines: Sequence[Line]) -> Facts:
        reasons = dict.fromkeys(line["refusal"] for line in lines if "refusal" in line)
        return {"reason": "; ".join(reasons)}

    return Column("not_run", title, summary, lambda numbers: numbers["reason"], "", COST)


COLUMNS: Sequence[Column] = (
    mean("px", "mean px", about="distance of the tracked points to the truth at the end, mean over"
         " a task's points"),
    mean("path_px", "on the way, px", about="the same, mean over all steps"),
    mean("wheels_px", "wheels px"),
    mean("roofs_px", "roof corners px"),
    mean("moved_px", "moved px", about="how far the points truly moved"),
    mean("lost", "lost", ".0%", "share of a task's points more than 3 px from the truth then"),
    _predicts("drift", "AUC drift", "how often the tracker's own drift is higher for a lost point"
              " than for one that is not (0.5 is chance)"),
    _predicts("doubt", "AUC last look", "the same for the drag's own confidence at its end"),
    mean("cpu_ms", "CPU ms", ".1f", "of one look at all points, without the model's own passes",
         COST),
    _not_run("did not run"),
)  # fmt: skip


@dataclass(frozen=True)
class Tracking:
    """See the module."""

    name: str = "tracking"
    about: str = (
        f"Trackers follow points through {STEPS} steps and are told nothing. *Features*: the"
        " features of a generated picture, and the picture, are shifted by up to an eighth of its"
        " side along each axis, or turned by up to 12 degrees, stretched and sheared by up to a"
        " tenth as well; points are where the picture changes most. *Latent paths*: key points of"
        " toy cars on the straight line from a picture's latents to a mix of it with another one,"
        " against the judge, whose own error is about half a pixel; some parts do not move there"
        " but jump, as another car is drawn. Rows: a tracker, with the sizes of a method; `off`"
        " stays where it began."
    )
    groups: Sequence[str] = tuple(GROUPS)
    columns: Sequence[Column] = COLUMNS
    ruler: str = "px"
    plots: Mapping[str, str] = field(
        default_factory=lambda: {"px": "distance of the tracked points to the truth, px"}
    )
    images: Sequence[str] = ("start", "end")
    pair: tuple[str, str] | None = None

    def identity(self, lab: Lab) -> Facts:
        """Facts on the steps, and on the judge where he can see."""
        return {"steps": STEPS, "lost_px": WRONG_PX, "judge_sha256": lab.judge.facts["sha256"]}

    def rows(self, group: str, specs: Sequence[MethodSpec]) -> dict[str, MethodSpec | None]:
        """Every tracker with every method's sizes."""
        chosen = [(tracker, spec) for tracker in names("trackers") for spec in specs]
        return {
            f"{tracker}, {spec.text}": MethodSpec(
                f"{spec.text}+tracker={tracker}", replace(spec.settings, tracker=tracker)
            )
            for tracker, spec in chosen
        }

    def tasks(self, lab: Lab, group: str) -> Iterator[Task]:
        """See `GROUPS`."""
        return GROUPS[group](lab)

    def run(self, lab: Lab, group: str, task: Task, row: str, spec: MethodSpec | None) -> Result:
        """Follow the points and compare them with the truth at every step."""
        assert spec is not None  # there are no baselines
        model, start = StyleGAN2(lab.generator, spec.settings), lab.latents(task["seed"])
        handles = torch.tensor(task["handles"])
        shares = torch.linspace(0, 1, STEPS + 1)
        if group == PATHS:
            moving, end = model, mixed(lab, task["seed"], task["layers"])
            states = [torch.lerp(start, end, share) for share in shares]
            truth = _as_the_judge_sees(lab, states[1:], task["parts"])
            truth[-1] = torch.tensor(task["targets"])
        else:
            matrix, shift_px = torch.tensor(task["matrix"]), torch.tensor(task["shift_px"])
            motion = Motion(matrix, shift_px, model.img_size)
            moving, states = MovingFeatures(model, start, motion), list(shares[:, None])
            truth = torch.stack([motion.part(float(s)).points(handles) for s in shares[1:]])
        try:
            followed = follow(moving, states, handles, spec.settings)
        except UserError as error:  # a tracker without its weights
            return Result({"status": "refused", "refusal": str(error)})
        facts = measure(followed, truth, handles, task.get("parts", []))
        there = {"points": followed.path[-1].tolist(), "seen": truth[-1].tolist()}
        facts["marks"] = {"start": {"points": task["handles"]}, "end": there}
        with torch.no_grad():
            both = [to_uint8(moving.picture(states[place]))[0] for place in (0, -1)]
        return Result(facts, dict(zip(self.images, both, strict=True)))

    def lines(self, row: str, facts: Facts) -> dict[str, Facts]:
        """A result is a line of its row; trackers that cannot run are named once."""
        return {row.partition(",")[0] if "refusal" in facts else row: facts}


def measure(followed: Followed, truth: Tensor, handles: Tensor, parts: Sequence[str]) -> Facts:
    """Errors of followed points.

    Args:
        followed: The points.
        truth: Where they truly are, shape (S, K, 2).
        handles: Where they began, shape (K, 2).
        parts: Names of the points, if they have any.
    """
    errors = (followed.path - truth).norm(dim=2)
    last = [float(error) for error in errors[-1]]
    facts: Facts = {
        "px": fmean(last),
        "path_px": float(errors.mean()),
        "moved_px": float((truth[-1] - handles).norm(dim=1).mean()),
        "lost": fmean(error > WRONG_PX for error in last),
        "errors_px": last,
        "drift": [float(drift) for drift in followed.drift],
        "doubt": [1 - confidence for confidence in followed.confidence],
        "cpu_ms": followed.cpu_ms,
    }
    for name, part in (("wheels_px", "wheel_hub"), ("roofs_px", "roof_corner")):
        of_part = [error for error, p in zip(last, parts, strict=False) if p.endswith(part)]
        if of_part:
            facts[name] = fmean(of_part)
    return facts


def _as_the_judge_sees(lab: Lab, states: Sequence[Tensor], parts: Sequence[str]) -> Tensor:
    """Key points (x, y) of the states' pictures, shape (S, K, 2)."""
    seen = lab.look(lab.picture(torch.cat(list(states)))).points
    return torch.from_numpy(seen[:, [lab.judge.names.index(part) for part in parts]])


PROTOCOL = Tracking()
