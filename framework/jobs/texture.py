"""Textures made larger, and photographs drawn in the texture or manner of another picture."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from framework.compositing.filling import FillStep
from framework.compositing.photograph import Photograph
from framework.compositing.quilting import grown, quilted
from framework.compositing.textures import analogy
from framework.compositing.textures import texture as agreed
from framework.compositing.textures import transfer as transferred
from framework.errors import UserError
from framework.files import check_new_folder, new_folder
from framework.jobs.fill import SHEET, CompositeOutcome, last_of, panels
from framework.jobs.requests.compositing import MOST_SIDE_PX, TextureRequest, TransferRequest
from framework.jobs.watcher import SILENT, Watcher
from framework.media.draw import titled
from framework.media.images import printable, save_png, to_float, to_uint8
from framework.ops.compiled import use_ops

TEXTURE, TRANSFER = "texture.png", "transfer.png"
MOST_WORKED_PX = 1024  # longer side of a picture that is worked on whole
_MAKERS = {"quilting": quilted, "field": agreed, "pixels": grown}
_SIDES = {"quilting": 25, "field": 9, "pixels": 11}


def texture(request: TextureRequest, watcher: Watcher = SILENT) -> CompositeOutcome:
    """Make more of a texture.

    Raises:
        UserError: Naming the field, if anything does not fit; then nothing is left behind.
    """
    check_new_folder(request.out)
    exemplar = _read(request.exemplar, watcher)
    height, width = exemplar.shape[:2]
    twice = min(MOST_SIDE_PX, 2 * height), min(MOST_SIDE_PX, 2 * width)
    size, side = request.pixels or twice, request.patch or _SIDES[request.method]
    steps = _MAKERS[request.method](to_float(exemplar)[None], size, side, request.seed)
    return _written(request.out, TEXTURE, request.method, steps, watcher, [])


def transfer(request: TransferRequest, watcher: Watcher = SILENT) -> CompositeOutcome:
    """Draw a photograph in another picture's texture, or as that was drawn from `before`.

    Raises:
        UserError: Naming the field, if anything does not fit; then nothing is left behind.
    """
    check_new_folder(request.out)
    files = [request.photo, request.texture, *([request.before] if request.before else [])]
    photo, after, *before = (_read(file, watcher) for file in files)
    if before and before[0].shape != after.shape:
        (height, width), (rows, columns) = after.shape[:2], before[0].shape[:2]
        raise UserError(
            f"{printable(request.before or '')}: {columns}x{rows} px, the texture's picture"
            f" {width}x{height}; they must lie pixel on pixel",
            "before",
        )
    shown, made = to_float(photo)[None], to_float(after)[None]
    if before:
        steps = analogy(
            to_float(before[0])[None], made, shown, request.patch, request.likeness, request.seed
        )
    else:
        steps = transferred(shown, made, request.patch, request.likeness, request.seed)
    method = "analogy" if before else "brightness"
    return _written(request.out, TRANSFER, method, steps, watcher, [photo])


def _read(file: str, watcher: Watcher) -> np.ndarray:
    """Read a picture as uint8 (H, W, 3), shrunk if it is larger than what is worked on."""
    photo = Photograph.read(file)
    for note in photo.notes:
        watcher.note(f"{printable(file)}: {note}")
    image = Image.fromarray(photo.shown())
    if max(image.size) > MOST_WORKED_PX:
        size = f"{image.width}x{image.height}"
        image.thumbnail((MOST_WORKED_PX, MOST_WORKED_PX))
        watcher.note(f"{printable(file)}: {size} px, worked on at {image.width}x{image.height}")
    return np.array(image)


def _written(
    out: str,
    name: str,
    method: str,
    steps: Iterator[FillStep],
    watcher: Watcher,
    beside: list[np.ndarray],
) -> CompositeOutcome:
    """Carry out the steps and write the result, beside what it was made for on a sheet."""
    use_ops("auto")
    last, seconds, stop = last_of(steps, watcher)
    picture = to_uint8(last.picture)[0]
    folder = new_folder(out)
    save_png(folder / name, picture)
    files = [folder / name]
    if beside:
        size = beside[0].shape[1::-1]
        whole = np.asarray(Image.fromarray(picture).resize(size)) if stop else picture
        save_png(folder / SHEET, titled(panels(*beside, whole), ["photograph", "drawn anew"]))
        files.append(folder / SHEET)
    return CompositeOutcome(
        method=method, size=(picture.shape[0], picture.shape[1]),
        status="interrupted" if stop else "done", steps=last.step, seconds=seconds,
        files=list(map(str, files)), stop=stop,
    )  # fmt: skip
