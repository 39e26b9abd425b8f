"""What `--image` means, and points that are given in a photograph's pixels."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from framework.cli.framing import Framing
from framework.cli.invert_settings import PointsIn
from framework.compositing.geometry import Geometry, photo_box
from framework.drag.edit_file import FORMAT as EDIT_FORMAT
from framework.drag.points import Point, check_points, parse_points
from framework.errors import UserError, blame
from framework.inversion.inverted_image import FORMAT, SUFFIX, InvertedImage
from framework.media.images import printable
from framework.tensor_files import opened_tensors

LATENT_SUFFIXES = {".pt", ".pth", ".npz", ".npy", ".pkl"}
Pairs = tuple[Sequence[Point], Sequence[Point]]
Kind = Literal["photograph", "inverted image", "latents", "edit"]


@dataclass(frozen=True)
class ImageChoice:
    """What the command line says about the picture; None is nothing.

    Args:
        image: Its file, or the folder that `invert` wrote.
        photo: The photograph of an inverted image.
        points_in: Whose pixels points and mask are in.
        stages: Of a photograph's inversion.
        framing: What of a photograph the model sees.
        pick: Which picture of a file with several latents.
    """

    image: str | None = None
    photo: str | None = None
    points_in: PointsIn = "model"
    stages: str | None = None
    framing: Framing = field(default_factory=Framing)
    pick: str | None = None


def picture_file(word: str) -> Path:
    """The file that `--image` means: itself, or the one inverted image in a folder.

    Raises:
        UserError: If there is none.
    """
    path = Path(word)
    if not os.path.exists(path):  # where Path.exists raises, for names that are too long
        raise UserError(f"--image {printable(word)}: no such file")
    if not path.is_dir():
        return path
    found = sorted(path.glob(f"*{SUFFIX}"))
    if len(found) != 1:
        raise UserError(
            f"--image {printable(word)}: a folder with {len(found)} inverted images; give one file"
        )
    return found[0]


def kind_of(file: Path, flag: str = "--image") -> Kind:
    """What a file with a picture is: by its ending, safetensors by what they say of themselves."""
    if file.suffix.lower() == ".safetensors":
        with blame(flag, str(file)), opened_tensors(file, kind=UserError) as opened:
            named = (opened.metadata() or {}).get("format", "")
        if named == EDIT_FORMAT:
            return "edit"
        return "inverted image" if named == FORMAT or file.name.endswith(SUFFIX) else "latents"
    return "latents" if file.suffix.lower() in LATENT_SUFFIXES else "photograph"


def model_of(file: Path) -> str:
    """The name of the model that a picture was made with, as far as its file says.

    Raises:
        UserError: If it does not say.
    """
    if kind_of(file) != "inverted image":
        raise UserError(f"--model: needed with --image {printable(str(file))}, which names none")
    with blame("--image", str(file)):
        return InvertedImage.load(file).model_name


def placed_points(
    points: str | Pairs,
    points_in: PointsIn,
    img_size: tuple[int, int],
    geometry: Geometry | None,
) -> tuple[list[Point], list[Point]]:
    """Read points into the model's pixels.

    Args:
        points: As on the command line, or handles and targets.
        points_in: Whose pixels they are in.
        img_size: The model's (height, width).
        geometry: Where the picture lies in its photograph.

    Raises:
        UserError: Naming the flag, if a point does not fit.
    """
    with blame("--points"):
        if points_in == "model":
            return _read(points, img_size)
        geometry = _photographed(geometry)
        handles, targets = _read(points, geometry.photo_size)
        return check_points(
            _on_canvas("handle", handles, geometry), _on_canvas("target", targets, geometry),
            img_size,
        )  # fmt: skip


def _read(points: str | Pairs, size: tuple[int, int]) -> tuple[list[Point], list[Point]]:
    return parse_points(points, size) if isinstance(points, str) else check_points(*points, size)


def _photographed(geometry: Geometry | None) -> Geometry:
    if geometry is None:
        raise UserError("--points-in photo: this picture is of no photograph")
    return geometry


def _on_canvas(kind: str, points: Sequence[Point], geometry: Geometry) -> list[list[float]]:
    """Points of the photograph in the model's picture; those it does not see are refused."""
    left, top, right, bottom = geometry.valid_box
    placed = geometry.to_canvas_points(points)
    for i, ((x, y), (px, py)) in enumerate(zip(placed, points, strict=True)):
        if not (left - 0.5 <= x <= right - 0.5 and top - 0.5 <= y <= bottom - 0.5):
            first_x, first_y, end_x, end_y = photo_box(geometry)
            raise UserError(
                f"{kind} {i} ({px:g}, {py:g}): the model sees of the photograph x {first_x} to"
                f" {end_x - 1} and y {first_y} to {end_y - 1}; choose another --box or --crop"
            )
    # A photograph's outermost pixels are smaller than the model's: their centres lie beyond those.
    return placed.clip([left, top], [right - 1, bottom - 1]).tolist()
