"""The project around the code: set-up, versions, documents that keep their word."""

import ast
import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import framework

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


def relative(path: Path) -> str:
    """Path as it is written in the repository; the name of a parametrised test."""
    return str(path.relative_to(ROOT))


# --- what is installed ---------------------------------------------------------------------------

RUNTIME = {r.name: r for r in map(Requirement, PYPROJECT["project"]["dependencies"])}
EXTRAS = {
    extra: {r.name for r in map(Requirement, requirements)}
    for extra, requirements in PYPROJECT["project"]["optional-dependencies"].items()
}
DEVELOPMENT = EXTRAS.pop("dev")
OPTIONAL = set().union(*EXTRAS.values())
# A room that is imported as a whole when it is chosen; see `framework.cli.studio`.
ROOMS_OF_EXTRAS = {"studio": EXTRAS["studio"]}
# Where the name that is imported is not the name that is installed.
INSTALLED_AS = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "docstring_parser": "docstring-parser",
    "imageio_ffmpeg": "imageio-ffmpeg",
    "pillow_heif": "pillow-heif",
    "yaml": "pyyaml",
}


@pytest.mark.parametrize(
    ("name", "refused", "accepted"),
    [
        ("torch", ["2.5.1", "2.9.1"], "2.10.0"),
        ("lightning", ["2.6.2", "2.6.3", "2.6.5", "2.7.0"], "2.6.6"),
        ("pillow", ["12.2.0"], "12.3.0"),
    ],
)
def test_versions_with_known_holes_are_refused(name: str, refused: list[str], accepted: str):
    assert accepted in RUNTIME[name].specifier
    assert not [version for version in refused if version in RUNTIME[name].specifier]


# Modules of the programs that open what we export; nothing of ours needs them.
HOSTS = {"torch_utils"}


def distributions(nodes: Iterable[ast.AST]) -> set[str]:
    """Distributions, and other packages, that are imported by these nodes."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return {INSTALLED_AS.get(name, name) for name in names}


def third_party(paths: list[Path]) -> set[str]:
    """Distributions that these files import."""
    trees = [ast.parse(path.read_text("utf-8")) for path in paths]
    names = set().union(*(distributions(ast.walk(tree)) for tree in trees))
    ours = {p.stem for p in ROOT.glob("*.py")} | {"framework", "tests", "benchmarks", "examples"}
    ours |= {p.stem for path in paths for p in path.parent.glob("*.py")}
    ours |= {p.name for p in (ROOT / "tests").iterdir()}
    return names - set(sys.stdlib_module_names) - ours - HOSTS


def sources(*folders: str) -> list[Path]:
    """Python files of some folders of the repository."""
    return [path for folder in folders for path in (ROOT / folder).rglob("*.py")]


def test_whatever_is_imported_is_declared():
    program = [*sources("framework", "examples"), *ROOT.glob("*.py")]
    assert third_party(program) <= set(RUNTIME) | OPTIONAL
    assert third_party(sources("tests", "benchmarks")) <= set(RUNTIME) | OPTIONAL | DEVELOPMENT


def test_extras_are_imported_where_they_are_used():
    early = []
    for path in sources("framework"):
        room = path.relative_to(ROOT / "framework").parts[0]
        late = OPTIONAL - set(RUNTIME) - ROOMS_OF_EXTRAS.get(room, set())
        body = ast.parse(path.read_text("utf-8")).body
        early += [(relative(path), name) for name in sorted(late & distributions(body))]
    assert not early


@pytest.mark.parametrize("target", PYPROJECT["project"]["scripts"].values())
def test_console_scripts_lead_somewhere(target: str):
    module, function = target.split(":")
    spec = importlib.util.find_spec(module)
    assert spec and spec.origin, f"{module} does not exist"
    tree = ast.parse(Path(spec.origin).read_text("utf-8"))
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == framework.__version__
    assert f"\n## [{framework.__version__}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")


# --- make and CI, with a Python that only writes down what it was asked --------------------------

FAKE_PYTHON = """#!/usr/bin/env bash
echo "$*" >> "$FAKE_LOG"
case "$1 $2" in
    "-m venv") mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
    "-m pip") echo "Collecting torch"; echo "  Downloading torch-9.whl (1 MB)"; exit "${FAKE_PIP:-0}" ;;
    -c*torchvision*) [ -z "${FAKE_CLASH:-}" ] || { echo "error: they clash" >&2; exit 2; } ;;
    "-m pytest") exit "${FAKE_TESTS:-0}" ;;
