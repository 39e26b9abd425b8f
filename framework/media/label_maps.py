"""Maps of labels: a number a pixel, from files that keep numbers, and as colours to look at."""

import colorsys
import io

import numpy as np
from PIL import Image

from framework.media.images import ImageRefused, Refusal, open_plain

_GOLDEN = 0.61803  # of a turn of hue between one label and the next: neighbours differ
_LOSSY = ("JPEG",)


def read_label_map(data: bytes, name: str) -> np.ndarray:
    """Decode a map of labels, uint8 (H, W): a palette's numbers, or levels of grey.

    Args:
        data: The file's bytes.
        name: Name of the file, for messages.

    Raises:
        ImageRefused: As for every picture; and if the file is in colour, or JPEG, which blurs
            numbers into others.
    """
    source = open_plain(data, name)
    if source.format in _LOSSY:
        raise ImageRefused(
            name, Refusal.UNSUPPORTED, "labels as JPEG, which changes numbers; save them as PNG"
        )
    image = source.image
    if source.mode == "P":
        image = Image.open(io.BytesIO(data), formats=[source.format])
        return np.array(image, np.uint8)
    if source.mode.startswith("I"):
        levels = np.asarray(Image.open(io.BytesIO(data), formats=[source.format]))
        if levels.max() > 255 or levels.min() < 0:
            reason = f"labels up to {int(levels.max())}; they are numbers from 0 to 255"
            raise ImageRefused(name, Refusal.UNSUPPORTED, reason)
        return levels.astype(np.uint8)
    levels = np.asarray(image.convert("RGB"))
    if (levels != levels[..., :1]).any():
        colours = len(np.unique(levels.reshape(-1, 3), axis=0))
        reason = f"in colour ({colours} colours); a map of labels is grey or has a palette"
        raise ImageRefused(name, Refusal.UNSUPPORTED, reason)
    return np.ascontiguousarray(levels[..., 0])


def coloured(labels: np.ndarray) -> np.ndarray:
    """Return labels (..., H, W) as colours to look at, uint8 (..., H, W, 3); 0 is white."""
    table = [
        colorsys.hsv_to_rgb(i * _GOLDEN % 1, 0.55 + 0.25 * (i % 2), 0.95 - 0.3 * (i % 3 == 2))
        for i in range(256)
    ]
    palette = np.rint(np.array(table) * 255).astype(np.uint8)
    palette[0] = 255
    return palette[labels]
