"""The benchmark of drags: which tasks, which rows, what is still to do, what the log holds.

Everything that must not change while results are gathered is in the log, so that the same command
goes on where it was stopped, and a larger number or further methods and protocols are added.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import framework.drag
from framework.errors import UserError
from framework.evaluation.drag.lab import Lab
from framework.evaluation.drag.protocol import Facts, Result
from framework.evaluation.drag.registry import protocol
from framework.evaluation.drag.specs import MethodSpec
from framework.evaluation.report_folder import Record, ReportFolder, differences
from framework.files import sha256_file
from framework.models.digest import state_digest

FORM = "dragline-drag-benchmark"
_METHOD, _PROTOCOL, _TASK = "method", "protocol", "task"


@dataclass(frozen=True)
class Unit:
    """One task for one row of a table: what a process does at once."""

    protocol: str
    group: str
    index: int
    row: str
    spec: MethodSpec | None
    task: Facts

    @property
    def kind(self) -> str:
        """Kind of its record."""
        return kind_of(self.protocol, self.group, self.row)

    def run(self, lab: Lab) -> Result:
        """Do it."""
        return protocol(self.protocol).run(lab, self.group, self.task, self.row, self.spec)

    def record(self, result: Result) -> Record:
        """What is saved."""
        return Record(self.kind, self.index, result.facts, result.images)


def kind_of(*names: str) -> str:
    """The kind of records of these names, which is also where their pictures lie."""
    return "".join(f"{re.sub(r'[^a-z0-9.=+-]+', '-', name.lower())}/" for name in names)


def identity(lab: Lab, model: str, psi: float) -> dict[str, Any]:
    """Facts that must not change while results are gathered; JSON values."""
    generator = lab.generator
    height, width = (int(side) for side in generator.img_size)
    return {
        "model": {
            "name": Path(model).name,  # its path is private
            "sha256_of_weights": generator.digest,
            "size": f"{width}x{height}",
            "discriminator": lab.discriminator is not None,
            "sha256_of_editor": None if lab.editor is None else state_digest(lab.editor),
        },
        "psi": psi,
        "first_seed": lab.first_seed,
        "sha256_of_sources": sources_digest(),
    }


def sources_digest() -> str:
    """Digest of the room `drag` and of what measures: what has changed would be something else."""
    drag, here = Path(framework.drag.__path__[0]), Path(__file__).parent
    measuring = [here / f"{name}.py" for name in ("lab", "measures", "put_in", "targets", "trial")]
    digest = hashlib.sha256()
    for path in [*sorted(drag.rglob("*.py")), *measuring]:
        digest.update(f"{path.relative_to(drag.parent)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def note_protocol(folder: ReportFolder, name: str, facts: Facts) -> None:
    """Write a protocol's facts into the log, or compare them with those of its results there."""
    source = sha256_file(Path(__file__).parent / "protocols" / f"{name}.py")
    _agree(folder, kind_of(_PROTOCOL, name), {"name": name, "sha256_of_source": source, **facts})


def note_method(folder: ReportFolder, lab: Lab, spec: MethodSpec) -> None:
    """Write a method's settings into the log, or compare them with those of its results there."""
    facts: Facts = {"text": spec.text, "settings": spec.settings.to_dict()}
    if spec.model:
        facts |= {"model": spec.of, "sha256_of_weights": lab.of(spec.of).generator.digest}
    _agree(folder, kind_of(_METHOD, spec.text), facts)


def note_tasks(
    folder: ReportFolder,
    lab: Lab,
    name: str,
    groups: Sequence[str],
    count: int,
    watch: Callable[[str], None],
) -> None:
    """Write the first `count` tasks of a protocol's groups into the log, after those it has."""
    for group in groups:
        kind = kind_of(_TASK, name, group)
        known = len(tasks_of(folder, name, group))
        watch(f"{name}, {group}: choosing tasks")
        if known >= count:
            continue
        for index, task in enumerate(
            islice(protocol(name).tasks(lab, group), known, count), start=known
        ):
            folder.keep(Record(kind, index, {"task": task}, {}))


def tasks_of(folder: ReportFolder, name: str, group: str) -> list[Facts]:
    """The tasks of a group in the log."""
    kind = kind_of(_TASK, name, group)
    records = sorted(_of_kind(folder, kind), key=lambda record: record["index"])
    return [record["task"] for record in records]


def methods_of(folder: ReportFolder) -> list[MethodSpec]:
    """The methods in the log, first to last."""
    records = [line for line in folder.records if line["kind"].startswith(f"{_METHOD}/")]
    return [MethodSpec.parse(record["text"]) for record in records]


def models_of(folder: ReportFolder) -> dict[str, str]:
    """Digests of the weights of the other models in the log, by their names."""
    records = [line for line in folder.records if line["kind"].startswith(f"{_METHOD}/")]
    return {r["model"]: r["sha256_of_weights"] for r in records if "model" in r}


def protocols_of(folder: ReportFolder) -> dict[str, Facts]:
    """The facts of the protocols in the log, by name."""
    records = [line for line in folder.records if line["kind"].startswith(f"{_PROTOCOL}/")]
    about = ("kind", "index", "name")
    return {r["name"]: {n: v for n, v in r.items() if n not in about} for r in records}


def units(
    folder: ReportFolder,
    groups: Mapping[str, Sequence[str]],
    specs: Sequence[MethodSpec],
    count: int,
) -> Iterator[Unit]:
    """What is still to do of the groups, by protocol: group by group, task by task."""
    done = folder.done
    for name, groups_of_name in groups.items():
        for group in groups_of_name:
            rows = protocol(name).rows(group, specs)
            if len({kind_of(name, group, row) for row in rows}) < len(rows):
                raise UserError(f"{', '.join(rows)}: two of these cannot be told apart", "methods")
            for index, task in enumerate(tasks_of(folder, name, group)[:count]):
                for row, spec in rows.items():
                    unit = Unit(name, group, index, row, spec, task)
                    if (unit.kind, index) not in done:
                        yield unit


def lines_of(
    folder: ReportFolder, name: str, group: str, specs: Sequence[MethodSpec]
) -> dict[str, dict[int, Facts]]:
    """The lines of a table: facts by a task's index, by the line's name, in the order of rows."""
    lines: dict[str, dict[int, Facts]] = {}
    for row in protocol(name).rows(group, specs):
        for index, result in results_of(folder, name, group, row).items():
            for line, facts in protocol(name).lines(row, result).items():
                lines.setdefault(line, {})[index] = facts
    return lines


def results_of(folder: ReportFolder, name: str, group: str, row: str) -> dict[int, Facts]:
    """The results of a row by their task's index."""
    records = _of_kind(folder, kind_of(name, group, row))
    return {r["index"]: r for r in sorted(records, key=lambda record: record["index"])}


def _of_kind(folder: ReportFolder, kind: str) -> list[Facts]:
    return [record for record in folder.records if record["kind"] == kind]


def _agree(folder: ReportFolder, kind: str, facts: Facts) -> None:
    known = _of_kind(folder, kind)
    if not known:
        folder.keep(Record(kind, 0, facts, {}))
        return
    stored = {n: value for n, value in known[0].items() if n not in ("kind", "index")}
    if differing := ", ".join(differences(stored, _plain(facts))):
        where = f"{folder.path}: its {kind.strip('/').replace('/', ' ')}"
        raise UserError(f"{where} has another {differing}; give a new folder", "out")


def _plain(facts: Facts) -> Facts:
    return json.loads(json.dumps(facts))
