"""The numbers of the benchmark's report, from its log."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from framework.evaluation.drag.bench import (
    kind_of,
    lines_of,
    methods_of,
    protocols_of,
    tasks_of,
)
from framework.evaluation.drag.lab import Lab
from framework.evaluation.drag.protocol import DragProtocol, Facts
from framework.evaluation.drag.registry import protocol
from framework.evaluation.generator.metrics import kernel_distance
from framework.evaluation.report_folder import ReportFolder

LEAST_FOR_KID = 8
KID = "kid_d"


def report_numbers(
    folder: ReportFolder, lab: Lab, identity: Facts, skipped: Mapping[str, str]
) -> Facts:
    """All numbers; JSON values except for NaN.

    Args:
        folder: The log and its pictures.
        lab: Whoever judges whole rows.
        identity: What does not change within a report.
        skipped: Why methods did not run, by their names.
    """
    specs = methods_of(folder)
    return {
        "identity": identity,
        "sessions": folder.sessions,
        "methods": {spec.text: spec.settings.to_dict() for spec in specs},
        "skipped": dict(skipped),
        "protocols": {
            name: {
                "facts": facts,
                "groups": {
                    group: {
                        "tasks": len(tasks_of(folder, name, group)),
                        "rows": _rows(folder, lab, protocol(name), group, specs),
                    }
                    for group in protocol(name).groups
                },
            }
            for name, facts in protocols_of(folder).items()
        },
    }


def _rows(
    folder: ReportFolder, lab: Lab, of: DragProtocol, group: str, specs: Sequence[Any]
) -> Facts:
    """The numbers of a table by its lines."""
    numbers: Facts = {}
    for line, by_index in lines_of(folder, of.name, group, specs).items():
        facts = list(by_index.values())
        numbers[line] = {
            "count": len(facts),
            **{column.name: column.summary(facts) for column in of.columns},
        }
        if of.pair is not None:
            kind = kind_of(of.name, group, line)
            numbers[line][KID] = _kernel(folder, lab, kind, list(by_index), of.pair)
    return numbers


def _kernel(
    folder: ReportFolder, lab: Lab, kind: str, indices: Sequence[int], pair: tuple[str, str]
) -> Facts | None:
    """The kernel distance of results to starts in the stranger's features; None for too few."""
    if len(indices) < LEAST_FOR_KID:
        return None
    both = []
    for name in pair:
        pictures = [folder.image(kind, index, name, 3) for index in indices]
        stacked = np.stack([picture for picture in pictures if picture is not None])
        both.append(lab.stranger(torch.from_numpy(stacked).permute(0, 3, 1, 2)))
    distance = kernel_distance(*both)
    return {"value": distance.value, "ci95": distance.ci95}
