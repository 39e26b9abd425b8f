"""`edit.py latents`: latents from and to the files of other programs."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from framework.errors import UserError, blame

if TYPE_CHECKING:
    from torch import Tensor

    from framework.inversion.inverted_image import InvertedImage
    from framework.models.stylegan2 import Generator

LatentKind = Literal["draggan", "nvidia", "psp", "npy", "dragline"]


def latents(
    file: str,
    /,
    to: LatentKind,
    out: str,
    model_out: str | None = None,
    model: str | None = None,
    json: bool = False,
) -> None:
    """Write latents as a file that another program opens.

    Reads inverted images, DragGAN's .pt, NVIDIA's projected_w.npz, pSp's and e4e's latents.pt, .npy
    and .npz arrays, safetensors with `ws`, ReStyle's latents.npy and other pickled tables by
    picture, folders of one .pt for each picture as PTI keeps them, and edits (their last picture);
    nothing in a file is run. Latents mean something only together with the model they were made
    with. Where an inverted image was tuned, that is the model with its changes, which --model-out
    writes.

    Examples::

      python edit.py latents out/car/car.inv.safetensors --to draggan --out out/car.pt
      python edit.py latents projected_w.npz --to dragline --out out/car.safetensors
      python edit.py latents out/car/car.inv.safetensors --to npy --out car.npy --model-out tuned

    Args:
        file: Where the latents are, a file or a folder.
        to: draggan is a .pt that DragGAN's window loads, nvidia the .npz of the projector, psp a
            .pt, npy an array, dragline a safetensors file.
        out: New file, ending in .pt (draggan, psp), .npz (nvidia), .npy or .safetensors (dragline).
        model_out: New or empty folder for the tuned model of an inverted image, which all commands
            open; export writes it for other programs.
        model: The inverted image's model, where it has moved; or that of latents with one row for
            all layers.
        json: End with one line of JSON: file, to, shape, sha256, model, notes.
    """
    from framework.cli.common import print_json
    from framework.files import check_new_file, check_new_folder, folder_above, sha256_file

    path = Path(file)
    if not os.path.exists(file):
        raise UserError(f"{file}: no such file or folder", "file")
    target = check_new_file(out)
    if model_out is not None:
        check_new_folder(model_out, "model_out")
    from framework.formats.latents import ENDINGS, write_latents

    if target.suffix != ENDINGS[to]:
        raise UserError(f"--out {out}: a file for {to} ends with {ENDINGS[to]}")
    ws, image = _read(path, model)
    tuned = None if model_out is None else _tuned(path, image, model)
    with folder_above(target):
        write_latents(target, ws, to)
    if tuned is not None and image is not None and model_out is not None:
        _write_model(image, tuned, Path(model_out))
    notes = [] if image is None or model_out is not None else _notes(image)
    print(f"{target}: {' x '.join(map(str, ws.shape))} latents")
    for note in notes:
        print(f"note: {note}")
    if json:
        print_json({
            "file": str(target), "to": to, "shape": list(ws.shape), "sha256": sha256_file(target),
            "model": model_out or (None if image is None else image.model_name), "notes": notes,
        })  # fmt: skip


def _read(path: Path, model: str | None) -> "tuple[Tensor, InvertedImage | None]":
    """Latents of a file, and the inverted image that they are of, if it is one."""
    from framework.cli.drag_image import kind_of
    from framework.drag.edit_file import EditFile
    from framework.formats import load_generator
    from framework.formats.latents import read_latents
    from framework.inversion.inverted_image import InvertedImage

    kind = "latents" if path.is_dir() else kind_of(path, "FILE")
    if kind == "edit":
        record = EditFile.load(path)
        if record.inversion is None:
            return record.ws[-1:], None
        image = InvertedImage.load(path.parent / record.inversion.file)
        return record.ws[-1:], image
    if kind == "inverted image":
        image = InvertedImage.load(path)
        return image.ws, image
    if kind == "photograph":
        raise UserError(f"{path}: is no file with latents; invert makes some of a photograph")
    return read_latents(path, None if model is None else load_generator(model).num_ws), None


def _tuned(path: Path, image: "InvertedImage | None", model: str | None) -> "Generator":
    """The model as an inverted image changed it."""
    from framework.formats import load_generator

    if image is None or not (image.noise or image.deltas is not None):
        raise UserError(f"--model-out: {path} changes nothing of its model")
    base = load_generator(model or image.model_name)
    with blame("FILE", str(path)):
        return image.generator(base)


def _write_model(image: "InvertedImage", tuned: "Generator", folder: Path) -> None:
    from framework.formats import save_model_folder

    provenance = {"tuned_from": image.model_name, "digest_of_base": image.generator_digest}
    provenance |= {"photo": image.photo, "settings": image.settings}
    card = (
        f"# {folder.name}\n\n{image.model_name} as tuned to one photograph"
        f" ({image.photo.get('name', 'unnamed')}); elsewhere it draws much as before.\n"
    )
    save_model_folder(folder, tuned, provenance=provenance, card=card)


def _notes(image: "InvertedImage") -> list[str]:
    if image.deltas is None and not image.noise:
        return []
    return [
        "its model was tuned: with the model as it is these latents draw another picture;"
        " --model-out FOLDER writes the tuned one"
    ]
