"""Pictures drawn from a sketch or from labels, by a StyleGAN2's encoder or by a translation."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from framework.compositing.geometry import fit_geometry, to_canvas
from framework.control.layers import mix
from framework.data.fit import fit, planar
from framework.errors import UserError, blame
from framework.files import check_new_folder, new_folder
from framework.formats.condition_file import NAMES, load_condition_encoder, makes_one
from framework.formats.latents import write_latents
from framework.formats.translator_folder import WEIGHTS, Translator, load_translator
from framework.formats.used_by import mark_used
from framework.jobs.models import Networks, check_psi, pick_device, portable_name, seed_latents
from framework.jobs.requests.translation import FromLabelRequest, FromSketchRequest
from framework.jobs.steering import open_steering
from framework.jobs.text import LOOKS, Reader, missed_note
from framework.jobs.watcher import SILENT, Watcher
from framework.media.draw import enlarge, enlargement, rgb
from framework.media.images import grid, read_bytes, read_image, save_png, to_float, to_uint8
from framework.media.label_maps import coloured, read_label_map
from framework.media.sketches import as_sketch
from framework.models.digest import state_digest
from framework.models.frozen import NOISE_MODE
from framework.models.translation.condition import Condition, Kind

LATENTS, SHEET, INPUT = "latents.safetensors", "sheet.png", "input.png"
_COLUMNS = 8
_MOST_NAMED = 12
_PLURALS = {"sketch": "sketches", "labels": "labels"}
Request = FromSketchRequest | FromLabelRequest


@dataclass(frozen=True)
class DrawnOutcome:
    """The outcome of `draw`.

    Args:
        method: `encoder`, or the translation's.
        size: (H, W) of the pictures.
        seconds: Seconds of reading the input and drawing, models not counted.
        notes: What was changed of the input.
        text: The text, or None.
        missed: How far each picture is from where the text takes it, as in `TextOutcome`.
        files: Files that were written.
        file: The latents, of a StyleGAN2.
        model: The model's name.
    """

    method: str
    size: tuple[int, int]
    seconds: float
    notes: list[str]
    text: str | None
    missed: list[float]
    files: list[str]
    file: Path | None
    model: str

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome for scripts, ready for JSON."""
        return {**vars(self), "file": self.file and str(self.file)}


class Drawn(NamedTuple):
    """Pictures (n, C, H, W), and of a StyleGAN2 their latents; with a text, as `DrawnOutcome`."""

    images: Tensor
    ws: Tensor | None = None
    missed: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Drawer:
    """Something that draws pictures from conditions.

    Args:
        method: Its name.
        condition: What it draws from.
        img_size: (H, W) of its pictures and conditions.
        draw: Function from one condition, uint8 (1, c, H, W), to pictures.
    """

    method: str
    condition: Condition
    img_size: tuple[int, int]
    draw: Callable[[Tensor], Drawn]


def draw(request: Request, watcher: Watcher = SILENT) -> DrawnOutcome:
    """Draw pictures from a condition, and write them into a new folder.

    Raises:
        UserError: Naming the field, if anything does not fit; then nothing is left behind.
    """
    check_new_folder(request.out)
    check_psi(request.psi)
    is_sketch = isinstance(request, FromSketchRequest)
    kind: Kind = "sketch" if is_sketch else "labels"
    file = request.sketch if isinstance(request, FromSketchRequest) else request.labels
    is_translation = (Path(request.model) / WEIGHTS).is_file()
    drawer = (_translation if is_translation else _encoder)(request, kind, watcher)
    start_sec = time.monotonic()
    with blame("sketch" if is_sketch else "labels", file):
        levels, notes = read_condition(file, drawer.condition, drawer.img_size)
    for note in notes:
        watcher.note(f"{file}: {note}")
    images, ws, missed = drawer.draw(torch.from_numpy(planar(levels)[None]))
    pictures, seconds = to_uint8(images), round(time.monotonic() - start_sec, 3)
    if note := missed_note(missed):
        watcher.note(note)
    folder = new_folder(request.out)
    shown = coloured(levels[..., 0]) if kind == "labels" else rgb(levels)
    names = [f"picture{i}.png" for i in range(len(pictures))]
    for name, picture in zip(names, pictures, strict=True):
        save_png(folder / name, picture)
    save_png(folder / INPUT, shown)
    save_png(folder / SHEET, _sheet(shown, pictures))
    latents = None if ws is None else write_latents(folder / LATENTS, ws, "dragline")
    if latents is not None:
        mark_used(request.model, latents)
    files = [*names, INPUT, SHEET, *([LATENTS] if latents else [])]
    return DrawnOutcome(
        drawer.method, drawer.img_size, seconds, notes, request.text, [*missed],
        [str(folder / n) for n in files], latents, portable_name(request.model),
    )  # fmt: skip


def read_condition(
    file: str | Path, condition: Condition, size: tuple[int, int]
) -> tuple[np.ndarray, list[str]]:
    """Read a condition from a file as a model takes it.

    Args:
        file: A sketch of any look and size, or a map of labels.
        condition: What the model draws from.
        size: (H, W) that it takes.

    Returns:
        uint8 (H, W, c), and notes on what was changed.

    Raises:
        UserError: If the file cannot be read, or has labels that the model does not know.
    """
    if condition.kind == "labels":
        levels, notes = read_label_map(read_bytes(file), str(file)), []
        unknown = sorted({*np.unique(levels).tolist()} - {*range(condition.num_labels)})
        if unknown:
            raise UserError(f"{_numbers(unknown)}: unknown to this model; {_known(condition)}")
    elif condition.kind == "picture":
        levels, notes = read_image(file, condition.img_channels), []
    else:
        levels, notes = as_sketch(read_image(file))
    levels = levels if levels.ndim == 3 else levels[..., None]
    height, width = levels.shape[:2]
    if (height, width) != size:
        notes = [*notes, f"{width}x{height} px, resized to {size[1]}x{size[0]}"]
    if condition.kind == "labels":
        geometry = replace(fit_geometry((height, width), size, "pad"), pad_colour=(0, 0, 0))
        return to_canvas(levels, geometry, Image.Resampling.NEAREST), notes
    return fit(levels, size, "pad"), notes