esac
"""  # noqa: E501


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The files that make needs, and a fake `python` to make the environment with."""
    for name in ("Makefile", "pyproject.toml", ".ci/run"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    (tmp_path / "python").write_text(FAKE_PYTHON)
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def call(clone: Path, *command: str, **environment: str) -> tuple[int, str, list[str]]:
    """Run a command in the clone; returns its code, its output and what Python was asked to do."""
    log = clone / "log"
    log.write_text("")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "VENV"))}
    own = {"PYTHON": str(clone / "python"), "FAKE_LOG": str(log), **environment}
    done = subprocess.run(
        command, cwd=clone, env=inherited | own, stdin=subprocess.DEVNULL, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=200,
    )  # fmt: skip
    questions = ("-c", "--version")
    asked = [line for line in log.read_text().splitlines() if not line.startswith(questions)]
    return done.returncode, done.stdout, asked


def test_make_demo_sets_up_once_and_runs_the_demo(clone: Path):
    code, output, asked = call(clone, "make", "demo")
    assert code == 0, output
    assert [line.split()[0:2] for line in asked[:2]] == [["-m", "venv"], ["-m", "pip"]]
    assert asked[-1] == "edit.py demo"
    assert "torch-9.whl (1 MB)" in output and "Collecting" not in output

    assert call(clone, "make", "demo")[2] == ["edit.py demo"]


def test_make_test_adds_the_tools_and_then_the_demo_needs_nothing(clone: Path):
    _, _, asked = call(clone, "make", "test")
    assert asked[1].endswith("--editable .[dev]")
    assert asked[-1].startswith("-m pytest")
    assert call(clone, "make", "demo")[2] == ["edit.py demo"]


def test_a_changed_pyproject_installs_again(clone: Path):
    call(clone, "make", "demo")
    stamp = (clone / ".venv/.installed").stat().st_mtime
    os.utime(clone / "pyproject.toml", (stamp + 5, stamp + 5))
    assert any("-m pip" in line for line in call(clone, "make", "demo")[2])


def test_an_installation_that_fails_is_tried_again(clone: Path):
    code, _, asked = call(clone, "make", "demo", FAKE_PIP="1")
    assert code != 0 and "edit.py demo" not in asked
    assert any("-m pip" in line for line in call(clone, "make", "demo")[2])


def test_torch_and_torchvision_that_clash_stop_the_set_up_in_one_line(clone: Path):
    code, output, asked = call(clone, "make", "demo", FAKE_CLASH="1")
    assert code != 0 and "edit.py demo" not in asked
    assert "error: they clash" in output.splitlines()


def test_no_python_is_one_line(clone: Path):
    code, output, _ = call(clone, "make", "demo", PYTHON=str(clone / "missing"))
    said = [line for line in output.splitlines() if not line.startswith("make:")]
    assert code != 0 and len(said) == 1 and "Python 3.11" in said[0]


@pytest.mark.parametrize("tests_end_with", ["0", "1"])
def test_ci_reports_the_tests_and_leaves_no_environment(clone: Path, tests_end_with: str):
    code, output, asked = call(clone, ".ci/run", FAKE_TESTS=tests_end_with)
    assert (code == 0) == (tests_end_with == "0"), output
    assert asked[-1].startswith("-m pytest")
    assert not (clone / ".venv").exists()


