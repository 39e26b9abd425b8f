"""Plots as SVG: every task of every row a dot, so that a mean hides nothing."""

from collections.abc import Mapping, Sequence
from html import escape
from statistics import fmean

WIDTH_PX, ROW_PX, LABEL_PX, HEAD_PX, FOOT_PX = 760, 26, 230, 26, 34
_DOT_PX, _TICKS = 3.6, 5
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:currentColor}"
    ".axis{stroke:currentColor;stroke-opacity:.25}.mark{stroke:currentColor;stroke-dasharray:3 3;"
    "stroke-opacity:.55}.dot{fill:#2c7be5;fill-opacity:.45}.mean{stroke:#e63946;stroke-width:2.5}"
)


def dot_plot(title: str, rows: Mapping[str, Sequence[float]], marks: Sequence[float] = ()) -> str:
    """A dot for each value of each row, a tick at its mean.

    Args:
        title: What is on the axis.
        rows: Values by the row's name.
        marks: Places of dashed lines.
    """
    values = [value for row in rows.values() for value in row]
    low, high = min([0.0, *values]), max([*values, *marks, 1e-9])
    span = (high - low) * 1.03
    height = HEAD_PX + ROW_PX * len(rows) + FOOT_PX
    bottom = height - FOOT_PX

    def x_of(value: float) -> float:
        return LABEL_PX + (WIDTH_PX - LABEL_PX - 16) * (value - low) / span

    parts = [f'<text x="{LABEL_PX}" y="16">{escape(title)}</text>']
    for tick in _ticks(low, low + span):
        x = x_of(tick)
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{HEAD_PX}" y2="{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{tick:g}</text>')
    for mark in marks:
        x = x_of(mark)
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{HEAD_PX}" y2="{bottom}"/>')
    for number, (name, row) in enumerate(rows.items()):
        y = HEAD_PX + ROW_PX * (number + 0.5)
        shown = name if len(name) <= 34 else f"{name[:33]}…"
        parts.append(
            f'<text x="{LABEL_PX - 10}" y="{y + 4:.1f}" text-anchor="end">{escape(shown)}</text>'
        )
        for place, value in enumerate(row):
            dy = (place % 5 - 2) * 2.2  # a little apart, so that equal values are seen
            parts.append(
                f'<circle class="dot" cx="{x_of(value):.1f}" cy="{y + dy:.1f}" r="{_DOT_PX}"/>'
            )
        if row:
            x = x_of(fmean(row))
            parts.append(
                f'<line class="mean" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 9:.1f}" y2="{y + 9:.1f}"/>'
            )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH_PX} {height}" '
        f'width="{WIDTH_PX}" height="{height}" role="img"><style>{_STYLE}</style>'
        f"{''.join(parts)}</svg>"
    )


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers between two."""
    rough = (high - low) / _TICKS
    power = 10.0 ** float(f"{rough:e}".partition("e")[2])
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough)
    first = int(-(-low // step))
    return [round(n * step, 12) for n in range(first, int(high // step) + 1)]
