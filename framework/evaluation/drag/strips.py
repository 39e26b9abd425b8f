"""Strips: a task's pictures side by side, with what was asked, said and seen drawn on them."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from framework.evaluation.drag.bench import kind_of, results_of
from framework.evaluation.drag.protocol import DragProtocol, Facts
from framework.evaluation.report_folder import ReportFolder
from framework.evaluation.sheet import Tile, sheet
from framework.media.draw import TRACK, Overlay, enlargement

TILE_PX, JPEG_QUALITY = 192, 88
SEEN = TRACK
"""Colour of the cross where the judge sees a point."""


def strip_of(
    folder: ReportFolder, of: DragProtocol, group: str, row: str, by_index: Mapping[int, Facts]
) -> bytes | None:
    """A row's best, median and worst task by the protocol's ruler, as JPEG; None without pictures.

    Args:
        folder: The pictures.
        of: The protocol.
        group: The table.
        row: Its row.
        by_index: The facts of the row's tasks.
    """
    known = [index for index, facts in by_index.items() if facts.get(of.ruler) is not None]
    if not known:  # all were refused
        return None
    ranked = sorted(known, key=lambda index: by_index[index][of.ruler])
    chosen: dict[int, list[str]] = {}
    for place, which in ((0, "best"), (len(ranked) // 2, "median"), (-1, "worst")):
        chosen.setdefault(ranked[place], []).append(which)
    kind, rows = kind_of(of.name, group, row), []
    for index, which in chosen.items():
        facts = by_index[index]
        marks, status = facts.get("marks", {}), facts.get("status", "")
        caption = f"{' and '.join(which)}: task {index + 1}, {of.ruler} {facts[of.ruler]:.2f}"
        tiles: list[Tile] = []
        for name in of.images:
            picture = folder.image(kind, index, name, 3)
            tiles.append(None if picture is None else _drawn(picture, marks.get(name, {})))
        if any(tile is not None for tile in tiles):
            rows.append((f"{caption} {status}", tiles))
    return jpeg(sheet(of.images, rows)) if rows else None


def jpeg(picture: np.ndarray) -> bytes:
    """A picture, uint8 (H, W, 3), as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _drawn(picture: np.ndarray, marks: Mapping[str, Any]) -> np.ndarray:
    """A picture enlarged, with its marks.

    `arrows` are pairs of handle and target, `rings` targets, `points` where the drag says that
    points are, `seen` where the judge sees them, `box` (left, top, right, bottom) what may change.
    """
    height, width = picture.shape[:2]
    drawing = Overlay(height, width, enlargement(height, width, TILE_PX))
    if box := marks.get("box"):
        left, top, right, bottom = box
        allowed = np.zeros((height, width))
        allowed[top:bottom, left:right] = 1
        drawing.shade(allowed)
    for start, end in marks.get("arrows", ()):
        drawing.arrow(start, end)
        drawing.dot(start)
    for target in marks.get("rings", ()):
        drawing.ring(target)
    for point in marks.get("points", ()):
        drawing.dot(point, radius=2.6)
    for x, y in marks.get("seen", ()):
        reach = width / 28
        for dx, dy in ((reach, reach), (reach, -reach)):
            drawing.polyline([(x - dx, y - dy), (x + dx, y + dy)], SEEN, 1.0)
    return drawing.on(picture, "bicubic")


def strips(
    folder: ReportFolder, of: DragProtocol, group: str, specs: Sequence[Any]
) -> dict[str, bytes]:
    """The strips of a table's rows that did something, by row."""
    made = {}
    for row, spec in of.rows(group, specs).items():
        by_index = results_of(folder, of.name, group, row)
        if spec is not None and by_index and (strip := strip_of(folder, of, group, row, by_index)):
            made[row] = strip
    return made
