"""Numbers and tables as a report prints them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any


def strict(value: Any) -> Any:
    """Replace NaN and infinity by None, as strict JSON needs."""
    if isinstance(value, dict):
        return {key: strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def interval(numbers: Mapping[str, Any]) -> str:
    """A mean with its interval, if it has one."""
    mean, low, high = (number(numbers.get(n)) for n in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})" if low else mean


def number(value: float | None, digits: int = 3) -> str:
    """A number with that many significant digits; empty for None or NaN."""
    if value is None or math.isnan(value):
        return ""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(places, 6)}f}"
