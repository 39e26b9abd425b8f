"""Drags that begin at a picture: a photograph, an inverted image, or latents of another program."""

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework.cli.drag_image import kind_of, model_of, picture_file, placed_points
from framework.cli.drag_job import DragJob
from framework.cli.drag_source import JobSource
from framework.cli.invert_settings import InversionChoice
from framework.cli.inverted import Inverted, open_inverted
from framework.cli.inverter import Inverter
from framework.cli.photos import Photo, read_photo
from framework.drag.points import Point
from framework.errors import UserError, blame
from framework.formats.latents import read_latents
from framework.inversion.embed import mean_ws


def pictured(source: JobSource, points: str, mask: str | None) -> "DragJob | PhotoDrag":
    """Return the drag of `--image`: a photograph has yet to be inverted.

    Raises:
        UserError: Naming the flag, if anything does not fit.
    """
    file = picture_file(source.image.image or "")
    kind = kind_of(file)
    if kind == "edit":
        raise UserError(f"--image {file}: is an edit; give it as --edit")
    if source.model is None:
        source.model = model_of(file)
    start = PhotoDrag.new if kind == "photograph" else picture_job
    return start(source, file, points, mask)


@dataclass(frozen=True, eq=False)
class PhotoDrag:
    """A drag that begins at a photograph that has yet to be inverted.

    Args:
        inverter: What inverts it.
        photo: The photograph.
        handles: Points in the model's pixels.
        targets: Where they shall go.
        mask: As read.
        source: What makes jobs.
    """

    inverter: Inverter
    photo: Photo
    handles: Sequence[Point]
    targets: Sequence[Point]
    mask: Any
    source: JobSource

    @classmethod
    def new(cls, source: JobSource, file: Path, points: str, mask: str | None) -> "PhotoDrag":
        """Read and check all of it, before anything is computed.

        Raises:
            UserError: Naming the flag.
        """
        choice = source.image
        if choice.photo is not None:
            raise UserError(f"--photo {choice.photo}: only with an inverted image")
        inverter = Inverter(source.networks, InversionChoice(stages=choice.stages))
        with blame("--image", str(file)):
            photo = read_photo(file, source.generator, choice.framing)
        handles, targets = placed_points(points, choice.points_in, source.img_size, photo.geometry)
        allowed = source.placed_mask(mask, choice.points_in, photo.geometry)
        drag = cls(inverter, photo, handles, targets, allowed, source)
        drag._try()
        inverter.prepare()
        return drag

    def job(self, inverted: Inverted) -> DragJob:
        """The drag on what came of the photograph."""
        return self.source.inverted_job(inverted, self.handles, self.targets, self.mask)

    def _try(self) -> None:
        """Refuse now what the drag would refuse after the inversion."""
        trial = self.source.job(
            mean_ws(self.source.generator), self.handles, self.targets, self.mask, {}
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said when it comes to it
            trial.stream()


def picture_job(source: JobSource, file: Path, points: str, mask: str | None) -> DragJob:
    """The drag of an inverted image or of latents.

    Raises:
        UserError: Naming the flag, if anything does not fit.
    """
    choice = source.image
    for flag, value in {"stages": choice.stages, **vars(choice.framing)}.items():
        if value is not None:
            raise UserError(f"--{flag.replace('_', '-')}: only where --image is a photograph")
    if kind_of(file) == "latents":
        if choice.photo is not None:
            raise UserError(f"--photo {choice.photo}: only with an inverted image")
        with blame("--image", str(file)):
            ws = read_latents(file, source.generator.num_ws)
        if len(ws) > 1:
            print(f"note: {file} holds {len(ws)} pictures; the last is dragged", file=sys.stderr)
        with blame("--image", str(file)):
            ws = source.fitting(ws[-1:])
        handles, targets = placed_points(points, choice.points_in, source.img_size, None)
        allowed = source.placed_mask(mask, choice.points_in, None)
        return source.job(ws, handles, targets, allowed, {"image": str(file)})
    inverted = open_inverted(file, source.generator, choice.photo)
    geometry = inverted.image.geometry
    handles, targets = placed_points(points, choice.points_in, source.img_size, geometry)
    allowed = source.placed_mask(mask, choice.points_in, geometry)
    return source.inverted_job(inverted, handles, targets, allowed)
