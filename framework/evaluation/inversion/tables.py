"""The numbers of a report from its records: means with intervals, differences, counts, worst."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean, median
from typing import Any

from framework.evaluation.intervals import bootstrap, paired
from framework.evaluation.inversion.baselines import FROM_MEAN, MEAN
from framework.evaluation.inversion.editability import share_below
from framework.evaluation.inversion.measures import HIGHER_IS_BETTER

WORST = 8
LATENTS = ("deviations", "nscd", "latent_error")
COSTS = ("seconds", "work_seconds", "peak_mb", "steps")
Line = dict[str, Any]
Rows = Mapping[int, Mapping[str, Line]]  # by a photograph's number and by method


class Tables:
    """All numbers on a report's pages.

    Args:
        records: Records as in `ReportFolder.records`, in any order.
        columns: Names of the measures.
        stages: Methods of the inversion, first to last.
        ruler: The measure that chooses the worst cases; no stage optimises it.
        usual: Largest usual distance of the model's latents from `w_avg`, in standard deviations.
        seed: Seed of the resampling.
    """

    def __init__(
        self,
        records: Iterable[Line],
        columns: Sequence[str],
        stages: Sequence[str],
        ruler: str,
        usual: float,
        seed: int = 0,
    ) -> None:
        self.columns, self.stages, self.ruler = list(columns), list(stages), ruler
        self.usual, self.seed = usual, seed
        self.by_kind: dict[str, dict[int, Line]] = {}
        for record in sorted(records, key=lambda record: record["index"]):
            self.by_kind.setdefault(record["kind"], {})[record["index"]] = record

    def to_dict(self) -> dict[str, Any]:
        """All tables; JSON values except for NaN and infinity."""
        return {
            "counts": self.counts(),
            "reconstruction": self.summary(self.counted()),
            "reconstruction_embedded": self.summary(self.rows("embedded")),
            "comparisons": self.comparisons(),
            "latents": self.latents(),
            "editability": self.editability(),
            "synthetic": self.summary(self.rows("synthetic"), extra=("latent_error",)),
            "worst_embedded": {"by": f"{self.ruler} of embed", "pictures": self.worst_embedded()},
            "worst": {"by": f"{self.ruler} of {self.stages[-1]}", "pictures": self.worst()},
        }

    def counts(self) -> dict[str, int]:
        """Number of records by kind."""
        return {kind: len(records) for kind, records in sorted(self.by_kind.items())}

    def rows(self, kind: str) -> dict[int, dict[str, Line]]:
        """Rows of one kind, by index and method."""
        records = self.by_kind.get(kind, {})
        return {i: {row["method"]: row for row in r["rows"]} for i, r in records.items()}

    def counted(self) -> dict[int, dict[str, Line]]:
        """Rows of the photographs that went through all methods, with the nearest pictures."""
        nearest = self.rows("nearest")
        return {i: {**nearest.get(i, {}), **rows} for i, rows in self.rows("picture").items()}

    def methods(self, rows: Rows) -> list[str]:
        """Methods in the rows: baselines first, then the stages."""
        names = dict.fromkeys(name for methods in rows.values() for name in methods)
        rivals = [n for n in names if n.startswith(FROM_MEAN)]
        plain = sorted({*names} - {*rivals, *self.stages}, key=lambda n: (n != MEAN, n))
        return plain + rivals + [n for n in self.stages if n in names]

    # --------------------------------------------------------------------------------- each table

    def summary(self, rows: Rows, extra: Sequence[str] = ()) -> dict[str, Line]:
        """Mean of each measure with its interval, and the costs, by method."""
        table = {}
        for method in self.methods(rows):
            lines = _lines_of(rows, method)
            table[method] = {"count": len(lines), **self._means(lines, (*self.columns, *extra))}
            for name in ("seconds", "work_seconds", "steps"):
                table[method][f"{name}_median"] = _of(median, lines, name)
            table[method]["peak_mb_max"] = _of(max, lines, "peak_mb")
        return table

    def comparisons(self) -> list[Line]:
        """Each stage against the one before and against every baseline, picture by picture.

        A search from `w_avg` is compared with the stage whose time it was given.
        """
        rows = self.counted()
        baselines = [n for n in self.methods(rows) if n not in self.stages]
        lines = []
        for number, stage in enumerate(self.stages):
            others = [self.stages[number - 1]] if number else []
            others += [n for n in baselines if n == FROM_MEAN + stage or "@" not in n]
            lines += [self._compared(rows, stage, other) for other in others]
        return [line for line in lines if line["of"]]

    def _compared(self, rows: Rows, method: str, against: str) -> Line:
        pairs = [(m[method], m[against]) for m in rows.values() if {method, against} <= m.keys()]
        line: Line = {"method": method, "against": against, "of": len(pairs)}
        for name in self.columns:
            sign = 1 if name in HIGHER_IS_BETTER else -1
            after, before = [a[name] for a, _ in pairs], [b[name] for _, b in pairs]
            better = sum(sign * (a - b) > 0 for a, b in zip(after, before, strict=True))
            line[name] = {**paired(after, before, self.seed).to_dict(), "better": better}
        return line

    def latents(self) -> dict[str, Line]:
        """Latents' distance from `w_avg` and direction of styles, beside the model's own."""
        own = self.by_kind.get("latents", {}).get(0)
        rows, table = self.rows("picture"), {}
        if own is not None:
            pairs = zip(own["deviations"], own["nscd"], strict=True)
            table["sampled"] = self._places([{"deviations": d, "nscd": n} for d, n in pairs])
        for method in self.stages:
            if lines := _lines_of(rows, method):
                table[method] = self._places(lines)
                if own is not None:
                    deviations = [line["deviations"] for line in lines]
                    table[method]["rank"] = fmean(share_below(deviations, own["deviations"]))
        return table

    def _places(self, lines: Sequence[Line]) -> Line:
        beyond = fmean(line["deviations"] > self.usual for line in lines)
        return {**self._means(lines, LATENTS[:2]), "count": len(lines), "beyond_usual": beyond}

    def editability(self) -> dict[str, Line]:
        """Drags there and back and random edits, of results and of the model's own pictures."""
        edits: dict[str, list[Line]] = {}
        for kind in ("synthetic", "picture"):
            for record in self.by_kind.get(kind, {}).values():
                for line in record.get("edited", []):
                    edits.setdefault(line["method"], []).append(line)
        return {method: self._edited(lines) for method, lines in edits.items()}

    def _edited(self, lines: Sequence[Line]) -> Line:
        whole = [line for line in lines if "failed" not in line]
        table: Line = {"count": len(whole), "failed": len(lines) - len(whole)}
        numbers = ("missed_px", "home_px", "logit", "logit_shift")
        table |= self._means(whole, [n for n in numbers if whole and n in whole[0]])
        for when in ("moved", "returned"):
            table[when] = self._means([line[when] for line in whole], self.columns)
        return table

    def worst(self) -> list[Line]:
        """The photographs whose final result is worst, worst first."""
        return self._worst("picture", self.stages[-1])

    def worst_embedded(self) -> list[Line]:
        """The embedded photographs whose first guess is worst, worst first."""
        return self._worst("embedded", self.stages[0])

    def _worst(self, kind: str, method: str) -> list[Line]:
        sign = 1 if self.ruler in HIGHER_IS_BETTER else -1
        rows = {i: methods[method] for i, methods in self.rows(kind).items()}
        worst = sorted(rows, key=lambda i: sign * rows[i][self.ruler])[:WORST]
        names = {i: record["picture"] for i, record in self.by_kind.get(kind, {}).items()}
        return [
            {"index": i, "picture": names[i], **{n: rows[i][n] for n in self.columns}}
            for i in worst
        ]

    def _means(self, lines: Sequence[Line], names: Iterable[str]) -> Line:
        """Mean of each column's values, with its interval."""
        return {n: bootstrap(_values(lines, n), self.seed).to_dict() for n in names}


def _lines_of(rows: Rows, method: str) -> list[Line]:
    return [methods[method] for methods in rows.values() if method in methods]


def _values(lines: Sequence[Line], name: str) -> list[float]:
    return [line[name] for line in lines if line.get(name) is not None]


def _of(reduce: Callable[[list[float]], float], lines: Sequence[Line], name: str) -> float:
    """Median or maximum of a column's values; NaN if there are none."""
    values = _values(lines, name)
    return reduce(values) if values else math.nan
