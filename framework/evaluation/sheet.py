"""A sheet: rows of pictures under titles, each row under its caption."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from framework.media.draw import INK, PAPER

_GAP_PX, _TEXT_PX = 4, 12
_LINE_PX = _TEXT_PX + 4

Tile = np.ndarray | None
Row = tuple[str, Sequence[Tile]]


def sheet(titles: Sequence[str], rows: Sequence[Row]) -> np.ndarray:
    """Rows of pictures under titles of one or more lines, each row under its caption.

    Pictures are uint8 (H, W, 3) of one size, like the result; None leaves a place empty.
    """
    height, width = next(t for _, tiles in rows for t in tiles if t is not None).shape[:2]
    font = ImageFont.load_default(_TEXT_PX)
    head_px = _LINE_PX * max(text.count("\n") + 1 for text in titles) + _GAP_PX
    row_px = _LINE_PX + height + 2 * _GAP_PX
    width_px = _GAP_PX + len(titles) * (width + _GAP_PX)
    lefts = range(_GAP_PX, width_px, width + _GAP_PX)
    paper = Image.new("RGB", (width_px, head_px + len(rows) * row_px), PAPER)
    draw = ImageDraw.Draw(paper)
    for left, text in zip(lefts, titles, strict=True):
        lines = [shortened(line, font, width) for line in text.split("\n")]
        draw.multiline_text((left, _GAP_PX), "\n".join(lines), font=font, fill=INK, spacing=2)
    for number, (caption, tiles) in enumerate(rows):
        top = head_px + number * row_px
        caption = shortened(caption, font, width_px - 2 * _GAP_PX)
        draw.text((_GAP_PX, top), caption, font=font, fill=INK)
        for left, tile in zip(lefts, tiles, strict=True):
            if tile is not None:
                paper.paste(Image.fromarray(tile), (left, top + _LINE_PX))
    return np.asarray(paper)


def shortened(text: str, font: Any, width_px: int) -> str:
    """Cut the beginning of a text that is too wide: the ends of names tell them apart."""
    tail = text
    while tail and font.getlength(tail if tail == text else f"…{tail}") > width_px:
        tail = tail[1:]
    return tail if tail == text else f"…{tail}"
