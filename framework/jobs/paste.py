"""An inverted image opened: its own generator, and the photograph that edits are pasted into."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from framework.compositing.geometry import Geometry, check_photo, photo_box
from framework.compositing.photograph import Photograph
from framework.drag.edit_file import EditFile, InversionLink
from framework.errors import UserError, blame
from framework.files import copy_file, sha256_file
from framework.inversion.inverted_image import InvertedImage
from framework.jobs.models import render
from framework.jobs.photograph import ORIGINAL
from framework.jobs.requests.drag import Paste, Seam
from framework.jobs.watcher import SILENT, Watcher
from framework.media.images import printable
from framework.models.stylegan2 import Generator

_CLIP_PX = 1280  # longer side of a clip of a photograph
_SMALLEST_MARKS = 0.3  # of those for the whole picture


@dataclass(frozen=True, eq=False)
class OpenImage:
    """An inverted image, opened.

    Args:
        image: The image.
        file: File of the image.
        sha256: Digest of the file's bytes.
        generator: The model with the image's noise and changed weights.
        original: File of the photograph, or None if it is missing.
        photo: The photograph, or None.
    """

    image: InvertedImage
    file: Path
    sha256: str
    generator: Generator
    original: Path | None
    photo: Photograph | None

    @property
    def link(self) -> InversionLink:
        """The link to this image in an edit."""
        return InversionLink(self.file.name, self.sha256)

    @property
    def lacks_photo(self) -> bool:
        """Whether the image has a place in a photograph that is missing."""
        return self.image.geometry is not None and self.photo is None

    def copy_to(self, folder: Path) -> list[str]:
        """Copy the file, and the photograph's, beside an edit; return their names."""
        names = []
        for path in (self.file, self.original):
            if path is None:
                continue
            name = path.name if path == self.file else f"{ORIGINAL}{path.suffix.lower()}"
            if not (folder / name).exists():
                copy_file(path, folder / name)
            names.append(name)
        return names

    def pasted(self, edited: np.ndarray, paste: Paste, seam: Seam) -> Photograph | None:
        """Return the photograph with an edit in its place.

        Args:
            edited: The edited picture, uint8 (H, W, C).
            paste: "changed" for the parts that the edit changed, "box" for all that the model sees.
            seam: How the edit meets the rest.

        Returns:
            None if there is no photograph, or `paste` is "none".
        """
        geometry = self.image.geometry
        if paste == "none" or self.photo is None or geometry is None:
            return None
        return self.photo.pasted(
            edited, geometry, original=self.reconstruction, changed_only=paste == "changed",
            seam=seam,
        )  # fmt: skip

    @cached_property
    def reconstruction(self) -> np.ndarray:
        """The picture before any edit, uint8 (H, W, C)."""
        ws = self.image.ws if self.image.pivot is None else self.image.pivot
        return render(self.generator, ws)


@dataclass(frozen=True, eq=False)
class InPhoto:
    """A photograph of a size for clips, in which edits are shown.

    Args:
        photo: The photograph.
        geometry: Place of the model's picture in it.
        reconstruction: The picture before any edit, uint8 (H, W, C).
        marks: Size of points and tracks drawn on it: the model's picture may be a small part.
    """

    photo: Photograph
    geometry: Geometry
    reconstruction: np.ndarray
    marks: float

    @classmethod
    def of(cls, inverted: OpenImage) -> "InPhoto":
        """Shrink the photograph of an inverted image, if it is larger than clips are.

        Raises:
            UserError: If there is no photograph.
        """
        geometry = inverted.image.geometry
        if geometry is None or inverted.photo is None:
            raise UserError(f"photo: the photograph does not lie beside {inverted.file}", "show")
        photo, geometry = inverted.photo.shrunk(geometry, _CLIP_PX)
        left, top, right, bottom = photo_box(geometry)
        marks = max(_SMALLEST_MARKS, max(right - left, bottom - top) / max(photo.size))
        return cls(photo, geometry, inverted.reconstruction, min(1.0, marks))

    def picture(self, edited: np.ndarray) -> np.ndarray:
        """Return the photograph with an edit in its place, uint8 (h, w, 3).

        Detail stays where it is: to carry it along takes a second, and a clip has many frames.
        """
        return self.photo.pasted(
            edited, self.geometry, original=self.reconstruction, changed_only=True, carry=False
        ).shown()

    def points(self, points: Sequence[Sequence[float]]) -> list[list[float]]:
        """Return points of the model's picture in the photograph's pixels."""
        return self.geometry.to_photo_points(points).tolist()


def open_image(
    file: Path,
    base: Generator,
    photo: str | None = None,
    watcher: Watcher = SILENT,
    field: str = "image",
) -> OpenImage:
    """Open an inverted image for a model.

    Args:
        file: File of the image.
        base: The shared generator.
        photo: The photograph's file; None to look for it beside the image.
        watcher: Watcher that gets the notes.
        field: Field that names the file, for complaints.

    Raises:
        UserError: If the file is damaged, or made with another model; or the photograph does not
            fit it.
    """
    with blame(field, str(file)):
        image = InvertedImage.load(file)
        generator = image.generator(base)
    original = _find_original(image, file) if photo is None else Path(photo)
    photograph = None
    if original is not None and image.geometry is not None:
        with blame("photo", str(original)):
            photograph = Photograph.read(original)
            check_photo(photograph.levels, image.geometry)
        if photo is not None and sha256_file(original) != image.photo.get("sha256"):
            watcher.note(f"{printable(photo)} is not the file that was inverted")
    return OpenImage(image, file, sha256_file(file), generator, original, photograph)


def open_linked(
    edit: Path,
    record: EditFile,
    base: Generator,
    photo: str | None = None,
    watcher: Watcher = SILENT,
) -> OpenImage | None:
    """Open the inverted image that an edit began with, which lies beside it; None if there is none.

    Raises:
        UserError: If the image is missing, or another one than the edit's.
    """
    link = record.inversion
    if link is None:
        return None
    file = edit.parent / link.file
    if not file.exists():
        raise UserError(f"{edit}: began with {link.file}, which has to lie beside it", "edit")
    if sha256_file(file) != link.sha256:
        raise UserError(f"{edit}: {file} is not the inverted image that it began with", "edit")
    return open_image(file, base, photo, watcher, "edit")


def _find_original(image: InvertedImage, file: Path) -> Path | None:
    """Find the photograph's file beside the image's, by its digest, whatever its name."""
    name, sha256 = image.photo.get("name", ""), image.photo.get("sha256")
    copy = f"{ORIGINAL}{Path(name).suffix.lower()}"
    for candidate in (file.parent / copy, file.parent / Path(name).name):
        if candidate.is_file() and sha256_file(candidate) == sha256:
            return candidate
    return None
