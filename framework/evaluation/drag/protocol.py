"""What a protocol of the benchmark is: tasks, what is done with one, and the columns of its tables.

A protocol has groups, a table each. A task is JSON: every process makes pictures and latents of it
again, and a stopped benchmark goes on from its log. A file in `protocols/` whose `PROTOCOL` is one
of these is all there is to add.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from framework.evaluation.drag.lab import Lab
from framework.evaluation.drag.specs import MethodSpec

Facts = dict[str, Any]
Line = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Result:
    """What one row's method made of one task.

    Args:
        facts: Its measures, JSON values. "status" is counted in the last column; "marks" says what
            is drawn on its pictures in a strip, see `framework.evaluation.drag.strips`.
        images: Pictures that are kept, uint8 (H, W, 3), by their names in `DragProtocol.images`.
    """

    facts: Facts
    images: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        name: Its key in JSON.
        title: Its title.
        summary: From the facts of a row's tasks to JSON numbers: "mean", "low", "high" and more.
        text: From these numbers to a cell.
        about: What it means, for the page; empty if the title says it.
        part: A table's columns are split by this, in the order of first appearance.
    """

    name: str
    title: str
    summary: Callable[[Sequence[Line]], Facts]
    text: Callable[[Facts], str]
    about: str = ""
    part: str = ""


class DragProtocol(Protocol):
    """A protocol; see the module."""

    name: str
    """What the user calls it."""
    about: str
    """A paragraph for the page: tasks, who judges, what is unusual."""
    groups: Sequence[str]
    """Kinds of tasks, a table each."""
    columns: Sequence[Column]
    """Columns of all its tables."""
    ruler: str
    """The fact, lower is better, by which best, median and worst tasks are chosen."""
    plots: Mapping[str, str]
    """Facts whose values are plotted, a dot for each task, with their titles."""
    images: Sequence[str]
    """Pictures of a result, in the order of a strip."""
    pair: tuple[str, str] | None
    """Images of a result whose kernel distance is measured over a row: before, after."""

    def identity(self, lab: Lab) -> Facts:
        """What must be equal for results to compare; `UserError` if the model does not fit."""
        ...

    def rows(self, group: str, specs: Sequence[MethodSpec]) -> dict[str, MethodSpec | None]:
        """The rows of a table in order: baselines (None) and methods by name."""
        ...

    def tasks(self, lab: Lab, group: str) -> Iterator[Facts]:
        """The tasks of a group as JSON, the same in every run; a larger number begins equally."""
        ...

    def run(self, lab: Lab, group: str, task: Facts, row: str, spec: MethodSpec | None) -> Result:
        """Do a task and measure it."""
        ...

    def lines(self, row: str, facts: Facts) -> dict[str, Facts]:
        """Lines of the table that a result belongs to, by their name; most have one, `row`."""
        ...
