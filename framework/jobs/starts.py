"""Starts of drags: a request's model, latents, points and mask, read and checked."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from framework.drag.algorithm import PREDICTING, WATCHED, drag_points
from framework.drag.edit_file import EditFile
from framework.drag.points import parse_points
from framework.drag.settings import DragSettings, usual_preset
from framework.drag.step import DragStep
from framework.drag.stylegan2 import StyleGAN2, check_latents
from framework.errors import UserError, blame
from framework.inversion.inverted_image import InvertedImage
from framework.jobs.models import Networks, any_ws, portable_name, seed_latents
from framework.jobs.paste import OpenImage, open_image, open_linked
from framework.jobs.photograph import Photo, read_photo
from framework.jobs.picture_files import kind_of, picked_latents, picture_file
from framework.jobs.placing import Pull, placed, placed_mask, placed_points
from framework.jobs.requests.control import EditRequest
from framework.jobs.requests.drag import OF_PHOTOGRAPHS, DragRequest
from framework.jobs.requests.invert import InversionChoice
from framework.jobs.requests.text import TextRequest
from framework.jobs.settings import drag_settings
from framework.jobs.stages import Inverter, inverter_of
from framework.jobs.watcher import SILENT, Watcher
from framework.media.images import printable
from framework.models.stylegan2 import Generator


@dataclass(frozen=True, eq=False)
class OpenDrag:
    """A drag that can begin.

    Args:
        request: The request.
        networks: The model's networks.
        ws: Latents before the drag, (1, num_ws, w_dim).
        pull: Handles, targets and mask.
        settings: Settings of the drag.
        facts: Further facts for W&B, such as the seed.
        past: Steps of the drag that is being continued; empty for a new one.
        earlier_ws: Latents of earlier drags of the same edit, with other points.
        inverted: The inverted image that the picture is, or began as.
    """

    request: DragRequest
    networks: Networks
    ws: torch.Tensor
    pull: Pull
    settings: DragSettings
    facts: dict[str, Any]
    past: Sequence[DragStep] = ()
    earlier_ws: torch.Tensor | None = None
    inverted: OpenImage | None = None

    @property
    def generator(self) -> Generator:
        """The generator; an inverted image has its own."""
        return self.networks.generator if self.inverted is None else self.inverted.generator

    @property
    def model_name(self) -> str:
        """The model's name in the edit file."""
        return portable_name(self.networks.model)

    def steps(self) -> Iterator[DragStep]:
        """Check everything now, with Python's warnings, and return the drag's steps."""
        watched = self.settings.method in WATCHED
        return drag_points(
            self.generator, self.ws, *self.pull, self.settings,
            resume_from=self.past[-1] if self.past else None,
            discriminator=self.networks.discriminator if watched else None,
            editor=self.networks.editor if self.settings.method in PREDICTING else None,
            origin=self.networks.generator,
        )  # fmt: skip

    @property
    def measures_first(self) -> bool:
        """Whether the model's statistics are wanted and not known yet."""
        if self.settings.method not in WATCHED:
            return False
        return not StyleGAN2(self.networks.generator, self.settings).has_statistics

    def checked(self, watcher: Watcher) -> "OpenDrag":
        """Refuse what the algorithm refuses; its warnings become notes."""
        with warnings.catch_warnings(record=True) as caught_warnings:
            warnings.simplefilter("always")
            self.steps()
        for warning in caught_warnings:
            watcher.note(str(warning.message))
        if self.inverted and self.inverted.lacks_photo and self.request.paste != "none":
            watcher.note(
                "the photo does not lie beside its inverted image, so there will be no pasted.png;"
                " give it with `photo`"
            )
        return self

    def edit_file(self, steps: Sequence[DragStep]) -> EditFile:
        """Record the past and the new steps."""
        return EditFile.from_steps(
            steps,
            self.generator,
            model_name=self.model_name,
            model_digest=self.networks.digest_of(self.generator),
            settings=self.settings,
            mask=None if self.pull.mask is None else torch.from_numpy(self.pull.mask),
            start_ws=self.ws,
            handles=self.pull.handles,
            earlier_ws=self.earlier_ws,
            inversion=None if self.inverted is None else self.inverted.link,
        )


@dataclass(frozen=True, eq=False)
class PhotoDrag:
    """A drag of a photograph that has yet to be inverted, checked as far as possible.

    Args:
        request: The request.
        inverter: The inverter.
        photo: The photograph.
        pull: Handles, targets and mask.
    """

    request: DragRequest
    inverter: Inverter
    photo: Photo
    pull: Pull

    def on(self, file: Path) -> OpenDrag:
        """Return the drag of the photograph's inverted image, given by its file."""
        networks = self.inverter.networks
        inverted = open_image(file, networks.generator)
        return _of_inverted(self.request, networks, inverted, self.pull)


def open_drag(
    request: DragRequest,
    networks: Networks,
    watcher: Watcher = SILENT,
    inverter: Inverter | None = None,
) -> OpenDrag | PhotoDrag:
    """Read and check everything that a request names; nothing is computed or written yet.

    Args:
        request: One drag.
        networks: Networks of the model that `model_of` names.
        watcher: Watcher that gets the notes.
        inverter: Inverter of photographs; None for a new one.

    Raises:
        UserError: Naming the field, if anything does not fit.
    """
    if request.edit is not None:
        with blame("edit", request.edit):
            return _continued(request, networks, watcher).checked(watcher)
    if request.seed is not None:
        return _of_seed(request, networks).checked(watcher)
    if request.ws is not None:
        return _of_latents(request, networks, Path(request.ws), watcher).checked(watcher)
    file = picture_file(request.image or "")
    kind = kind_of(file)
    if kind == "photograph":
        return _of_photograph(request, networks, file, watcher, inverter)
    for name in OF_PHOTOGRAPHS:
        if getattr(request, name) is not None:
            raise UserError(": only where `image` is a photograph", name)
    if kind == "latents":
        return _of_latents(request, networks, file, watcher).checked(watcher)
    _refuse(request, "pick", "only of a file with several latents")
    inverted = open_image(file, networks.generator, request.photo, watcher)
    pull = placed(request, networks.img_size, inverted.image.geometry)
    return _of_inverted(request, networks, inverted, pull).checked(watcher)


