"""Many drags of one model: the rows of a task file, the good ones done, the bad ones named."""

import math
import sys
from contextlib import redirect_stderr
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import Any, TextIO

from framework.cli.common import json_line, print_json, seed_latents
from framework.cli.drag_image import ImageChoice, kind_of, picture_file
from framework.cli.drag_job import DragJob, Outputs, carry_out, checked_stream, tell
from framework.cli.drag_picture import PhotoDrag, latents_job, pictured
from framework.cli.drag_settings import OnBad
from framework.cli.drag_source import JobSource
from framework.cli.invert_settings import InversionChoice
from framework.cli.inverter import Inverter
from framework.drag.tasks import DragTask, read_tasks
from framework.errors import UserError, blame
from framework.files import naming, new_folder


def run_batch(
    source: JobSource, tasks: str, out: str, outputs: Outputs, on_bad: OnBad, json: bool
) -> None:
    """Look at all rows, name the bad ones, and do the others.

    Raises:
        UserError: At once, if none can be done, or one cannot and `on_bad` is "error"; else at the
            end, if one failed.
    """
    rows = _Rows(source)
    good, wrong = rows.checked(tasks)
    count = len(good) + len(wrong)
    if wrong and (on_bad == "error" or not good):
        text = "; ".join(f"{where}: {reason}" for where, reason in wrong.items())
        raise UserError(f"{tasks}: {len(wrong)} of {count} tasks cannot be done: {text}", "tasks")
    folder = new_folder(out)
    with _Results(folder / "results.jsonl") as results:
        for where, reason in wrong.items():
            results.fail(where.replace(" ", "_"), reason)
        print(f"{len(good)} tasks")
        stop = _carry_out_all(rows, good, folder, outputs, results)
    if json:
        facts = {"tasks": count, "failed": results.failed}
        print_json({**facts, **_summary(results.outcomes, folder)})
    if stop is not None:
        raise stop
    if results.failed:
        failed = ", ".join(results.failed)
        raise UserError(f"{len(results.failed)} of {count} tasks failed: {failed}")


def _carry_out_all(
    rows: "_Rows", good: list[DragTask], folder: Path, outputs: Outputs, results: "_Results"
) -> KeyboardInterrupt | None:
    outputs = replace(outputs, wandb_group=folder.resolve().name)
    for task in good:
        try:
            outcome, stop = rows.carried_out(task, folder / task.name, outputs)
        except UserError as error:  # found only while dragging; the other tasks go on
            results.fail(task.name, _as_key(error))
            continue
        results.keep(task.name, outcome)
        if stop is not None:
            return stop
    return None


class _Rows:
    """Makes jobs of tasks, each when it is needed: photographs and personal models are large."""

    def __init__(self, source: JobSource) -> None:
        self._source = source
        self._inverter: Inverter | None = None

    def checked(self, path: str) -> tuple[list[DragTask], dict[str, str]]:
        """The tasks that can be done, and why not, by place, for all others.

        Raises:
            UserError: If file or model cannot be opened.
        """
        in_model = self._source.image.points_in == "model"
        size = self._source.img_size  # opens the model, whose faults are no row's
        with blame("--tasks", path):
            tasks, wrong = read_tasks(path, size if in_model else None)
        good = []
        for task in tasks:
            try:
                job = self._job(task)
                if isinstance(job, DragJob):
                    checked_stream(job, f"{task.name}: ")
                good.append(task)
            except UserError as error:
                wrong[task.where] = _as_key(error)
        return good, dict(sorted(wrong.items(), key=lambda item: int(item[0].split()[1])))

    def carried_out(
        self, task: DragTask, folder: Path, outputs: Outputs
    ) -> tuple[dict[str, Any], KeyboardInterrupt | None]:
        """Do one task in a new folder; see `drag_job.carry_out`."""
        with redirect_stderr(StringIO()):  # what is odd was said before
            job, facts = self._job(task), {}
        if isinstance(job, PhotoDrag):
            job, inversion = job.job(folder)
            facts = {"inversion": inversion}
        else:
            new_folder(folder)
        with redirect_stderr(StringIO()):
            stream = checked_stream(job)
        outcome, stop = carry_out(job, stream, folder, outputs)
        return {**outcome, **facts}, stop

    def _job(self, task: DragTask) -> DragJob | PhotoDrag:
        source, points = self._source, (task.handles, task.targets)
        mask = None if task.mask is None else str(task.mask)
        if task.edit is not None:
            return source.continued(str(task.edit), None, points, mask)
        if task.ws is not None:
            return latents_job(source, task.ws, points, mask, self._choice(task))
        if task.image is not None:
            inverter = self._shared_inverter()
            return pictured(source, points, mask, self._choice(task), inverter)
        if task.pick is not None or task.box is not None:
            raise UserError("pick and box: only with image or ws")
        ws = seed_latents(source.generator, task.seed or 0, source.psi, source.class_index)
        facts = {"task": task.name, "seed": task.seed, "psi": source.psi}
        allowed = source.placed_mask(mask, "model", None)
        return source.job(ws, task.handles, task.targets, allowed, facts)

    def _choice(self, task: DragTask) -> ImageChoice:
        """What row and flags say of a picture; flags about photographs are for these alone."""
        given = self._source.image
        if task.image is None or kind_of(picture_file(str(task.image))) != "photograph":
            given = ImageChoice(points_in=given.points_in)
        framing = replace(given.framing, box=task.box or given.framing.box)
        image = None if task.image is None else str(task.image)
        return replace(given, image=image, framing=framing, pick=task.pick)

    def _shared_inverter(self) -> Inverter:
        if self._inverter is None:
            choice = InversionChoice(stages=self._source.image.stages)
            self._inverter = Inverter(self._source.networks, choice)
        return self._inverter


@dataclass
class _Results:
    """What became of each task: a line of results.jsonl, and one for the user."""

    path: Path
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    _file: TextIO | None = None

    def __enter__(self) -> "_Results":
        with naming(self.path):
            self._file = open(self.path, "w", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with naming(self.path):
                self._file.close()

    def keep(self, name: str, outcome: dict[str, Any]) -> None:
        self.outcomes.append(outcome)
        self._write({"name": name, **outcome})
        tell(outcome, f"{name}: ")

    def fail(self, name: str, reason: str) -> None:
        self.failed.append(name)
        self._write({"name": name, "error": reason})
        print(f"{name}: {reason}", file=sys.stderr)

    def _write(self, facts: dict[str, Any]) -> None:
        with naming(self.path):
            print(json_line(facts), file=self._file, flush=True)


def _as_key(error: UserError) -> str:
    """A complaint in the words of a row, whose keys are called like the flags."""
    return str(error).removeprefix("--")


def _summary(outcomes: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Return the outcome of a batch: counts, sums and means, the farthest point of all."""
    count = len(outcomes) or math.nan  # a mean of nothing is nothing
    return {
        "arrived": sum(outcome["arrived"] for outcome in outcomes),
        "lost": sum(outcome["lost"] for outcome in outcomes),
        "doubtful": sum(outcome["doubtful"] for outcome in outcomes),
        "steps": sum(outcome["steps"] for outcome in outcomes),
        "seconds": round(sum(outcome["seconds"] for outcome in outcomes), 3),
        "mean_distance_px": sum(outcome["mean_distance_px"] for outcome in outcomes) / count,
        "max_distance_px": max((o["max_distance_px"] for o in outcomes), default=math.nan),
        "drift": sum(outcome["drift"] for outcome in outcomes) / count,
        "files": [str(folder / "results.jsonl")],
    }