def _numbers(labels: list[int]) -> str:
    more = f" and {len(labels) - _MOST_NAMED} more" if len(labels) > _MOST_NAMED else ""
    noun = "label" if len(labels) == 1 else "labels"
    return f"{noun} {', '.join(map(str, labels[:_MOST_NAMED]))}{more}"


def _known(condition: Condition) -> str:
    if not condition.names:
        return f"it knows 0 to {condition.num_labels - 1}"
    return "it knows " + ", ".join(f"{i} {name}" for i, name in enumerate(condition.names))


def _translation(request: Request, kind: Kind, watcher: Watcher) -> Drawer:
    """Open a translation; its pictures differ by dropout or style."""
    for name in request.of_stylegan:
        raise UserError("a translation has no latents; only with a StyleGAN2", name)
    device = pick_device(request.device)
    with blame("model", request.model):
        translator = load_translator(request.model)
        _check_kind(translator.condition, kind, request.model)
    for network in translator.networks.values():
        network.to(device)
    style = None
    if request.style is not None:
        with blame("style", request.style):
            picture = fit(read_image(request.style), translator.img_size)
            style = to_float(picture[None]).to(device)
            translator.check_style()
    count = request.n if translator.varies and style is None else 1
    if count < request.n:
        watcher.note(f"{translator.method} draws one picture of an input and a style")
    return Drawer(
        translator.method,
        translator.condition,
        translator.img_size,
        lambda levels: Drawn(_translated(translator, levels.to(device), count, request, style)),
    )


@torch.no_grad()
def _translated(
    translator: Translator, levels: Tensor, count: int, request: Request, style: Tensor | None
) -> Tensor:
    rng = torch.Generator(levels.device).manual_seed(request.seed)
    many = (levels.float() / 127.5 - 1).expand(count, -1, -1, -1)
    return translator.pictures(many, rng, style)


def _encoder(request: Request, kind: Kind, watcher: Watcher) -> Drawer:
    """Open a StyleGAN2 and its encoder of such inputs."""
    if request.style is not None:
        raise UserError("of translations alone; a StyleGAN2 takes `style_seed`, or mixes its"
                        " latents with the verb edit", "style")  # fmt: skip
    networks = Networks(request.model, request.device)
    generator = networks.layered
    file = Path(request.encoder or networks.opened.path)
    if networks.encoder is None:
        raise UserError(f"{request.model}: has no encoder of pictures, whose codes are meant",
                        "model")  # fmt: skip
    if request.encoder is None and not (file / NAMES[kind]).is_file():
        raise UserError(
            f"{request.model}: has no encoder of {_PLURALS[kind]};"
            f" {makes_one(kind, request.model)} makes one, give its folder with `encoder`",
            "model",
        )
    with blame("encoder" if request.encoder else "model", str(file)):
        digests = generator.digest, state_digest(networks.encoder)
        encoder = load_condition_encoder(file, kind, *digests, request.model).to(networks.where)
    steering, layers = open_steering(request, networks), ()
    reader = style = None
    if request.text is not None:
        reader = Reader.open(networks, request.text, request.text_encoder)
        if note := reader.says_nothing():
            watcher.note(note)
    if request.style_seed is not None and request.layers is not None:
        with blame("layers", repr(request.layers)):
            layers = networks.layers.parse(request.layers)
        style = seed_latents(generator, request.style_seed, request.psi)

    @torch.no_grad()
    def drawn(levels: Tensor) -> Drawn:
        belief = encoder(levels.to(networks.where))
        rng = torch.Generator().manual_seed(request.seed)
        random = torch.randn(request.n, belief.mean.shape[1], generator=rng).to(networks.where)
        ws = encoder.space.drawn(belief, random, request.psi)
        ws = steering.moved(ws if style is None else mix(ws, style, layers))
        missed: list[float] = []
        if reader is not None:  # last, so that the picture shows it
            _, after = reader.changed(generator, ws, 1.0, LOOKS, keep=True)
            ws, missed = after.ws, [round(value, 3) for value in after.missed.tolist()]
        images = [generator.synthesis(part, noise_mode=NOISE_MODE) for part in ws.split(16)]
        return Drawn(torch.cat(images), ws, tuple(missed))

    height, width = generator.img_size
    return Drawer("encoder", encoder.condition, (height, width), drawn)


def _check_kind(condition: Condition, kind: Kind, model: str) -> None:
    verbs = {"sketch": "from-sketch", "labels": "from-label"}
    if condition.kind != kind and not (condition.kind == "picture" and kind == "sketch"):
        raise UserError(f"{model}: draws from {condition.kind}: the verb {verbs[condition.kind]}")


def _sheet(shown: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """Return the input and what was drawn from it on one sheet, small pictures enlarged."""
    tiles = [shown, *(rgb(picture) for picture in pictures)]
    factor = enlargement(*shown.shape[:2], at_least_px=128)
    sheet = np.stack([enlarge(tile, factor) for tile in tiles])
    return grid(sheet, min(_COLUMNS, len(sheet)))
