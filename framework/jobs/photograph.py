"""Photographs as a job reads them: the file, upright, and the part that a model sees."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from framework.compositing.aligned import align_geometry, at_border
from framework.compositing.geometry import Geometry, fit_geometry
from framework.compositing.photograph import Photograph
from framework.data.sources import FolderSource
from framework.errors import UserError, blame
from framework.files import sha256_file
from framework.jobs.requests.framing import Framing
from framework.media.images import MODES, printable
from framework.models.stylegan2 import Generator

ORIGINAL = "original"  # name, without ending, of a photograph's copy beside its inverted image
_MOST_OUTSIDE = 0.5  # largest share of the model's picture outside the photograph


@dataclass(frozen=True, eq=False)
class Photo:
    """A photograph, and the part of it that a model sees.

    Args:
        path: File of the photograph.
        sha256: Digest of the file's bytes.
        whole: The whole photograph.
        canvas: The model's picture, uint8 (H, W, C).
        geometry: Place of the model's picture in the photograph.
        notes: Notes about reading the photograph.
    """

    path: Path
    sha256: str
    whole: Photograph
    canvas: np.ndarray
    geometry: Geometry
    notes: tuple[str, ...] = ()

    @property
    def original_name(self) -> str:
        """The name of the file's copy beside an inverted image."""
        return f"{ORIGINAL}{self.path.suffix.lower()}"

    def without_borders(self) -> np.ndarray:
        """Return the model's picture with the photograph mirrored outside, never white."""
        geometry = replace(self.geometry, fill="mirror")
        return self.whole.canvas(geometry, self.canvas.shape[2])


def read_photo(path: Path, generator: Generator, framing: Framing | None = None) -> Photo:
    """Read a photograph for a model.

    Args:
        path: File of the photograph.
        generator: The generator whose size and channels count.
        framing: The part that the model sees; None for the largest central one.

    Raises:
        UserError: If the file is no picture, or the framing does not fit it.
    """
    height, width = generator.img_size
    check_channels(generator)
    whole = Photograph.read(path)
    with blame(printable(str(path))):
        geometry, outside = frame(framing or Framing(), whole.size, (height, width))
    return framed_photo(path, whole, geometry, generator, outside)


def check_channels(generator: Generator) -> None:
    """Refuse a model whose pictures are none that photographs can be.

    Raises:
        UserError: Naming the model.
    """
    channels = generator.img_channels
    if channels not in MODES:
        raise UserError(f": its pictures have {channels} channels; photographs 1, 3 or 4", "model")


def framed_photo(
    path: Path,
    whole: Photograph,
    geometry: Geometry,
    generator: Generator,
    outside: Sequence[str] = (),
) -> Photo:
    """Return a photograph, the content of a file, as a model sees it at a place.

    Args:
        path: File of the photograph.
        whole: Its content.
        geometry: Place of the model's picture in it.
        generator: The generator whose size and channels count.
        outside: Notes about parts of the picture outside the photograph.
    """
    (height, width), channels = generator.img_size, generator.img_channels
    notes = [*whole.notes, *outside]
    if whole.alpha is not None and channels != 4:
        notes.append("transparency laid on white for the model; the cut-out keeps it")
    scale = max(abs(value) for row in geometry.affine for value in row[:2])
    if scale > 1:
        notes.append(f"enlarged {scale:.2g} times: the model's pictures are {width}x{height}")
    canvas = whole.canvas(geometry, channels)
    return Photo(path, sha256_file(path), whole, canvas, geometry, (*notes,))


def frame(
    framing: Framing, photo_size: tuple[int, int], canvas_size: tuple[int, int]
) -> tuple[Geometry, list[str]]:
    """Lay a photograph of a size on a picture of another; sizes are (height, width).

    Returns:
        The geometry, and notes about parts of the picture outside the photograph.

    Raises:
        UserError: If the framing does not fit the photograph, or most of the picture is outside.
    """
    if framing.aligned is not None:
        with blame("align", framing.align or ""):
            geometry = align_geometry(photo_size, canvas_size, framing.aligned, framing.aligned_to)
    else:
        geometry = fit_geometry(
            photo_size, canvas_size, framing.crop or "center", framing.corners,
            rotate_deg=framing.rotate or 0,
        )  # fmt: skip
    # The borders of "pad" are white on purpose, and so is all else outside the photograph.
    if framing.crop == "pad":
        geometry = replace(geometry, fill="colour")
    else:
        geometry = at_border(replace(geometry, fill="mirror"))
    outside = _outside(framing, geometry)
    if outside <= 0:
        return geometry, []
    share = f"{math.ceil(100 * outside)} % of the model's picture"
    if outside > _MOST_OUTSIDE:
        raise UserError(
            f"{_place(framing)}: the photograph leaves {share} empty, more than half; give a part"
            " that lies within it"
        )
    how = "white" if geometry.fill == "colour" else "the photograph mirrored"
    return geometry, [f"{share} lies outside the photograph: filled with {how}, not counted"]


def _outside(framing: Framing, geometry: Geometry) -> float:
    """Return the share of the model's picture that is neither photograph nor intended border."""
    height, width = geometry.canvas_size
    left, top, right, bottom = geometry.valid_box
    whole = height * width
    if framing.crop == "pad":
        if framing.corners is None:
            return 0.0
        x0, y0, x1, y1 = framing.corners
        scale = min(width / (x1 - x0), height / (y1 - y0))
        whole = max(1, round((x1 - x0) * scale)) * max(1, round((y1 - y0) * scale))
    return 1 - (right - left) * (bottom - top) / whole


def _place(framing: Framing) -> str:
    """Return the user's settings of the place, unchanged."""
    values = {name: getattr(framing, name) for name in ("box", "rotate", "align")}
    words = [f"`{name}` {value}" for name, value in values.items() if value is not None]
    return " ".join(words) or f"`crop` {framing.crop or 'center'}"


def find_photos(words: Sequence[str]) -> tuple[list[tuple[str, Path]], list[str]]:
    """Find every photograph among words: files, and all files in folders.

    Returns:
        A unique name for results and the file, of each; and what cannot be opened in the folders,
        in words. Whether a file is a picture shows on reading.

    Raises:
        UserError: If a word names nothing, or a folder holds no pictures.
    """
    photos: list[tuple[str, Path]] = []
    problems: list[str] = []
    for word in words:
        path = Path(word)
        if not path.exists():
            raise UserError(f"{printable(word)}: no such photograph or folder")
        if not path.is_dir():
            photos.append((path.stem, path))
            continue
        source = FolderSource(path)
        if not source.names:
            raise UserError(f"{printable(word)}: holds no pictures")
        photos += [
            (str(Path(name).with_suffix("")).replace("/", "-"), path / name)
            for name in source.names
        ]
        problems += map(str, source.problems)
    return list(_unique(photos)), problems


def _unique(photos: list[tuple[str, Path]]) -> Iterator[tuple[str, Path]]:
    """Yield the photographs with unique names: repeated ones get a number."""
    used_names: set[str] = set()
    for name, path in photos:
        name = printable(name).replace("\\", "_").strip(". ") or "photo"
        free, number = name, 2
        while free.lower() in used_names:
            free, number = f"{name}-{number}", number + 1
        used_names.add(free.lower())
        yield free, path
