"""The sheets of a report: photographs and what every method made of them, row by row."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from framework.evaluation.inversion.baselines import FROM_MEAN, MEAN, NEAREST
from framework.evaluation.inversion.log import ReportFolder
from framework.evaluation.inversion.record import PHOTO
from framework.evaluation.inversion.tables import Tables
from framework.media.draw import INK, PAPER, draw_task, enlarge, enlargement, rgb
from framework.media.images import save_png

GRID_ROWS = 16
_TILE_PX, _GAP_PX, _TEXT_PX = 96, 4, 12
_LINE_PX = _TEXT_PX + 4

Tile = np.ndarray | None
Row = tuple[str, Sequence[Tile]]


def write_sheets(folder: ReportFolder, tables: Tables, channels: int) -> list[str]:
    """Write every sheet for which there are pictures; returns the files' names."""
    counted = tables.counted()
    methods = tables.methods(counted)
    names = [PHOTO, *tables.stages, *(name for name in methods if name not in tables.stages)]
    titles = [title(name) for name in names]
    first = list(counted)[:GRID_ROWS]
    worst = [line["index"] for line in tables.worst()]

    def rows(kind: str, indices: Sequence[int], names: Sequence[str]) -> list[Row]:
        return [
            (_caption(tables, kind, i), [_tile(folder, kind, i, n, channels) for n in names])
            for i in indices
        ]

    sheets = {
        "grid.png": (titles, rows("picture", first, names)),
        "worst.png": (titles, rows("picture", worst, names)),
        "worst_embedded.png": _worst_embedded(folder, tables, channels),
        "edited.png": _edited(folder, tables, channels),
        "synthetic.png": _synthetic(rows, tables),
    }
    written = []
    for name, (heads, lines) in sheets.items():
        if lines:
            save_png(folder.path / name, sheet(heads, lines))
            written.append(name)
    return written


def title(method: str) -> str:
    """A method's name over its column, in lines."""
    if method == MEAN:
        return "baseline:\nw_avg"
    if method.startswith(FROM_MEAN):
        return "baseline:\nsearch in time of\n" + method.removeprefix(FROM_MEAN)
    if method.startswith(NEAREST):
        return "baseline:\nnearest training\npicture, " + method.removeprefix(NEAREST)
    return method.replace("+", "\n+ ")


def sheet(titles: Sequence[str], rows: Sequence[Row]) -> np.ndarray:
    """Rows of pictures under titles, each row under its caption.

    Args:
        titles: Of the columns; may have several lines.
        rows: Caption and uint8 pictures (H, W, 3) of one size; None leaves a place empty.

    Returns:
        uint8 (height, width, 3).
    """
    tile = next(t for _, tiles in rows for t in tiles if t is not None)
    height, width = tile.shape[:2]
    font = ImageFont.load_default(_TEXT_PX)
    head_px = _LINE_PX * max(text.count("\n") + 1 for text in titles) + _GAP_PX
    row_px = _LINE_PX + height + 2 * _GAP_PX
    width_px = _GAP_PX + len(titles) * (width + _GAP_PX)
    paper = Image.new("RGB", (width_px, head_px + len(rows) * row_px), PAPER)
    draw = ImageDraw.Draw(paper)
    for column, text in enumerate(titles):
        left = _GAP_PX + column * (width + _GAP_PX)
        lines = [shortened(line, font, width) for line in text.split("\n")]
        draw.multiline_text((left, _GAP_PX), "\n".join(lines), font=font, fill=INK, spacing=2)
        for number, (_, tiles) in enumerate(rows):
            shown = tiles[column]
            if shown is not None:
                top = head_px + number * row_px + _LINE_PX
                paper.paste(Image.fromarray(shown), (left, top))
    for number, (caption, _) in enumerate(rows):
        caption = shortened(caption, font, width_px - 2 * _GAP_PX)
        draw.text((_GAP_PX, head_px + number * row_px), caption, font=font, fill=INK)
    return np.asarray(paper)


def shortened(text: str, font: Any, width_px: int) -> str:
    """The text, its beginning left out where it is wider: ends of names tell them apart."""
    kept = text
    while kept and font.getlength(kept if kept == text else f"…{kept}") > width_px:
        kept = kept[1:]
    return kept if kept == text else f"…{kept}"


# ---------------------------------------------------------------------------------- single sheets


def _synthetic(rows: Any, tables: Tables) -> tuple[list[str], list[Row]]:
    found = tables.rows("synthetic")
    titles = [PHOTO, *(n for n in tables.methods(found) if n != MEAN)]
    return [title(name) for name in titles], rows("synthetic", list(found), titles)


def _worst_embedded(
    folder: ReportFolder, tables: Tables, channels: int
) -> tuple[list[str], list[Row]]:
    """The worst first guesses among all that were embedded, worst at the left."""
    worst = [line["index"] for line in tables.worst_embedded()]
    titles = [_caption(tables, "embedded", i, "embed").replace("   ", "\n") for i in worst]
    rows: list[Row] = [
        (name, [_tile(folder, "embedded", i, name, channels) for i in worst])
        for name in (PHOTO, "embed")
    ]
    return titles, rows if worst else []


def _edited(folder: ReportFolder, tables: Tables, channels: int) -> tuple[list[str], list[Row]]:
    """Of every stage, the result with what is pulled, after the drag, and after the way back."""
    records = tables.by_kind.get("picture", {})
    found = {i: record["edited"] for i, record in sorted(records.items()) if "edited" in record}
    titles = [PHOTO]
    for stage in tables.stages:
        titles += [title(stage), "dragged", "and back"]
    lines: list[Row] = []
    for i, edits in found.items():
        tiles = [_tile(folder, "picture", i, PHOTO, channels)]
        for edit in edits:
            tiles += _ways(folder, i, edit, channels)
        lines.append((records[i]["picture"], tiles))
    return titles, lines


def _ways(
    folder: ReportFolder, index: int, edit: Mapping[str, Any], channels: int
) -> list[np.ndarray | None]:
    start = folder.image("picture", index, edit["method"], channels)
    assert start is not None
    factor = enlargement(start.shape[0], start.shape[1], _TILE_PX)
    asked = draw_task(rgb(start), edit["handles"], edit["targets"], factor=factor)
    names = [f"{edit['method']} {when}" for when in ("there", "back")]
    return [asked, *(_tile(folder, "picture", index, name, channels) for name in names)]


def _tile(
    folder: ReportFolder, kind: str, index: int, name: str, channels: int
) -> np.ndarray | None:
    kind = "nearest" if name.startswith(NEAREST) else kind
    image = folder.image(kind, index, name, channels)
    if image is None:
        return None
    factor = enlargement(image.shape[0], image.shape[1], _TILE_PX)
    return enlarge(rgb(image), factor, "bicubic")


def _caption(tables: Tables, kind: str, index: int, method: str | None = None) -> str:
    """A picture's name and its number by the measure that worst ones are chosen by."""
    row = tables.rows(kind)[index][method or tables.stages[-1]]
    name = tables.by_kind[kind][index]["picture"]
    return f"{name}   {tables.ruler} {row[tables.ruler]:.4f}"
