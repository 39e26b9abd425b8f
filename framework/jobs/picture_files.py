"""Files with a picture: their kinds, and the latents in them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from torch import Tensor

from framework.drag.edit_format import FORMAT as EDIT_FORMAT
from framework.errors import UserError, blame
from framework.formats.latents import read_named_latents
from framework.inversion.inverted_image import FORMAT, SUFFIX
from framework.jobs.watcher import Watcher
from framework.media.images import printable
from framework.tensor_files import opened_tensors

LATENT_SUFFIXES = {".pt", ".pth", ".npz", ".npy", ".pkl"}
Kind = Literal["photograph", "inverted image", "latents", "edit"]
_LONGEST_NUMBER = 10  # digits
_MOST_LISTED = 20


def picture_file(word: str) -> Path:
    """Return the file that `image` means: itself, or the one inverted image in a folder.

    Raises:
        UserError: If there is no such file.
    """
    path = Path(word)
    if not os.path.exists(path):  # Path.exists raises for names that are too long
        raise UserError(f"{printable(word)}: no such file", "image")
    if not path.is_dir():
        return path
    files = sorted(path.glob(f"*{SUFFIX}"))
    if len(files) != 1:
        raise UserError(
            f"{printable(word)}: a folder with {len(files)} inverted images; give one file",
            "image",
        )
    return files[0]


def kind_of(file: Path, field: str = "image") -> Kind:
    """Return what a file with a picture is: by its ending, a safetensors by its metadata."""
    if file.suffix.lower() == ".safetensors":
        with blame(field, str(file)), opened_tensors(file, kind=UserError) as opened:
            format_name = (opened.metadata() or {}).get("format", "")
        if format_name == EDIT_FORMAT:
            return "edit"
        is_inverted = format_name == FORMAT or file.name.endswith(SUFFIX)
        return "inverted image" if is_inverted else "latents"
    return "latents" if file.suffix.lower() in LATENT_SUFFIXES else "photograph"


def picked_latents(file: Path, num_ws: int, pick: str | None, watcher: Watcher) -> Tensor:
    """Read one picture's latents from a file, (1, num_ws, w_dim): by name, number, or the last."""
    ws, names = read_named_latents(file, num_ws)
    if pick is None:
        if len(ws) > 1:
            watcher.note(
                f"{printable(str(file))} holds {len(ws)} pictures; the last is dragged,"
                " `pick` takes another"
            )
        return ws[-1:]
    if pick in names:
        number = names.index(pick)
    elif pick.isascii() and pick.isdecimal() and len(pick) < _LONGEST_NUMBER:
        number = int(pick)
    else:
        number = len(ws)
    if number >= len(ws):
        raise UserError(f"{pick}: {printable(str(file))} holds {_listed(names)}", "pick")
    return ws[number : number + 1]


def _listed(names: Sequence[str]) -> str:
    """List what there is to pick from: numbers, and names if there are any."""
    choices = [
        str(number) if name == str(number) else f"{number} ({printable(name)})"
        for number, name in enumerate(names[:_MOST_LISTED])
    ]
    more = f" and {len(names) - len(choices)} more" if len(names) > len(choices) else ""
    return f"{', '.join(choices)}{more}; give a number or a name"
