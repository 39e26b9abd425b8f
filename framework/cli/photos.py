"""Photographs as a command reads them: the file, upright, and what of it a model sees."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from framework.cli.framing import Framing
from framework.compositing.geometry import Geometry
from framework.compositing.photograph import Photograph
from framework.data.sources import FolderSource
from framework.errors import UserError, blame
from framework.files import sha256_file
from framework.media.images import MODES, printable

if TYPE_CHECKING:
    from framework.models.stylegan2 import Generator

ORIGINAL = "original"  # name, without ending, of a photograph's copy beside its inverted image


@dataclass(frozen=True, eq=False)
class Photo:
    """A photograph, and the part of it that a model sees.

    Args:
        path: Its file.
        sha256: Of the file's bytes.
        whole: All of it.
        canvas: The model's picture: uint8 (H, W, C).
        geometry: Where one lies in the other.
        notes: What reading it had to do.
    """

    path: Path
    sha256: str
    whole: Photograph
    canvas: np.ndarray
    geometry: Geometry
    notes: tuple[str, ...] = ()

    @property
    def original_name(self) -> str:
        """What a copy of the file is called beside an inverted image."""
        return f"{ORIGINAL}{self.path.suffix.lower()}"

    def without_borders(self) -> np.ndarray:
        """The model's picture with what lies outside the photograph mirrored, never white."""
        geometry = replace(self.geometry, fill="mirror")
        return self.whole.canvas(geometry, self.canvas.shape[2])


def read_photo(path: Path, generator: "Generator", framing: Framing | None = None) -> Photo:
    """Read a photograph for a model.

    Args:
        path: Its file.
        generator: Whose size and channels count.
        framing: What of it the model sees; None for the largest central part.

    Raises:
        UserError: If it is no picture, or the framing does not fit it.
    """
    height, width = generator.img_size
    channels = generator.img_channels
    if channels not in MODES:
        raise UserError(f"--model: its pictures have {channels} channels; photographs 1, 3 or 4")
    whole = Photograph.read(path)
    with blame(printable(str(path))):
        geometry, outside = (framing or Framing()).geometry(whole.size, (height, width))
    notes = [*whole.notes, *outside]
    if whole.alpha is not None and channels != 4:
        notes.append("transparency laid on white for the model; the cut-out keeps it")
    scale = max(abs(value) for row in geometry.affine for value in row[:2])
    if scale > 1:
        notes.append(f"enlarged {scale:.2g} times: the model's pictures are {width}x{height}")
    seen = whole.canvas(geometry, channels)
    return Photo(path, sha256_file(path), whole, seen, geometry, (*notes,))


def find_photos(words: Sequence[str]) -> tuple[list[tuple[str, Path]], list[str]]:
    """Name every photograph that the command line means: files, and all in folders.

    Returns:
        A name for results, unique, and the file; whether it is a picture is seen on reading. And
        what of the folders cannot even be opened, in words.

    Raises:
        UserError: If a word names nothing, or a folder holds no pictures.
    """
    found: list[tuple[str, Path]] = []
    problems: list[str] = []
    for word in words:
        path = Path(word)
        if not path.exists():
            raise UserError(f"{printable(word)}: no such photograph or folder")
        if not path.is_dir():
            found.append((path.stem, path))
            continue
        source = FolderSource(path)
        if not source.names:
            raise UserError(f"{printable(word)}: holds no pictures")
        found += [
            (str(Path(name).with_suffix("")).replace("/", "-"), path / name)
            for name in source.names
        ]
        problems += map(str, source.problems)
    return list(_unique(found)), problems


def _unique(found: list[tuple[str, Path]]) -> Iterator[tuple[str, Path]]:
    """Give every name but the first of its kind a number."""
    taken: set[str] = set()
    for name, path in found:
        name = printable(name).replace("\\", "_").strip(". ") or "photo"
        free, number = name, 2
        while free.lower() in taken:
            free, number = f"{name}-{number}", number + 1
        taken.add(free.lower())
        yield free, path
