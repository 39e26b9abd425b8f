"""Which room may import which, and what no file of the package may do.

Rooms are the folders of `framework/` and its root modules. Imports inside functions count, too:
they are arrows all the same.
"""

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "framework"

# room -> the rooms it may import. Every room may import those of `EVERYWHERE`, too.
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "files": set(),
    "machine": set(),
    "threads": set(),
    "settings": set(),
    "settings_file": set(),
    "fields": set(),
    "tensor_files": set(),
    "dashboard": set(),
    "command_line": {"fields"},
    "ops": set(),
    "zoo": set(),
    "media": set(),
    "compositing": {"media", "ops"},
    "data": {"media", "compositing", "command_line", "fields"},
    "models": {"ops"},
    "formats": {"ops", "models", "zoo"},
    "control": {"models"},
    "style": {"models", "compositing", "media"},
    "inversion": {"models", "compositing", "media"},
    "drag": {"models", "compositing"},
    "training": {
        "ops", "models", "control", "formats", "data", "media", "inversion", "dashboard",
    },
    "evaluation": {
        "ops", "models", "control", "training", "formats", "data", "inversion", "drag", "media",
        "compositing", "command_line", "threads",
    },
    "jobs": {
        "ops", "models", "control", "training", "formats", "data", "inversion", "drag",
        "evaluation", "media", "compositing", "style", "dashboard", "command_line", "threads",
        "settings_file", "fields",
    },
    "studio": {
        "jobs", "control", "drag", "inversion", "formats", "media", "command_line", "fields",
    },
    "cli": {
        "jobs", "studio", "training", "command_line", "threads", "settings_file", "fields",
        "ops", "models", "formats", "data", "evaluation", "dashboard",  # of train.py
    },
}  # fmt: skip
EVERYWHERE = {"errors", "files", "settings", "tensor_files", "machine"}
MOST_IN_FUNCTIONS = 49
MOST_FOR_TYPES = 5
MOST_LINES_OF_CLI = 2400
TRAINS = {"training", "cli"}
TRAINERS = {"lightning", "pytorch_lightning", "wandb"}
# The package's own front door hands out names of every room; nothing may be learned from it.
FRONT_DOOR = "framework"
FLAG = re.compile(r"(?<![\w-])--[a-z][\w.-]*")
OF_TRAIN = {
    f"framework.cli.{name}"
    for name in ("train", "train_parser", "train_complaints", "train_metrics", "start", "late")
}
# Reading is torch's, with weights_only; its complaints are pickle's.
PICKLE_ERRORS = {"PickleError", "UnpicklingError"}