def test_ci_cleans_up_after_a_failed_set_up_but_keeps_what_was_there(clone: Path):
    assert call(clone, ".ci/run", FAKE_PIP="1")[0] != 0
    assert not (clone / ".venv").exists()
    call(clone, "make", "demo")
    assert call(clone, ".ci/run")[0] == 0
    assert (clone / ".venv").exists()


# --- documents -----------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_links_in_documents_lead_somewhere(document: Path):
    text = document.read_text("utf-8")
    targets = [t for t in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) if "://" not in t]
    missing = [t for t in targets if not (document.parent / t).exists()]
    assert not missing


PROGRAMS = r"(?:edit\.py|train\.py|-m framework\.data)"
COMMAND = re.compile(rf"^(?:    |\$ |# *)?((?:\.venv/bin/)?python {PROGRAMS} .*)$", re.M)


def commands() -> list[str]:
    """Every command line of this project that a document or a YAML shows, without its comment."""
    shown = [path.read_text("utf-8").replace("\\\n", " ") for path in [*DOCUMENTS, *CONFIGS]]
    text = "\n".join(shown)
    return sorted({match.split("  #")[0].strip() for match in COMMAND.findall(text)})


@functools.cache
def help_of(*program: str) -> str:
    """What a command says of itself."""
    done = subprocess.run(
        [sys.executable, *program, "--help"], cwd=ROOT, text=True, timeout=120,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_places_named_in_documents_exist():
    named = {
        (relative(document), place)
        for document in DOCUMENTS
        if document.name != "CHANGELOG.md"
        for place in re.findall(r"`((?:framework|tests|benchmarks|configs|docs)/[a-z0-9_./-]+)`",
                                document.read_text("utf-8"))
    }  # fmt: skip
    assert len(named) > 50
    assert [pair for pair in sorted(named) if not (ROOT / pair[1]).exists()] == []


def test_documents_show_commands_that_exist():
    shown = commands()
    assert len(shown) > 100
    configs = [config for command in shown for config in re.findall(r"--config[ =](\S+)", command)]
    assert not [config for config in configs if not (ROOT / config).is_file()]
    assert not {command: flags for command in shown if (flags := unknown_flags(command))}


def unknown_flags(command: str) -> list[str]:
    """The flags of a command line that its program's help does not name."""
    words = command.split()[1:]
    verb = 3 if words[0] == "-m" else 2
    said = help_of(*words[:verb])
    flags = {word.split("=")[0] for word in words[verb:] if word.startswith("--")}
    flags -= {flag for flag in flags if flag.startswith("--model.")}  # known with the model's class
    return sorted(flag for flag in flags if not re.search(rf"{re.escape(flag)}\b", said))


@pytest.mark.parametrize("config", CONFIGS, ids=relative)
def test_configs_are_commented_yaml(config: Path):
    text = config.read_text("utf-8")
    assert text.startswith("#"), "the first line says what the file is for"
    assert isinstance(yaml.safe_load(text), dict)


# --- what is tracked -----------------------------------------------------------------------------


@functools.cache
def tracked() -> list[Path]:
    """Text files under version control."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    binary = {".png", ".jpg", ".gif", ".webp", ".mp4", ".safetensors", ".zip"}
    paths = [ROOT / name for name in listed.split("\0") if name]
    return [p for p in paths if p.is_file() and p.suffix not in binary and p.name != "LICENSE"]


def test_no_file_names_a_machine_or_a_registry():
    places = [r"/(?:home|Users)/[a-z]\w*/", r"https?://\S+/(?:simple|packages|whl)(?:/|\b)"]
    places += [re.escape(f"{place}/") for place in (ROOT, Path.home()) if len(place.parts) > 1]
    pattern = re.compile("|".join(places))
    found = [
        f"{relative(path)}: {match.group()}"
        for path in tracked()
        if (match := pattern.search(path.read_text("utf-8")))
    ]
    assert not found


def test_no_lock_file_records_where_packages_came_from():
    names = {path.name for path in tracked()}
    assert not names & {"uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "pylock.toml"}


def test_ruff_finds_nothing():
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--output-format", "concise", "."],
        cwd=ROOT, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
