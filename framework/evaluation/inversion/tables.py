"""Records of a report to its numbers: means with intervals, differences, counts, the worst."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median
from typing import Any

from framework.evaluation.intervals import Interval, bootstrap, paired
from framework.evaluation.inversion.baselines import FROM_MEAN, MEAN
from framework.evaluation.inversion.editability import share_below
from framework.evaluation.inversion.measures import HIGHER_IS_BETTER

WORST = 8
LATENTS = ("deviations", "nscd", "latent_error")
COSTS = ("seconds", "work_seconds", "peak_mb", "steps")
Line = dict[str, Any]


class Tables:
    """Everything that a report's pages say in numbers.

    Args:
        records: As `ReportFolder.records` gives them, in any order.
        columns: Names of the measures.
        stages: Methods of the inversion, first to last.
        ruler: The measure that worst cases are chosen by, one that nothing descends on.
        usual: How far from `w_avg` latents of the model's own lie at most, in standard deviations.
        seed: Of the resampling.
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
        for record in records:
            self.by_kind.setdefault(record["kind"], {})[record["index"]] = record

    # ---------------------------------------------------------------------------------- all of it

    def to_dict(self) -> dict[str, Any]:
        """All tables; JSON values but for NaN and infinity."""
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
        """Records by kind."""
        return {kind: len(found) for kind, found in sorted(self.by_kind.items())}

    def rows(self, kind: str) -> dict[int, dict[str, Line]]:
        """Rows of one kind by number and method."""
        found = sorted(self.by_kind.get(kind, {}).items())
        return {index: {row["method"]: row for row in record["rows"]} for index, record in found}

    def counted(self) -> dict[int, dict[str, Line]]:
        """Rows of the photographs that went through everything, nearest pictures among them."""
        nearest = self.rows("nearest")
        return {i: {**nearest.get(i, {}), **rows} for i, rows in self.rows("picture").items()}

    def methods(self, rows: Mapping[int, Mapping[str, Line]]) -> list[str]:
        """Methods that occur: baselines first, then the stages."""
        names = dict.fromkeys(name for methods in rows.values() for name in methods)
        plain = sorted(n for n in names if n not in self.stages and not n.startswith(FROM_MEAN))
        plain = [n for n in plain if n == MEAN] + [n for n in plain if n != MEAN]
        rivals = [n for n in names if n.startswith(FROM_MEAN)]
        return plain + rivals + [n for n in self.stages if n in names]

    # -------------------------------------------------------------------------------- one of them

    def summary(
        self, rows: Mapping[int, Mapping[str, Line]], extra: Sequence[str] = ()
    ) -> dict[str, Line]:
        """By method: each measure's mean with its interval, and what it costs."""
        table = {}
        for method in self.methods(rows):
            lines = [methods[method] for methods in rows.values() if method in methods]
            table[method] = {
                "count": len(lines),
                **{n: self._mean(lines, n).to_dict() for n in (*self.columns, *extra)},
                "seconds_median": _of(median, lines, "seconds"),
                "work_seconds_median": _of(median, lines, "work_seconds"),
                "steps_median": _of(median, lines, "steps"),
                "peak_mb_max": _of(max, lines, "peak_mb"),
            }
        return table

    def comparisons(self) -> list[Line]:
        """Each stage against the one before and against every baseline, picture by picture.

        A search from `w_avg` is compared with the stage whose time it had.
        """
        rows, found = self.counted(), []
        baselines = [n for n in self.methods(rows) if n not in self.stages]
        for number, stage in enumerate(self.stages):
            others = [self.stages[number - 1]] if number else []
            others += [n for n in baselines if n in (FROM_MEAN + stage,) or "@" not in n]
            found += [self._compared(rows, stage, other) for other in others]
        return [line for line in found if line["of"]]

    def _compared(
        self, rows: Mapping[int, Mapping[str, Line]], method: str, against: str
    ) -> dict[str, Any]:
        pairs = [(m[method], m[against]) for m in rows.values() if {method, against} <= m.keys()]
        line: dict[str, Any] = {"method": method, "against": against, "of": len(pairs)}
        for name in self.columns:
            sign = 1 if name in HIGHER_IS_BETTER else -1
            after, before = [a[name] for a, _ in pairs], [b[name] for _, b in pairs]
            better = sum(sign * (a - b) > 0 for a, b in zip(after, before, strict=True))
            line[name] = {**paired(after, before, self.seed).to_dict(), "better": better}
        return line

    def latents(self) -> dict[str, Line]:
        """How far latents lie from `w_avg` and how their styles point, beside the model's own."""
        own = self.by_kind.get("latents", {}).get(0)
        rows, table = self.rows("picture"), {}
        if own is not None:
            table["sampled"] = {n: bootstrap(own[n], self.seed).to_dict() for n in LATENTS[:2]}
            table["sampled"] |= self._far(own["deviations"])
        for method in self.stages:
            lines = [methods[method] for methods in rows.values() if method in methods]
            if not lines:
                continue
            values = [line["deviations"] for line in lines]
            table[method] = {n: self._mean(lines, n).to_dict() for n in LATENTS[:2]}
            table[method] |= self._far(values)
            if own is not None:
                table[method]["rank"] = fmean(share_below(values, own["deviations"]))
        return table

    def _far(self, deviations: Sequence[float]) -> Line:
        beyond = fmean(value > self.usual for value in deviations)
        return {"count": len(deviations), "beyond_usual": beyond}

    def editability(self) -> dict[str, Line]:
        """Drags there and back and random edits, of results and of the model's own pictures."""
        table: dict[str, Line] = {}
        for kind in ("synthetic", "picture"):
            records = self.by_kind.get(kind, {}).values()
            lines = [line for record in records for line in record.get("edited", [])]
            for method in dict.fromkeys(line["method"] for line in lines):
                table[method] = self._edited([e for e in lines if e["method"] == method])
        return table

    def _edited(self, lines: Sequence[Line]) -> Line:
        failed = sum("failed" in line for line in lines)
        lines = [line for line in lines if "failed" not in line]
        told: Line = {"count": len(lines), "failed": failed}
        numbers = ("missed_px", "home_px", "logit", "logit_shift")
        told |= {n: self._mean(lines, n).to_dict() for n in numbers if lines and n in lines[0]}
        for when in ("moved", "returned"):
            measured = [line[when] for line in lines]
            told[when] = {n: self._mean(measured, n).to_dict() for n in self.columns}
        return told

    def worst(self) -> list[Line]:
        """The photographs whose final result is worst, worst first."""
        return self._worst("picture", self.stages[-1])

    def worst_embedded(self) -> list[Line]:
        """The photographs whose first guess is worst, of all that were embedded, worst first."""
        return self._worst("embedded", self.stages[0])

    def _worst(self, kind: str, method: str) -> list[Line]:
        rows, records = self.rows(kind), self.by_kind.get(kind, {})
        sign = 1 if self.ruler in HIGHER_IS_BETTER else -1
        worst = sorted(rows, key=lambda i: sign * rows[i][method][self.ruler])[:WORST]
        return [
            {
                "index": i,
                "picture": records[i]["picture"],
                **{n: rows[i][method][n] for n in self.columns},
            }
            for i in worst
        ]

    def _mean(self, lines: Sequence[Line], name: str) -> Interval:
        return bootstrap([line[name] for line in lines if line.get(name) is not None], self.seed)


def _of(reduce: Any, lines: Sequence[Line], name: str) -> float:
    """Median or maximum of what is known; NaN where nothing is."""
    values = [line[name] for line in lines if line.get(name) is not None]
    return reduce(values) if values else math.nan


def strict(value: Any) -> Any:
    """The same with null for what is no finite number, as strict JSON wants it."""
    if isinstance(value, dict):
        return {key: strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
