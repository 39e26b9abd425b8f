"""The sheets of a report: photographs and the results of every method, row by row."""

from collections.abc import Iterable, Sequence
from typing import Any

from framework.evaluation.inversion.baselines import FROM_MEAN, MEAN, NEAREST
from framework.evaluation.inversion.record import PHOTO
from framework.evaluation.inversion.tables import Tables
from framework.evaluation.report_folder import ReportFolder
from framework.evaluation.sheet import Row, Tile, sheet
from framework.media.draw import draw_task, enlarge, enlargement, rgb
from framework.media.images import save_png

GRID_ROWS = 16
_TILE_PX = 96
Parts = tuple[list[str], list[Row]]


def write_sheets(folder: ReportFolder, tables: Tables, channels: int) -> list[str]:
    """Write every sheet for which there are pictures; return the files' names."""
    draw = _Sheets(folder, tables, channels)
    counted = tables.counted()
    names = [PHOTO, *tables.stages]
    names += [name for name in tables.methods(counted) if name not in tables.stages]
    synthetic = tables.rows("synthetic")
    inverted = [PHOTO, *(n for n in tables.methods(synthetic) if n != MEAN)]
    sheets = {
        "grid.png": draw.methods("picture", list(counted)[:GRID_ROWS], names),
        "worst.png": draw.methods("picture", [line["index"] for line in tables.worst()], names),
        "worst_embedded.png": draw.worst_embedded(),
        "edited.png": draw.edited(),
        "synthetic.png": draw.methods("synthetic", synthetic, inverted),
    }
    not_empty = {name: parts for name, parts in sheets.items() if parts[1]}
    for name, (titles, rows) in not_empty.items():
        save_png(folder.path / name, sheet(titles, rows))
    return list(not_empty)


def title(method: str) -> str:
    """A method's title over its column, in one or more lines."""
    if method == MEAN:
        return "baseline:\nw_avg"
    if method.startswith(FROM_MEAN):
        return "baseline:\nsearch in time of\n" + method.removeprefix(FROM_MEAN)
    if method.startswith(NEAREST):
        return "baseline:\nnearest training\npicture, " + method.removeprefix(NEAREST)
    return method.replace("+", "\n+ ")


class _Sheets:
    """Titles and rows of a report's sheets."""

    def __init__(self, folder: ReportFolder, tables: Tables, channels: int) -> None:
        self.folder, self.tables, self.channels = folder, tables, channels

    def methods(self, kind: str, indices: Iterable[int], names: Sequence[str]) -> Parts:
        """A row for each photograph, a column for each method."""
        last = self.tables.stages[-1]
        return [title(name) for name in names], [
            (self._caption(kind, i, last), [self._tile(kind, i, name) for name in names])
            for i in indices
        ]

    def worst_embedded(self) -> Parts:
        """The worst first guesses of all embedded photographs, worst at the left."""
        worst = [line["index"] for line in self.tables.worst_embedded()]
        titles = [self._caption("embedded", i, "embed").replace("   ", "\n") for i in worst]
        names = (PHOTO, "embed") if worst else ()
        return titles, [(name, [self._tile("embedded", i, name) for i in worst]) for name in names]

    def edited(self) -> Parts:
        """The result of every stage with its arrows, after the drag, and after the drag back."""
        titles, rows = [PHOTO], []
        for stage in self.tables.stages:
            titles += [title(stage), "dragged", "and back"]
        for i, record in self.tables.by_kind.get("picture", {}).items():
            if "edited" in record:
                ways = [tile for edit in record["edited"] for tile in self._ways(i, edit)]
                rows.append((record["picture"], [self._tile("picture", i, PHOTO), *ways]))
        return titles, rows

    def _ways(self, index: int, edit: dict[str, Any]) -> list[Tile]:
        method = edit["method"]
        if "failed" in edit:
            return [self._tile("picture", index, method), None, None]
        start = self.folder.image("picture", index, method, self.channels)
        assert start is not None
        factor = enlargement(start.shape[0], start.shape[1], _TILE_PX)
        task = draw_task(rgb(start), edit["handles"], edit["targets"], factor=factor)
        return [task, *(self._tile("picture", index, f"{method} {w}") for w in ("there", "back"))]

    def _tile(self, kind: str, index: int, name: str) -> Tile:
        kind = "nearest" if name.startswith(NEAREST) else kind
        image = self.folder.image(kind, index, name, self.channels)
        if image is None:
            return None
        factor = enlargement(image.shape[0], image.shape[1], _TILE_PX)
        return enlarge(rgb(image), factor, "bicubic")

    def _caption(self, kind: str, index: int, method: str) -> str:
        """A picture's name and its number by the measure that chooses the worst."""
        record, ruler = self.tables.by_kind[kind][index], self.tables.ruler
        number = next(row[ruler] for row in record["rows"] if row["method"] == method)
        return f"{record['picture']}   {ruler} {number:.4f}"
