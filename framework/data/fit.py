"""Pictures of any shape brought to one size."""

from typing import Literal

import numpy as np
from PIL import Image

from framework.compositing.geometry import MODES as CROPS
from framework.compositing.geometry import Mode as Crop
from framework.compositing.geometry import fit_geometry, to_canvas
from framework.errors import UserError

MAX_SIDE_PX = 16_384
Filter = Literal["lanczos", "box"]
FILTERS = {"lanczos": Image.Resampling.LANCZOS, "box": Image.Resampling.BOX}


def size_pair(size: int | tuple[int, int] | list[int]) -> tuple[int, int]:
    """Return (height, width) from one side or a pair.

    Raises:
        UserError: If it is not a pair of positive whole numbers.
    """
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(map(_is_side, pair)):
        text = f"{size}: give one side or height and width, 1 to {MAX_SIDE_PX} pixels"
        raise UserError(text, "size")
    return pair


def _is_side(side: object) -> bool:
    return type(side) is int and 0 < side <= MAX_SIDE_PX


def check_treatment(crop: str, filter: str) -> None:
    """Raise `UserError` unless `fit` knows both options."""
    if crop not in CROPS:
        raise UserError(f"{crop}: give {', '.join(CROPS[:-1])} or {CROPS[-1]}", "crop")
    if filter not in FILTERS:
        raise UserError(f"{filter}: give {' or '.join(FILTERS)}", "filter")


def fit(
    picture: np.ndarray, size: tuple[int, int], crop: Crop = "center", filter: Filter = "lanczos"
) -> np.ndarray:
    """Resize a picture uint8 (h, w, C) to one size (H, W).

    Args:
        picture: Picture with 1, 3 or 4 channels.
        size: Size (H, W) of the result.
        crop: "center" cuts the largest central part of that shape, "pad" keeps everything and
            adds white borders, "stretch" ignores proportions.
        filter: "lanczos" is sharper; "box" averages, and is what NVIDIA's published FIDs used.
    """
    check_treatment(crop, filter)
    h, w = picture.shape[:2]
    if (h, w) == (size[0], size[1]):
        return picture
    return to_canvas(picture, fit_geometry((h, w), (size[0], size[1]), crop), FILTERS[filter])


def planar(picture: np.ndarray) -> np.ndarray:
    """Convert a picture (H, W, C) to (C, H, W)."""
    return np.ascontiguousarray(picture.transpose(2, 0, 1))
