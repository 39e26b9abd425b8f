"""From words to jobs: the model opened, latents, points and masks read and checked."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from framework.cli.common import portable_name, read_mask, seed_latents
from framework.cli.drag_image import ImageChoice, Pairs, placed_points
from framework.cli.drag_job import DragJob
from framework.cli.drag_settings import SettingsChoice
from framework.cli.invert_settings import PointsIn
from framework.cli.inverted import Inverted, open_linked
from framework.cli.networks import Networks
from framework.compositing.geometry import Geometry, to_canvas, valid_mask
from framework.drag.edit_file import EditFile
from framework.drag.inputs import check_latents, check_mask
from framework.drag.points import Point, parse_points
from framework.errors import UserError, blame
from framework.models.digest import state_digest

if TYPE_CHECKING:
    from framework.models.stylegan2 import Generator


@dataclass
class JobSource:
    """Makes jobs for one model, which is loaded once.

    Args:
        model: Zoo name, folder or file; None for that of the edit being continued, or of the
            inverted image.
        psi: Truncation of pictures from seeds.
        class_index: Class of pictures from seeds, or None.
        device: What `--device` says.
        choice: What the command line says about settings.
        image: What it says about the picture.
    """

    model: str | None
    psi: float
    class_index: int | None
    device: str
    choice: SettingsChoice
    image: ImageChoice = field(default_factory=ImageChoice)

    def new(self, seed: int, points: str, mask: str | None) -> DragJob:
        """Return the job of a drag from a seed.

        Raises:
            UserError: Naming the flag, if anything does not fit.
        """
        with blame("--points"):
            handles, targets = parse_points(points, self.img_size)
        ws = seed_latents(self.generator, seed, self.psi, self.class_index)
        facts = {"seed": seed, "psi": self.psi}
        return self.job(ws, handles, targets, self._mask(mask), facts)

    def inverted_job(
        self,
        inverted: Inverted,
        handles: Sequence[Point],
        targets: Sequence[Point],
        mask: np.ndarray | None,
    ) -> DragJob:
        """Return the drag of an inverted image on its own generator."""
        facts = {"image": inverted.file.name, "measures": inverted.image.measures}
        return self.job(inverted.image.ws, handles, targets, mask, facts, inverted=inverted)

    def continued(
        self, edit: str, at: int | None, points: str | Pairs | None, mask: str | None
    ) -> DragJob:
        """Return the job that goes on with an edit: with its points, or with others.

        Args:
            edit: File to go on from.
            at: Step to go on from; None for the last.
            points: Other points; they start from that step's picture.
            mask: Another mask; by default the edit's.
        """
        record = EditFile.load(edit)
        self.model = self.model or record.model_name
        inverted = open_linked(Path(edit), record, self.generator, self.image.photo)
        generator = self.generator if inverted is None else inverted.generator
        with blame("--edit", edit):
            record.check_model(generator)
        allowed = None if record.mask is None else record.mask.numpy()
        numbers = record.step.tolist()
        if at is not None and at not in numbers:
            raise UserError(f"--at {at}: the edit has steps {numbers[0]} to {numbers[-1]}")
        kept = len(numbers) if at is None else numbers.index(at) + 1
        if points is None:
            handles, targets = record.handles.tolist(), record.targets[-1].tolist()
            past, ws = list(record.steps(generator))[:kept], record.start_ws
            earlier = record.earlier_ws
        else:
            handles, targets = placed_points(
                points, self.image.points_in, self.img_size, _geometry(inverted)
            )
            past, ws = [], record.ws[kept - 1 : kept]
            earlier = torch.cat([record.earlier_ws, record.ws[:kept]])
        if mask is not None:
            allowed = self.placed_mask(mask, self.image.points_in, _geometry(inverted))
        return self.job(
            ws, handles, targets, allowed, {"edit": edit}, record, inverted,
            past=past, earlier_ws=earlier,
        )  # fmt: skip

    @cached_property
    def networks(self) -> Networks:
        """The model's networks, each loaded when it is first needed."""
        return Networks(self.model or "", self.device)

    @property
    def generator(self) -> "Generator":
        """The model."""
        return self.networks.generator

    @cached_property
    def digest(self) -> str:
        """What the edit file knows the model by."""
        return state_digest(self.generator)

    @property
    def img_size(self) -> tuple[int, int]:
        """The model's (height, width)."""
        height, width = self.generator.img_size
        return height, width

    def fitting(self, ws: torch.Tensor) -> torch.Tensor:
        """Latents of one picture, checked against the model."""
        return check_latents(self.generator, ws)

    def placed_mask(
        self, path: str | None, points_in: PointsIn, geometry: Geometry | None
    ) -> np.ndarray | None:
        """Read a mask in the pixels that points are in; None for none.

        Raises:
            UserError: Naming the flag, if it does not fit.
        """
        if path is None or points_in == "model" or geometry is None:
            return self._mask(path)
        with blame("--mask", path):
            levels = (255 * read_mask(path)).astype(np.uint8)[..., None]
            mask = (to_canvas(levels, geometry)[..., 0] >= 128) * valid_mask(geometry)
            check_mask(mask, self.img_size, [])
        return mask

    def _mask(self, path: str | Path | None, flag: str = "--mask") -> np.ndarray | None:
        """Read a mask and check it here, where its file can be named; oddities are told later."""
        if path is None:
            return None
        mask = read_mask(path, flag)
        with blame(flag, str(path)):
            # Without handles: what is odd, not wrong, is said when the drag checks them together.
            check_mask(mask, self.img_size, [])
        return mask

    def job(
        self,
        ws: torch.Tensor,
        handles: Any,
        targets: Any,
        mask: np.ndarray | None,
        facts: dict[str, Any],
        record: EditFile | None = None,
        inverted: Inverted | None = None,
        **more: Any,
    ) -> DragJob:
        """Return the job with the settings that hold: an inverted image's is on its own generator.

        Raises:
            UserError: Naming the flag, if a setting does not fit.
        """
        default = None if record is None else record.settings
        settings, origin = self.choice.resolve(self.img_size, default)
        facts = {**facts, "settings_from": origin, "handles": handles, "targets": targets}
        own = inverted is not None and inverted.generator is not self.generator
        return DragJob(
            generator=self.generator if inverted is None else inverted.generator,
            model_name=portable_name(self.model or ""),
            model_digest=state_digest(inverted.generator) if own and inverted else self.digest,
            ws=ws,
            handles=handles,
            targets=targets,
            mask=mask,
            settings=settings,
            facts=facts,
            inverted=inverted,
            **more,
        )


def _geometry(inverted: Inverted | None) -> Geometry | None:
    return None if inverted is None else inverted.image.geometry