def module_name(path: Path) -> str:
    """Dotted name of a file of the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """The second part of a dotted name; the front door itself has none."""
    return module.split(".")[1] if "." in module else FRONT_DOOR


SOURCES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in SOURCES.items()}


def imports(name: str, tree: ast.AST) -> Iterator[str]:
    """Every dotted name that a module imports, relative imports resolved."""
    is_package = name in SOURCES and SOURCES[name].name == "__init__.py"
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = name.split(".")
                stem = parts[: len(parts) - node.level + is_package]
                base = ".".join([*stem, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield inner if inner in SOURCES else base


def may_import(name: str) -> set[str]:
    """The rooms that a module may import, its own included."""
    room = room_of(name)
    return ROOMS[room] | EVERYWHERE | {room}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call with the text of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def taken_from(module: str, tree: ast.AST) -> set[str]:
    """What is used of a module, as `module.name` or imported from it; "*" for another name."""
    taken = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == module:
            taken.add(node.attr)
        elif isinstance(node, ast.ImportFrom) and node.module == module:
            taken |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            taken |= {"*" for alias in node.names if alias.name == module and alias.asname}
    return taken


def is_true(call: ast.Call, keyword: str) -> bool:
    """Whether a call passes `keyword=True`, literally."""
    return any(
        k.arg == keyword and isinstance(k.value, ast.Constant) and k.value.value is True
        for k in call.keywords
    )


MODULES = [name for name in SOURCES if name != FRONT_DOOR]


def test_every_room_has_a_rule():
    assert {room_of(name) for name in MODULES} <= set(ROOMS)


def within(*rooms: str) -> list[str]:
    """The modules of some rooms."""
    return [name for name in MODULES if room_of(name) in rooms]


def test_imports_stay_within_the_room_rules():
    ours = {n: {i for i in imports(n, TREES[n]) if i.split(".")[0] == FRONT_DOOR} for n in MODULES}
    assert not [n for n in MODULES if FRONT_DOOR in ours[n]], "name the room, not the front door"
    foreign = {n: {i for i in ours[n] if room_of(i) not in may_import(n)} for n in MODULES}
    assert not {name: found for name, found in foreign.items() if found}


def libraries(name: str) -> set[str]:
    """The packages that a module imports."""
    return {i.split(".")[0] for i in imports(name, TREES[name])}


def test_only_training_knows_lightning_and_wandb():
    used = {n: libraries(n) & TRAINERS for n in MODULES if room_of(n) not in TRAINS}
    used["framework.dashboard"] -= {"wandb"}
    assert not {name: found for name, found in used.items() if found}


def test_ops_stand_on_torch_alone():
    allowed = {"torch", "framework", *sys.stdlib_module_names}
    assert not {
        name: libraries(name) - allowed for name in within("ops") if libraries(name) - allowed
    }


def test_only_command_lines_and_training_open_the_dashboard():
    users = {room_of(n) for n in MODULES if "framework.dashboard" in imports(n, TREES[n])}
    assert users <= {"cli", "training", "jobs"}


def speaks_to_a_terminal(tree: ast.AST) -> list[str]:
    """What a module prints, and the flags that its texts name."""
    faults = [f"line {call.lineno}: print" for called, call in calls(tree) if called == "print"]
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            faults += [f"line {node.lineno}: {flag}" for flag in FLAG.findall(node.value)]
    return faults


def test_jobs_neither_print_nor_name_flags():
    said = {name: speaks_to_a_terminal(TREES[name]) for name in within("jobs")}
    assert not {name: faults for name, faults in said.items() if faults}


@pytest.mark.parametrize("source", ["print(1)", 'UserError("--psi 2: no")', '"""See --help."""'])
def test_the_reader_of_what_is_said_sees_every_kind(source: str):
    assert speaks_to_a_terminal(ast.parse(source))


def test_the_rules_themselves_point_downwards():
    tuple(graphlib.TopologicalSorter(ROOMS).static_order())


def test_no_two_modules_need_each_other():
    graph = {
        name: {i for i in imports(name, TREES[name]) if i in SOURCES and i != name}
        for name in MODULES
    }
    tuple(graphlib.TopologicalSorter(graph).static_order())  # CycleError names the cycle


def folder_of(module: str) -> str:
    """The package that a module lies in: rooms, and the rooms within them."""
    return module if SOURCES[module].name == "__init__.py" else module.rpartition(".")[0]


def folders(arrows: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    """Which package needs which, of arrows between modules."""
    graph: dict[str, set[str]] = {}
    for name, needed in arrows.items():
        graph.setdefault(folder_of(name), set()).update(map(folder_of, needed))
    return {folder: needed - {folder} for folder, needed in graph.items()}


def test_no_two_rooms_need_each_other():
    graph = folders({n: {i for i in imports(n, TREES[n]) if i in SOURCES} for n in MODULES})
    tuple(graphlib.TopologicalSorter(graph).static_order())


def test_a_circle_between_rooms_is_seen():
    arrows = {"framework.media.draw": ["framework.files"], "framework.files": []}
    assert folders(arrows) == {"framework.media": {"framework"}, "framework": set()}
    arrows["framework.files"] = ["framework.media.images"]
    with pytest.raises(graphlib.CycleError):
        tuple(graphlib.TopologicalSorter(folders(arrows)).static_order())


def in_functions(tree: ast.AST) -> int:
    """How many imports stand inside functions."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    inside = [n for f in ast.walk(tree) if isinstance(f, functions) for n in ast.walk(f)]
    return len({id(node) for node in inside if isinstance(node, (ast.Import, ast.ImportFrom))})


