"""Columns of the benchmark's tables: means, medians, shares and counts, each with its interval."""

from collections import Counter
from collections.abc import Callable, Sequence
from statistics import fmean, median
from typing import Any

from framework.evaluation.drag.protocol import Column, Line
from framework.evaluation.intervals import bootstrap, wilson

RESULT, COST = "result", "cost"


def values(lines: Sequence[Line], name: str) -> list[float]:
    """The values of a fact where it is known."""
    return [float(line[name]) for line in lines if line.get(name) is not None]


def mean(name: str, title: str, form: str = ".2f", about: str = "", part: str = RESULT) -> Column:
    """The mean of a fact, with its 95 % interval."""

    def summary(lines: Sequence[Line]) -> dict[str, Any]:
        return bootstrap(values(lines, name)).to_dict()

    def text(numbers: dict[str, Any]) -> str:
        if numbers["count"] == 0:
            return ""
        low_high = f" ({numbers['low']:{form}} to {numbers['high']:{form}})"
        is_wide = numbers["count"] > 1 and numbers["low"] < numbers["high"]
        return f"{numbers['mean']:{form}}{low_high if is_wide else ''}"

    return Column(name, title, summary, text, about, part)


def middle(name: str, title: str, form: str = ".2f", about: str = "", part: str = RESULT) -> Column:
    """The median of a fact."""

    def summary(lines: Sequence[Line]) -> dict[str, Any]:
        known = values(lines, name)
        return {"median": median(known) if known else None, "count": len(known)}

    def text(numbers: dict[str, Any]) -> str:
        return "" if numbers["median"] is None else f"{numbers['median']:{form}}"

    return Column(f"{name}_median", title, summary, text, about, part)


def count(
    name: str,
    title: str,
    holds: Callable[[Line], Any],
    among: Callable[[Line], Any] = lambda line: True,
    about: str = "",
    part: str = RESULT,
) -> Column:
    """How many of a row's tasks are so, among those that count, with the interval of the share."""

    def summary(lines: Sequence[Line]) -> dict[str, Any]:
        chosen = [line for line in lines if among(line)]
        return wilson(sum(bool(holds(line)) for line in chosen), len(chosen))

    def text(numbers: dict[str, Any]) -> str:
        return f"{numbers['count']} of {numbers['of']}" if numbers["of"] else ""

    return Column(name, title, summary, text, about, part)


def both_ways(title: str, about: str = "") -> Column:
    """Mean forward and backward passes."""

    def summary(lines: Sequence[Line]) -> dict[str, Any]:
        ways = [values(lines, name) for name in ("forward", "backward", "critic_passes")]
        names = ("forward", "backward", "critic")
        return {n: fmean(way) if way else None for n, way in zip(names, ways, strict=True)}

    def text(numbers: dict[str, Any]) -> str:
        if numbers["forward"] is None:
            return ""
        return f"{numbers['forward']:.1f} / {numbers['backward']:.1f}"

    return Column("passes", title, summary, text, about, COST)


def ends(title: str) -> Column:
    """How the drags ended, most frequent first."""

    def summary(lines: Sequence[Line]) -> dict[str, Any]:
        return dict(Counter(line["status"] for line in lines if "status" in line).most_common())

    def text(numbers: dict[str, Any]) -> str:
        return ", ".join(f"{number} {status}" for status, number in numbers.items())

    return Column("ended", title, summary, text, "", COST)
