"""The numbers of the benchmark's report, from its log."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from framework.evaluation.drag.bench import (
    kind_of,
    lines_of,
    methods_of,
    models_of,
    protocols_of,
    tasks_of,
)
from framework.evaluation.drag.lab import Lab
from framework.evaluation.drag.protocol import DragProtocol, Facts
from framework.evaluation.drag.registry import protocol
from framework.evaluation.drag.specs import MethodSpec
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
    specs, looks = methods_of(folder), Looks(lab)
    return {
        "identity": identity,
        "sessions": folder.sessions,
        "models": models_of(folder),
        "methods": {spec.text: spec.settings.to_dict() for spec in specs},
        "skipped": dict(skipped),
        "protocols": {
            name: {
                "facts": facts,
                "groups": {
                    group: {
                        "tasks": len(tasks_of(folder, name, group)),
                        "rows": _rows(folder, looks, protocol(name), group, specs),
                    }
                    for group in protocol(name).groups
                },
            }
            for name, facts in protocols_of(folder).items()
        },
    }


class Looks:
    """The stranger's features of pictures, each picture seen once: rows share their starts."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._seen: dict[bytes, Tensor] = {}

    def features(self, pictures: Sequence[np.ndarray]) -> Tensor:
        """Features, (N, num_features), of pictures, uint8 (H, W, 3) each."""
        names = [picture.tobytes() for picture in pictures]
        fresh = {n: p for n, p in zip(names, pictures, strict=True) if n not in self._seen}
        if fresh:
            stacked = torch.from_numpy(np.stack(list(fresh.values()))).permute(0, 3, 1, 2)
            self._seen |= dict(zip(fresh, self._lab.stranger(stacked), strict=True))
        return torch.stack([self._seen[name] for name in names])


def _rows(
    folder: ReportFolder, looks: Looks, of: DragProtocol, group: str, specs: Sequence[MethodSpec]
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
            numbers[line][KID] = _kernel(folder, looks, kind, list(by_index), of.pair)
    return numbers


def _kernel(
    folder: ReportFolder, looks: Looks, kind: str, indices: Sequence[int], pair: tuple[str, str]
) -> Facts | None:
    """The kernel distance of results to starts in the stranger's features; None for too few."""
    if len(indices) < LEAST_FOR_KID:
        return None
    both = []
    for name in pair:
        pictures = [folder.image(kind, index, name, 3) for index in indices]
        both.append(looks.features([picture for picture in pictures if picture is not None]))
    distance = kernel_distance(*both)
    return {"value": distance.value, "ci95": distance.ci95}