def model_of(request: DragRequest | EditRequest | TextRequest) -> str:
    """Return the name of the model to open: the request's, else that of its edit or picture.

    Raises:
        UserError: If neither says, or `image` is none.
    """
    if request.edit is not None:
        with blame("edit", request.edit):
            return request.model or EditFile.load(request.edit).model_name
    if request.image is None:
        return request.model or ""
    file = picture_file(request.image)
    kind = kind_of(file)
    if kind == "edit":
        raise UserError(f"{file}: is an edit; give it as `edit`", "image")
    if request.model is not None:
        return request.model
    if kind != "inverted image":
        raise UserError(f": needed with `image` {printable(str(file))}, which names none", "model")
    with blame("image", str(file)):
        return InvertedImage.load(file).model_name


# ------------------------------------------------------------------------------- kinds of a start


def _of_seed(request: DragRequest, networks: Networks) -> OpenDrag:
    with blame("points"):
        handles, targets = parse_points(request.points or "", networks.img_size)
    ws = seed_latents(networks.generator, request.seed or 0, request.psi, request.class_)
    facts = {"seed": request.seed, "psi": request.psi}
    pull = Pull(handles, targets, placed_mask(request, networks.img_size, None))
    return _drag(request, networks, ws, pull, facts)


def _of_latents(request: DragRequest, networks: Networks, file: Path, watcher: Watcher) -> OpenDrag:
    _refuse(request, "photo", "only with an inverted image")
    with blame("image" if request.ws is None else "ws", str(file)):
        ws = picked_latents(file, networks.generator.num_ws, request.pick, watcher)
        ws = check_latents(networks.generator, ws)
    pull = placed(request, networks.img_size, None)
    return _drag(request, networks, ws, pull, {"image": str(file)})


def _of_inverted(
    request: DragRequest, networks: Networks, inverted: OpenImage, pull: Pull
) -> OpenDrag:
    """Return the drag of an inverted image on its own generator."""
    facts = {"image": inverted.file.name, "measures": inverted.image.measures}
    return _drag(request, networks, inverted.image.ws, pull, facts, inverted=inverted)


def _of_photograph(
    request: DragRequest,
    networks: Networks,
    file: Path,
    watcher: Watcher,
    inverter: Inverter | None,
) -> PhotoDrag:
    _refuse(request, "photo", "only with an inverted image")
    _refuse(request, "pick", "only of a file with several latents")
    inverter = inverter or inverter_of(networks, InversionChoice(stages=request.stages))
    with blame("image", str(file)):
        photo = read_photo(file, networks.generator, request)
    pull = placed(request, networks.img_size, photo.geometry)
    # What the drag would refuse after the inversion is refused now.
    _drag(request, networks, any_ws(networks.generator), pull, {}).checked(watcher)
    inverter.prepare()
    return PhotoDrag(request, inverter, photo, pull)


def _continued(request: DragRequest, networks: Networks, watcher: Watcher) -> OpenDrag:
    """Return the drag that continues an edit: with its points, or others from a picture of it."""
    file = Path(request.edit or "")
    record = EditFile.load(file)
    inverted = open_linked(file, record, networks.generator, request.photo, watcher)
    generator = networks.generator if inverted is None else inverted.generator
    record.check_model(generator)
    numbers = record.step.tolist()
    if request.at is not None and request.at not in numbers:
        raise UserError(f"{request.at}: the edit has steps {numbers[0]} to {numbers[-1]}", "at")
    step_count = len(numbers) if request.at is None else numbers.index(request.at) + 1
    geometry = None if inverted is None else inverted.image.geometry
    if request.points is None:
        handles, targets = record.handles.tolist(), record.targets[-1].tolist()
        past, ws = list(record.steps(generator))[:step_count], record.start_ws
        earlier = record.earlier_ws
    else:
        handles, targets = placed_points(request, networks.img_size, geometry)
        past, ws = [], record.ws[step_count - 1 : step_count]
        earlier = torch.cat([record.earlier_ws, record.ws[:step_count]])
    if request.mask is not None:
        mask = placed_mask(request, networks.img_size, geometry)
    else:
        mask = None if record.mask is None else record.mask.numpy()
    pull = Pull(handles, targets, mask)
    return _drag(
        request, networks, ws, pull, {"edit": request.edit}, record.settings,
        past=past, earlier_ws=earlier, inverted=inverted,
    )  # fmt: skip


def _drag(
    request: DragRequest,
    networks: Networks,
    ws: torch.Tensor,
    pull: Pull,
    facts: dict[str, Any],
    default: DragSettings | None = None,
    **more: Any,
) -> OpenDrag:
    """Return the drag with its settings resolved."""
    settings, origin = drag_settings(request, default, usual_preset(networks.diffuses))
    facts |= {"settings_from": origin, "handles": pull.handles, "targets": pull.targets}
    return OpenDrag(request, networks, ws, pull, settings, facts, **more)


def _refuse(request: DragRequest, name: str, why: str) -> None:
    value = getattr(request, name)
    if value is not None:
        raise UserError(f"{value}: {why}", name)
