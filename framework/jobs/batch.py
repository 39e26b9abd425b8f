"""Many drags of one model: the rows of a task file, the good ones done, the bad ones reported."""

from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path

from framework.dashboard import in_sweep
from framework.errors import UserError, blame
from framework.files import new_folder
from framework.jobs.drag import carry_out
from framework.jobs.log import RESULTS, Results, log_batch
from framework.jobs.models import Networks
from framework.jobs.outcomes import DragBatchOutcome
from framework.jobs.outputs import CLIP
from framework.jobs.picture_files import kind_of, picture_file
from framework.jobs.requests.drag import OF_PHOTOGRAPHS, DragRequest
from framework.jobs.requests.invert import InversionChoice
from framework.jobs.stages import Inverter, inverter_of
from framework.jobs.starts import OpenDrag, PhotoDrag, open_drag
from framework.jobs.tasks import Task, read_tasks
from framework.jobs.watcher import SILENT, Prefixed, Watcher
from framework.media.video import check_clip_path


def drag_all(request: DragRequest, watcher: Watcher = SILENT) -> DragBatchOutcome:
    """Check all rows of a request's tasks, report the bad ones, and do the others.

    Raises:
        UserError: At once, if none can be done, or one cannot and `on_bad` is "error".
    """
    if request.video:
        check_clip_path(Path(request.out) / CLIP)
    rows = _Rows(request)
    good, wrong = rows.checked(watcher)
    count = len(good) + len(wrong)
    if wrong and (request.on_bad == "error" or not good):
        text = "; ".join(f"{where}: {reason}" for where, reason in wrong.items())
        raise UserError(
            f"{request.tasks}: {len(wrong)} of {count} tasks cannot be done: {text}", "tasks"
        )
    folder, config = new_folder(request.out), asdict(request)
    if in_sweep():  # an agent gives one name to all runs of this process
        rows.without_runs()
    outcome = DragBatchOutcome(count=count, results=folder / RESULTS)
    results = Results(outcome.results)

    def fail(name: str, reason: str) -> None:
        outcome.failed.append(name)
        results.add({"name": name, "error": reason})
        watcher.failed(name, reason)

    for where, reason in wrong.items():
        fail(where.replace(" ", "_"), reason)
    watcher.say(f"{len(good)} tasks")
    for task in good:
        try:
            one = carry_out(rows.opened(task), watcher, folder.resolve().name)
        except UserError as error:  # found only while dragging; the other tasks go on
            fail(task.name, str(error))
            continue
        outcome.outcomes.append(one)
        results.add({"name": task.name, **one.to_dict()})
        watcher.done(task.name, one)
        if one.stop is not None:
            outcome.stop = one.stop
            break
    log_batch(folder, config, request.wandb, results.rows, outcome.to_dict())
    return outcome


class _Rows:
    """Opens tasks, each when it is needed: photographs and personal models are large."""

    def __init__(self, request: DragRequest) -> None:
        self._request = request
        self._networks = Networks(request.model or "", request.device, request.prompt)
        self._choice = InversionChoice(stages=request.stages)

    def without_runs(self) -> None:
        """Let no drag have a W&B run of its own."""
        self._request = replace(self._request, wandb="disabled")

    def checked(self, watcher: Watcher) -> tuple[list[Task], dict[str, str]]:
        """Return the tasks that can be done, and for all others the reason, by place.

        Raises:
            UserError: If file or model cannot be opened.
        """
        in_model = self._request.points_in == "model"
        size = self._networks.img_size  # opens the model, whose faults are no row's
        path = self._request.tasks or ""
        with blame("tasks", path):
            tasks, wrong = read_tasks(path, size if in_model else None)
        good = []
        for task in tasks:
            try:
                self.opened(task, Prefixed(watcher, task.name))
                good.append(task)
            except UserError as error:
                wrong[task.where] = str(error)
        return good, dict(sorted(wrong.items(), key=lambda item: int(item[0].split()[1])))

    def opened(self, task: Task, watcher: Watcher = SILENT) -> OpenDrag | PhotoDrag:
        """Read and check everything that a row names."""
        return open_drag(self._row(task), self._networks, watcher, self._inverter)

    @cached_property
    def _inverter(self) -> Inverter:
        return inverter_of(self._networks, self._choice)

    def _row(self, task: Task) -> DragRequest:
        """Return the request of a row; the batch's framing applies to photographs alone."""
        fields = dict(task.fields)
        image = fields.get("image")
        if image is None or kind_of(picture_file(image)) != "photograph":
            fields = dict.fromkeys(OF_PHOTOGRAPHS) | fields
        return self._request.row(str(Path(self._request.out) / task.name), **fields)
