"""One picture changed along directions or by another's layers, with no points."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from framework.control.layers import mix, resample
from framework.drag.edit_file import EditFile
from framework.drag.stylegan2 import check_latents
from framework.errors import UserError, blame
from framework.files import check_new_folder, new_folder
from framework.formats.latents import write_latents
from framework.formats.used_by import mark_used
from framework.jobs.invert import Places, carry_out, tell_notes
from framework.jobs.models import Networks, portable_name, render, seed_latents
from framework.jobs.outcomes import InvertOutcome
from framework.jobs.paste import OpenImage, open_image, open_linked
from framework.jobs.photograph import read_photo
from framework.jobs.picture_files import kind_of, picked_latents, picture_file
from framework.jobs.pictures import tiles
from framework.jobs.requests.control import EditRequest
from framework.jobs.requests.invert import InversionChoice
from framework.jobs.requests.text import TextRequest
from framework.jobs.stages import Inverter
from framework.jobs.starts import model_of
from framework.jobs.steering import Steering, open_steering
from framework.jobs.watcher import SILENT, Watcher
from framework.media.draw import enlarge, enlargement, rgb, titled
from framework.media.images import grid, save_png
from framework.models.stylegan2 import Generator
from framework.models.stylegan2.statistics import styles_of_seeds

Starting = EditRequest | TextRequest
LATENTS = "latents.safetensors"
_COLUMNS = 8


@dataclass(frozen=True)
class EditOutcome:
    """The outcome of `edit`.

    Args:
        moves: Standard deviations by direction.
        layers: Layers that were changed.
        files: Files that were written.
        file: The one that a drag continues from.
        model: The model's name.
        inversion: Outcome of the photograph's inversion before, if any.
    """

    moves: dict[str, float]
    layers: list[int]
    files: list[str]
    file: Path
    model: str
    inversion: InvertOutcome | None

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome for scripts, ready for JSON."""
        facts = {**vars(self), "file": str(self.file)}
        return facts | {"inversion": self.inversion and self.inversion.to_dict()}


@dataclass(frozen=True, eq=False)
class Start:
    """The picture that is changed.

    Args:
        ws: Its latents, (1, num_ws, w_dim).
        generator: Its generator: an inverted image's own, or the model's.
        inverted: The inverted image that it is, or began as.
        name: Name of the inverted image that is written.
        inversion: Outcome of the inversion that was just done, if any.
    """

    ws: Tensor
    generator: Generator
    inverted: OpenImage | None = None
    name: str = ""
    inversion: InvertOutcome | None = None


@dataclass(frozen=True, eq=False)
class Change:
    """What is done to latents.

    Args:
        request: The request.
        steering: Its moves.
        layers: Layers that take another picture's styles; empty for none.
        style: Latents of that picture, or None.
    """

    request: EditRequest
    steering: Steering
    layers: tuple[int, ...]
    style: Tensor | None

    def of(self, ws: Tensor) -> Tensor:
        """Return latents after the change: first the styles, then the moves."""
        if self.style is not None:
            ws = mix(ws, self.style, self.layers)
        return self.steering.moved(ws)

    @property
    def touched(self) -> list[int]:
        """The layers that it changes."""
        return sorted(self.steering.touched | set(self.layers))


def edit(request: EditRequest, watcher: Watcher = SILENT) -> EditOutcome:
    """Change one picture, and write it into a new folder.

    Raises:
        UserError: Naming the field, if anything does not fit; then nothing is left behind.
    """
    folder = check_new_folder(request.out)
    networks = Networks(model_of(request), request.device)
    change = _change(request, networks)
    start = open_start(request, networks, folder, watcher)
    before = render(start.generator, start.ws)
    ws = change.of(start.ws.to(networks.where))
    if not ws.isfinite().all():
        raise UserError("the latents are no longer finite; give smaller values", "direction")
    if start.inversion is None:
        new_folder(folder)
    file, beside = write_start(start, ws, folder)
    mark_used(networks.model, file)
    after = render(start.generator, ws)
    pictures = write_pictures(request, start, before, after, folder, _title(request))
    if request.variants:
        pictures.append(_write_variants(request, start, change, ws, folder))
    return EditOutcome(
        moves={f"{m.name}@{m.layers}" if m.layers else m.name: m.value
               for m in change.steering.moves},
        layers=change.touched,
        files=[str(folder / name) for name in (*pictures, *beside)],
        file=file,
        model=portable_name(networks.model),
        inversion=start.inversion,
    )  # fmt: skip


