"""Masks from picture files: the parts painted white may change."""

from pathlib import Path

import numpy as np

from framework.media.images import read_image

_PAINTED = 128  # of 255: half white or more


def read_mask(path: str | Path) -> np.ndarray:
    """Read a mask: float32 (H, W), 1 where the picture is painted white, else 0.

    White that is at least half opaque counts as painted. Transparent pixels do not, whatever colour
    they hide: on a transparent layer only the strokes count.

    Raises:
        ImageRefused: If the file is not a picture.
    """
    red, green, blue, alpha = np.moveaxis(read_image(path, channels=4).astype(np.uint32), -1, 0)
    grey = (299 * red + 587 * green + 114 * blue + 500) // 1000
    return (grey * alpha >= _PAINTED * 255).astype(np.float32)
