"""Sketches: dark lines on white paper, whatever the drawing was made with."""

import numpy as np

from framework.media.modes import WHITE

_COLOURED = 24  # levels between a pixel's channels that no grey has, JPEG's included
_LEAST_COLOURED = 0.01  # share of such pixels


def as_sketch(picture: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return a drawing as dark lines on white, and notes on what was changed.

    A drawing that is dark for the most part is white on black, and is inverted.

    Args:
        picture: uint8 (H, W, 3), RGB.

    Returns:
        The sketch, uint8 (H, W), and notes, each a few words.
    """
    levels, notes = picture.astype(np.int16), []
    spread = levels.max(axis=2) - levels.min(axis=2)
    if (spread > _COLOURED).mean() > _LEAST_COLOURED:
        notes.append("in colour: only its brightness counts")
    grey = np.rint(levels @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    if np.median(grey) < WHITE / 2:
        grey = WHITE - grey
        notes.append("white on black: inverted")
    return grey, notes
