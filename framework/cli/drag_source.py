"""From words to jobs: the model opened, latents, points and masks read and checked."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from framework.cli.common import blame, open_generator, portable_name, read_mask, seed_latents
from framework.cli.drag_job import DragJob
from framework.cli.drag_settings import SettingsChoice
from framework.drag import EditFile
from framework.drag.inputs import check_latents, check_mask
from framework.drag.points import parse_points
from framework.drag.tasks import DragTask, read_tasks
from framework.errors import UserError
from framework.models.digest import state_digest

if TYPE_CHECKING:
    import numpy as np

    from framework.models.stylegan2 import Generator


@dataclass
class JobSource:
    """Makes jobs for one model, which is loaded once.

    Args:
        model: Zoo name, folder or file; None for that of the edit being continued.
        psi: Truncation of pictures from seeds.
        class_index: Class of pictures from seeds, or None.
        device: What `--device` says.
        choice: What the command line says about settings.
    """

    model: str | None
    psi: float
    class_index: int | None
    device: str
    choice: SettingsChoice

    def new(self, seed: int, points: str, mask: str | None) -> DragJob:
        """Return the job of a drag from a seed.

        Raises:
            UserError: Naming the flag, if anything does not fit.
        """
        with blame("--points"):
            handles, targets = parse_points(points, self.img_size)
        ws = seed_latents(self.generator, seed, self.psi, self.class_index)
        facts = {"seed": seed, "psi": self.psi}
        return self._job(ws, handles, targets, self._mask(mask), facts)

    def continued(self, edit: str, at: int | None, points: str | None, mask: str | None) -> DragJob:
        """Return the job that goes on with an edit: with its points, or with others.

        Args:
            edit: File to go on from.
            at: Step to go on from; None for the last.
            points: Other points; they start from that step's picture.
            mask: Another mask; by default the edit's.
        """
        record = EditFile.load(edit)
        self.model = self.model or record.model_name
        with blame(f"--edit {edit}"):
            record.check_model(self.generator)
        allowed = None if record.mask is None else record.mask.numpy()
        numbers = record.step.tolist()
        if at is not None and at not in numbers:
            raise UserError(f"--at {at}: the edit has steps {numbers[0]} to {numbers[-1]}")
        kept = len(numbers) if at is None else numbers.index(at) + 1
        if points is None:
            handles, targets = record.handles.tolist(), record.targets[-1].tolist()
            past, ws = list(record.steps(self.generator))[:kept], record.start_ws
            earlier = record.earlier_ws
        else:
            with blame("--points"):
                handles, targets = parse_points(points, self.img_size)
            past, ws = [], record.ws[kept - 1 : kept]
            earlier = torch.cat([record.earlier_ws, record.ws[:kept]])
        if mask is not None:
            allowed = self._mask(mask)
        return self._job(
            ws, handles, targets, allowed, {"edit": edit}, record, past=past, earlier_ws=earlier
        )

    def batch(self, tasks: str) -> dict[str, DragJob]:
        """Return the jobs of a task file by name, all of them read and checked."""
        with blame("--tasks"):
            read = read_tasks(tasks, self.img_size)
        jobs = {}
        for task in read:
            with blame(f"--tasks {tasks}, {task.name}"):
                jobs[task.name] = self._task_job(task)
        return jobs

    @cached_property
    def generator(self) -> "Generator":
        """The model, loaded when it is first needed."""
        return open_generator(self.model or "", self.device)

    @cached_property
    def digest(self) -> str:
        """What the edit file knows the model by."""
        return state_digest(self.generator)

    @property
    def img_size(self) -> tuple[int, int]:
        """The model's (height, width)."""
        height, width = self.generator.img_size
        return height, width

    def _task_job(self, task: DragTask) -> DragJob:
        if task.ws is None:
            ws = seed_latents(self.generator, task.seed or 0, self.psi, self.class_index)
        else:
            ws = check_latents(self.generator, _read_latents(task.ws))
        mask = self._mask(task.mask, "mask")
        facts = {"task": task.name, "seed": task.seed, "psi": self.psi}
        return self._job(ws, task.handles, task.targets, mask, facts)

    def _mask(self, path: str | Path | None, flag: str = "--mask") -> "np.ndarray | None":
        """Read a mask and check it here, where its file can be named; oddities are told later."""
        if path is None:
            return None
        mask = read_mask(path, flag)
        with blame(f"{flag} {path}"):
            # Without handles: what is odd, not wrong, is said when the drag checks them together.
            check_mask(mask, self.img_size, [])
        return mask

    def _job(
        self,
        ws: torch.Tensor,
        handles: Any,
        targets: Any,
        mask: "np.ndarray | None",
        facts: dict[str, Any],
        record: EditFile | None = None,
        **more: Any,
    ) -> DragJob:
        default = None if record is None else record.settings
        settings, origin = self.choice.resolve(self.img_size, default)
        facts = {**facts, "settings_from": origin, "handles": handles, "targets": targets}
        return DragJob(
            generator=self.generator,
            model_name=portable_name(self.model or ""),
            model_digest=self.digest,
            ws=ws,
            handles=handles,
            targets=targets,
            mask=mask,
            settings=settings,
            facts=facts,
            **more,
        )


def _read_latents(path: Path) -> torch.Tensor:
    """Read the last of the latents "ws" (N, num_ws, w_dim) in a safetensors file."""
    from framework.tensor_files import opened_tensors

    complaint = "holds no latents `ws` in safetensors"
    with opened_tensors(path, complaint=complaint, kind=UserError) as file:
        return file.get_tensor("ws")[-1:]