def for_types_only(tree: ast.AST) -> int:
    """How many blocks are there for the type checker alone."""
    return sum(
        isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for node in ast.walk(tree)
    )


def posing_modules(tree: ast.AST) -> list[str]:
    """Classes that make a module something else, such as a function."""
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return [c.name for c in classes if any("ModuleType" in ast.unparse(b) for b in c.bases)]


def test_imports_stand_at_the_top():
    assert sum(map(in_functions, TREES.values())) < MOST_IN_FUNCTIONS


def test_a_verb_knows_its_job_and_nothing_below():
    known = {"cli", "jobs", "studio", "command_line", "threads"} | EVERYWHERE
    verbs = {n: imports(n, TREES[n]) for n in within("cli") if n not in OF_TRAIN}
    below = [(n, i) for n, named in verbs.items() for i in named if i.startswith("framework.")]
    assert not [(n, i) for n, i in below if room_of(i) not in known]


def test_of_an_edit_only_the_job_is_put_off_until_it_is_chosen():
    edits = [n for n in MODULES if room_of(n) in ("cli", "jobs") and n not in OF_TRAIN]
    assert sum(in_functions(TREES[n]) for n in edits) <= 23
    assert not sum(for_types_only(TREES[n]) for n in edits)


def test_types_are_imported_like_everything_else():
    assert sum(map(for_types_only, TREES.values())) < MOST_FOR_TYPES


def test_a_module_is_a_module():
    assert not [name for tree in TREES.values() for name in posing_modules(tree)]


def test_the_command_line_is_thin():
    lines = sum(
        len(SOURCES[n].read_text("utf-8").splitlines()) for n in MODULES if "cli" in n.split(".")
    )
    assert lines <= MOST_LINES_OF_CLI


SINS = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import torch
def draw():
    import numpy
    def inner():
        from math import pi
class Callable(ModuleType): ...
"""


def test_what_is_counted_is_seen():
    tree = ast.parse(SINS)
    assert (in_functions(tree), for_types_only(tree)) == (2, 1)
    assert posing_modules(tree) == ["Callable"]


def test_nothing_that_is_read_can_run():
    found = {name: runs_what_it_reads(name) for name in SOURCES}
    assert not {name: faults for name, faults in found.items() if faults}


def runs_what_it_reads(name: str) -> list[str]:
    """Calls and imports of a module that could run what a file holds."""
    faults = []
    for called, call in calls(TREES[name]):
        if (
            called in {"eval", "exec", "os.system", "yaml.load", "yaml.unsafe_load"}
            or called.endswith("load_from_checkpoint")
            or (called == "torch.load" and not is_true(call, "weights_only"))
            or is_true(call, "allow_pickle")
            or is_true(call, "shell")
        ):
            faults.append(f"line {call.lineno}: {called}")
    unsafe = {"_pickle", "dill", "joblib", "marshal", "shelve"}
    faults += sorted(unsafe & libraries(name))
    return faults + sorted(taken_from("pickle", TREES[name]) - PICKLE_ERRORS)


def test_a_script_that_only_edits_loads_neither_trainer_nor_compiler():
    slow = TRAINERS | {"torch._dynamo", "sympy"}
    code = (
        "import sys; from framework import DragSession, drag_points, load_generator\n"
        f"load_generator('vehicles64'); print(sorted({slow!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


BAD_IMPORTS = {
    "import pickle": "pickle",
    "from ..models import generator": "framework.models",
    "def f():\n    from framework.cli import run": "framework.cli",
    "from . import motion": "framework.drag",
}


@pytest.mark.parametrize("source", BAD_IMPORTS)
def test_the_reader_of_imports_sees_every_kind(source: str):
    found = {i for i in imports("framework.drag.settings", ast.parse(source))}
    assert any(i.startswith(BAD_IMPORTS[source]) for i in found), found


@pytest.mark.parametrize(
    "source", ["import pickle\npickle.loads(b)", "from pickle import load", "import pickle as p"]
)
def test_the_reader_of_pickle_sees_every_kind(source: str):
    assert taken_from("pickle", ast.parse(source)) - PICKLE_ERRORS
