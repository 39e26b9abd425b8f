"""Drags that begin at a picture: a photograph, an inverted image, or latents of another program."""

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from framework.cli.drag_image import (
    ImageChoice,
    Pairs,
    kind_of,
    model_of,
    picture_file,
    placed_points,
)
from framework.cli.drag_job import DragJob
from framework.cli.drag_source import JobSource
from framework.cli.invert import tell, tell_start
from framework.cli.invert_job import Places, carry_out
from framework.cli.invert_settings import InversionChoice
from framework.cli.inverted import open_inverted
from framework.cli.inverter import Inverter
from framework.cli.photos import Photo, read_photo
from framework.drag.points import Point
from framework.errors import UserError, blame
from framework.files import new_folder
from framework.formats.latents import read_named_latents
from framework.inversion.embed import mean_ws
from framework.media.images import printable

_LONGEST_NUMBER = 10  # digits
_MOST_LISTED = 20


def pictured(
    source: JobSource,
    points: str | Pairs,
    mask: str | None,
    choice: ImageChoice | None = None,
    inverter: Inverter | None = None,
) -> "DragJob | PhotoDrag":
    """Return the drag of a picture's file: a photograph has yet to be inverted.

    Args:
        source: What makes jobs.
        points: As on the command line, or handles and targets.
        mask: Its file, or None.
        choice: Which picture, and how; None for the source's.
        inverter: What inverts photographs; None for a new one.

    Raises:
        UserError: Naming the flag, if anything does not fit.
    """
    choice = choice or source.image
    file = picture_file(choice.image or "")
    kind = kind_of(file)
    if kind == "edit":
        raise UserError(f"--image {file}: is an edit; give it as --edit")
    if source.model is None:
        source.model = model_of(file)
    if kind == "photograph":
        return PhotoDrag.new(source, file, points, mask, choice, inverter)
    return picture_job(source, file, points, mask, choice)


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
    def new(
        cls,
        source: JobSource,
        file: Path,
        points: str | Pairs,
        mask: str | None,
        choice: ImageChoice,
        inverter: Inverter | None = None,
    ) -> "PhotoDrag":
        """Read and check all of it, before anything is computed.

        Raises:
            UserError: Naming the flag.
        """
        if choice.photo is not None:
            raise UserError(f"--photo {choice.photo}: only with an inverted image")
        _refuse_pick(choice)
        inverter = inverter or Inverter(source.networks, InversionChoice(stages=choice.stages))
        with blame("--image", str(file)):
            photo = read_photo(file, source.generator, choice.framing)
        handles, targets = placed_points(points, choice.points_in, source.img_size, photo.geometry)
        allowed = source.placed_mask(mask, choice.points_in, photo.geometry)
        drag = cls(inverter, photo, handles, targets, allowed, source)
        drag._try()
        inverter.prepare()
        return drag

    def job(self, out: str | Path) -> tuple[DragJob, dict[str, Any]]:
        """Invert the photograph into a new folder, saying how good that is.

        Returns:
            The drag on what came of it, and the outcome of the inversion.
        """
        stream = self.inverter.stream(self.photo)
        folder = new_folder(out)
        tell_start(self.inverter)
        places = Places(folder, new_folder(folder / "inversion"), self.photo.path.stem)
        done = carry_out(self.inverter, self.photo, stream, places, "disabled")
        tell(done, self.photo)
        if done.stop is not None:
            raise done.stop
        inverted = open_inverted(done.file, self.inverter.networks.generator)
        job = self.source.inverted_job(inverted, self.handles, self.targets, self.mask)
        return job, done.outcome

    def _try(self) -> None:
        """Refuse now what the drag would refuse after the inversion."""
        trial = self.source.job(
            mean_ws(self.source.generator), self.handles, self.targets, self.mask, {}
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said when it comes to it
            trial.stream()


def picture_job(
    source: JobSource, file: Path, points: str | Pairs, mask: str | None, choice: ImageChoice
) -> DragJob:
    """The drag of an inverted image or of latents.

    Raises:
        UserError: Naming the flag, if anything does not fit.
    """
    if kind_of(file) == "latents":
        return latents_job(source, file, points, mask, choice)
    _refuse_treatment(choice)
    _refuse_pick(choice)
    inverted = open_inverted(file, source.generator, choice.photo)
    geometry = inverted.image.geometry
    handles, targets = placed_points(points, choice.points_in, source.img_size, geometry)
    allowed = source.placed_mask(mask, choice.points_in, geometry)
    return source.inverted_job(inverted, handles, targets, allowed)


def latents_job(
    source: JobSource, file: Path, points: str | Pairs, mask: str | None, choice: ImageChoice
) -> DragJob:
    """The drag of one picture of a file with latents.

    Raises:
        UserError: Naming the flag, if anything does not fit.
    """
    _refuse_treatment(choice)
    if choice.photo is not None:
        raise UserError(f"--photo {choice.photo}: only with an inverted image")
    with blame("--image", str(file)):
        ws = source.fitting(_picked(file, source.generator.num_ws, choice.pick))
    handles, targets = placed_points(points, choice.points_in, source.img_size, None)
    allowed = source.placed_mask(mask, choice.points_in, None)
    return source.job(ws, handles, targets, allowed, {"image": str(file)})


def _refuse_treatment(choice: ImageChoice) -> None:
    for flag, value in {"stages": choice.stages, **vars(choice.framing)}.items():
        if value is not None:
            raise UserError(f"--{flag.replace('_', '-')}: only where --image is a photograph")


def _refuse_pick(choice: ImageChoice) -> None:
    if choice.pick is not None:
        raise UserError(f"--pick {choice.pick}: only of a file with several latents")


def _picked(file: Path, num_ws: int, pick: str | None) -> torch.Tensor:
    """One picture's latents of a file, (1, num_ws, w_dim): by name, by number, or the last."""
    ws, names = read_named_latents(file, num_ws)
    if pick is None:
        if len(ws) > 1:
            print(
                f"note: {printable(str(file))} holds {len(ws)} pictures; the last is dragged,"
                " --pick takes another",
                file=sys.stderr,
            )
        return ws[-1:]
    if pick in names:
        number = names.index(pick)
    elif pick.isascii() and pick.isdecimal() and len(pick) < _LONGEST_NUMBER:
        number = int(pick)
    else:
        number = len(ws)
    if number >= len(ws):
        raise UserError(f"{pick}: {printable(str(file))} holds {_listed(names)}", "--pick")
    return ws[number : number + 1]


def _listed(names: Sequence[str]) -> str:
    """What there is to pick from: numbers, with names where there are some."""
    shown = [
        str(number) if name == str(number) else f"{number} ({printable(name)})"
        for number, name in enumerate(names[:_MOST_LISTED])
    ]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"{', '.join(shown)}{more}; give a number or a name"
