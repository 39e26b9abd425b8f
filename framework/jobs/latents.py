"""Latents from and to the files of other programs."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from framework.drag.edit_file import EditFile
from framework.errors import UserError, blame
from framework.files import check_new_file, check_new_folder, folder_above, sha256_file
from framework.formats import load_generator, save_model_folder
from framework.formats.latents import ENDINGS, read_latents, write_latents
from framework.inversion.inverted_image import InvertedImage
from framework.jobs.picture_files import kind_of
from framework.jobs.requests.files import LatentsRequest
from framework.models.stylegan2 import Generator


@dataclass(frozen=True)
class LatentsOutcome:
    """A file with latents.

    Args:
        file: The file.
        to: Kind of the file, as in `LatentsRequest`.
        shape: Shape of the latents, (N, num_ws, w_dim).
        model: Name of the model of the latents, if it is known.
        notes: Notes for the user of the file.
    """

    file: Path
    to: str
    shape: tuple[int, ...]
    model: str | None
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome for scripts, ready for JSON."""
        return {
            "file": str(self.file), "to": self.to, "shape": list(self.shape),
            "sha256": sha256_file(self.file), "model": self.model, "notes": self.notes,
        }  # fmt: skip


def convert(request: LatentsRequest) -> LatentsOutcome:
    """Write latents of a file as another one, and the tuned model if asked for.

    Raises:
        UserError: Naming the field, if anything does not fit.
    """
    source = Path(request.file)
    if not os.path.exists(request.file):
        raise UserError(f"{request.file}: no such file or folder", "file")
    target = check_new_file(request.out)
    if request.model_out is not None:
        check_new_folder(request.model_out, "model_out")
    if target.suffix != ENDINGS[request.to]:
        ending = ENDINGS[request.to]
        raise UserError(f"{request.out}: a file for {request.to} ends with {ending}", "out")
    ws, image = _read(source, request.model)
    if request.model_out is None:
        tuned = None
    elif image is None or not (image.noise or image.deltas is not None):
        raise UserError(f": {source} changes nothing of its model", "model_out")
    else:
        tuned = _tuned(source, image, request.model)
    with folder_above(target):
        write_latents(target, ws, request.to)
    if tuned is not None and image is not None:
        _write_model(image, tuned, Path(request.model_out or ""))
    notes = [] if image is None or tuned is not None else _notes(image)
    model = request.model_out or (None if image is None else image.model_name)
    return LatentsOutcome(target, request.to, tuple(ws.shape), model, notes)


def _read(path: Path, model: str | None) -> tuple[Tensor, InvertedImage | None]:
    """Read the latents of a file, and the inverted image that they are of, if any."""
    kind = "latents" if path.is_dir() else kind_of(path, "file")
    if kind == "edit":
        record = EditFile.load(path)
        link = record.inversion
        image = None if link is None else InvertedImage.load(path.parent / link.file)
        return record.ws[-1:], image
    if kind == "inverted image":
        image = InvertedImage.load(path)
        return image.ws, image
    if kind == "photograph":
        raise UserError(f"{path}: is no file with latents; invert makes some of a photograph")
    return read_latents(path, None if model is None else load_generator(model).num_ws), None


def _tuned(path: Path, image: InvertedImage, model: str | None) -> Generator:
    """Return the model as the inverted image changed it."""
    base = load_generator(model or image.model_name)
    with blame("file", str(path)):
        return image.generator(base)


def _write_model(image: InvertedImage, tuned: Generator, folder: Path) -> None:
    provenance = {"tuned_from": image.model_name, "digest_of_base": image.generator_digest}
    provenance |= {"photo": image.photo, "settings": image.settings}
    card = (
        f"# {folder.name}\n\n{image.model_name} as tuned to one photograph"
        f" ({image.photo.get('name', 'unnamed')}); elsewhere it draws much as before.\n"
    )
    save_model_folder(folder, tuned, provenance=provenance, card=card)


def _notes(image: InvertedImage) -> list[str]:
    if image.deltas is None and not image.noise:
        return []
    return [
        "its model was tuned: with the model as it is these latents draw another picture;"
        " `model_out` FOLDER writes the tuned one"
    ]