def _change(request: EditRequest, networks: Networks) -> Change:
    """Read and check what is to be done; nothing is computed yet."""
    steering, layers = open_steering(request, networks), networks.layers
    chosen, style = (), None
    if request.layers is not None and request.style_seed is not None:
        with blame("layers", repr(request.layers)):
            chosen = layers.parse(request.layers)
        try:
            style = seed_latents(
                networks.generator, request.style_seed, request.psi, request.class_
            )
        except UserError as error:
            error.rename({"seed": "style_seed"})
            raise
    change = Change(request, steering, chosen, style)
    if request.variants and len(change.touched) == layers.num_ws:
        raise UserError(
            f"{request.variants}: all {layers.num_ws} layers are changed, none is left to vary;"
            " move some layers alone, such as NAME@colour=1.5",
            "variants",
        )
    return change


def open_start(request: Starting, networks: Networks, folder: Path, watcher: Watcher) -> Start:
    """Open the picture that is changed; of a photograph, invert it first into `folder`.

    Raises:
        UserError: Naming the field, if it cannot be opened or is another model's.
    """
    generator = networks.generator
    if request.edit is not None:
        with blame("edit", request.edit):
            file = Path(request.edit)
            record = EditFile.load(file)
            inverted = open_linked(file, record, generator, request.photo, watcher)
            own = generator if inverted is None else inverted.generator
            record.check_model(own)
        name = "" if inverted is None else inverted.file.name
        return Start(record.ws[-1:], own, inverted, name)
    if request.image is None:
        ws = seed_latents(generator, request.seed or 0, request.psi, request.class_)
        return Start(ws, generator)
    file = picture_file(request.image)
    kind = kind_of(file)
    if kind == "photograph":
        return _inverted(request, networks, file, folder, watcher)
    if kind == "latents":
        with blame("image", str(file)):
            ws = picked_latents(file, generator.num_ws, request.pick, watcher)
            ws = check_latents(generator, ws)
        return Start(ws, generator)
    inverted = open_image(file, generator, request.photo, watcher)
    return Start(inverted.image.ws, inverted.generator, inverted, file.name)


def _inverted(
    request: Starting, networks: Networks, file: Path, folder: Path, watcher: Watcher
) -> Start:
    """Invert a photograph into `folder`/inversion, and open it."""
    inverter = Inverter(networks, InversionChoice(stages=request.stages))
    with blame("image", str(file)):
        photo = read_photo(file, networks.generator, request)
    inverter.prepare()
    steps = inverter.stream(photo)
    place = new_folder(new_folder(folder) / "inversion")
    tell_notes(inverter, watcher)
    places = Places(place, place, photo.path.stem)
    outcome = carry_out(inverter, photo, steps, places, watcher, "disabled")
    watcher.done("", outcome)
    if outcome.stop is not None:
        raise outcome.stop
    inverted = open_image(outcome.file, networks.generator)
    return Start(inverted.image.ws, inverted.generator, inverted, outcome.file.name, outcome)


def write_start(start: Start, ws: Tensor, folder: Path) -> tuple[Path, list[str]]:
    """Write what a drag continues from; return its file and all names."""
    if start.inverted is None:
        return write_latents(folder / LATENTS, ws, "dragline"), [LATENTS]
    inverted = start.inverted
    file = folder / start.name
    inverted.image.edited(ws.cpu(), inverted.sha256).save(file)
    return file, inverted.copy_to(folder)


def write_pictures(
    request: Starting,
    start: Start,
    before: np.ndarray,
    after: np.ndarray,
    folder: Path,
    title: str,
) -> list[str]:
    """Write the pictures before and after, both side by side, and the photograph with the edit."""
    factor = enlargement(*before.shape[:2])
    panels = [enlarge(rgb(picture), factor, "bicubic") for picture in (before, after)]
    pictures = {
        "picture": after,
        "before": before,
        "side_by_side": titled(panels, ["before", title[:40]]),
    }
    for name, picture in pictures.items():
        save_png(folder / f"{name}.png", picture)
    names = [f"{name}.png" for name in pictures]
    if start.inverted is not None:
        pasted = start.inverted.pasted(after, request.paste, request.seam)
        if pasted is not None:
            pasted.save(folder / "pasted.png")
            names.append("pasted.png")
    return names


def _title(request: EditRequest) -> str:
    words = [*request.direction]
    if request.style_seed is not None:
        words.insert(0, f"{request.layers} of {request.style_seed}")
    return " ".join(words)


@torch.no_grad()
def _write_variants(
    request: EditRequest, start: Start, change: Change, ws: Tensor, folder: Path
) -> str:
    """Draw variants whose untouched layers are those of other pictures; the edit is the first."""
    generator = start.generator
    fresh = torch.cat([*styles_of_seeds(generator, request.variants, request.seed or 0)])
    fresh = generator.mapping.truncate(fresh, request.psi)
    variants = torch.cat([ws, resample(ws, change.touched, fresh)])
    pictures = np.stack(tiles(generator, variants))
    save_png(folder / "variants.png", grid(pictures, min(_COLUMNS, len(pictures))))
    return "variants.png"
