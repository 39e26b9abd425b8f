"""How the command lines begin: what is imported when, and help that is kept."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from framework.cli import late, start

ROOT = Path(__file__).parents[2]
# What a dry run has no use for, and what brings it: compiler, symbols, metrics, pictures.
LATE = ["torch._dynamo.eval_frame", "torchmetrics.functional", "torchvision", "scipy", "sympy"]


def fresh(program: str) -> str:
    """What a program prints last in a Python of its own."""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


# E2f
def test_a_dry_run_imports_no_compiler_no_metrics_and_no_symbols():
    program = f"""
import sys
from framework.cli.start import train
code = train(["fit", "--config", "configs/train/stylegan2/debug_cpu.yaml", "--run.dry_run", "true"])
print(code, sorted(set({LATE}) & set(sys.modules)))
"""
    assert fresh(program) == "0 []"


def test_what_was_put_off_is_what_it_would_have_been():
    program = """
import sys
from framework.cli.late import put_off_for_lightning
with put_off_for_lightning():
    from lightning.fabric.wrappers import OptimizedModule
import torch, torchmetrics
from torchmetrics import Metric
from torchmetrics.functional.image import structural_similarity_index_measure as ssim
picture = torch.rand(1, 3, 32, 32)
layer = torch.nn.Linear(1, 1)
before = isinstance(layer, OptimizedModule)
early = torch.compiler.disable(lambda x: x + 1)
first = early(1)
compiled = torch.compile(layer, backend="eager")
print(
    before, isinstance(compiled, OptimizedModule), isinstance(layer, OptimizedModule), first,
    early(1), round(float(ssim(picture, picture)), 3), issubclass(torchmetrics.MeanMetric, Metric),
    type(torch._dynamo).__name__,
)
"""
    assert fresh(program) == "False True False 2 2 1.0 True module"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package that says when it is loaded; its name."""
    (tmp_path / "latecomer").mkdir()
    (tmp_path / "latecomer" / "__init__.py").write_text("log.append('loaded')\nvalue = 3\n")
    (tmp_path / "latecomer" / "part.py").write_text("number = 4\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "latecomer"
    for name in [name for name in sys.modules if name.split(".")[0] == "latecomer"]:
        del sys.modules[name]


@pytest.mark.parametrize("first", ["value", "part"])
def test_a_late_package_runs_when_it_is_asked_for_what_is_not_known(package, first):
    with late.put_off({package: {"known": lambda: 5}}):
        module = importlib.import_module(package)
        known = module.known
        module.__dict__["log"] = log = []
    assert (known, log) == (5, [])
    assert not hasattr(module, "__warningregistry__") and log == []
    if first == "part":
        assert importlib.import_module(f"{package}.part").number == 4 and log == ["loaded"]
    for _ in range(2):
        assert module.value == 3 and log == ["loaded"]
    with pytest.raises(AttributeError):
        _ = module.missing


def test_what_is_not_installed_or_loaded_already_is_left_alone():
    with late.put_off({"no_such_package_anywhere": {}, "json": {}}):
        assert "no_such_package_anywhere" not in sys.modules
        assert not late.waits(sys.modules["json"])
    assert sys.modules["json"].__path__


@pytest.fixture
def helps(tmp_path, monkeypatch) -> list[list[str]]:
    """Every help that was made anew, with an empty cache of them."""
    made: list[list[str]] = []

    def make(words):
        made.append(words)
        print("usage: all of it")
        return 0

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(start, "_train", make)
    return made


# E1f
def test_a_help_is_made_once_for_each_version_of_the_program(helps, monkeypatch, capsys):
    for _ in range(2):
        assert start.train(["fit", "--help"]) == 0
        assert start.train(["fit", "-h"]) == 0
        assert capsys.readouterr().out == 2 * "usage: all of it\n"
    assert helps == [["fit", "--help"]]
    start.train(["--help"])
    monkeypatch.setattr(start.metadata, "version", lambda _: "9")
    start.train(["fit", "--help"])
    assert helps == [["fit", "--help"], ["--help"], ["fit", "--help"]]


def test_a_help_that_cannot_be_kept_or_read_is_made_again(helps, tmp_path, capsys):
    start.train(["fit", "--help"])
    (kept,) = (tmp_path / "dragline" / "help").iterdir()
    kept.write_bytes(b"\xff\n")
    start.train(["fit", "--help"])
    kept.unlink()
    kept.parent.rmdir()
    kept.parent.write_text("no folder")
    start.train(["fit", "--help"])
    assert len(helps) == 3 and capsys.readouterr().out == 3 * "usage: all of it\n"


def test_everything_else_goes_to_the_trainer(helps):
    start.train(["fit", "--run.dry_run", "true"])
    start.train([])
    assert helps == [["fit", "--run.dry_run", "true"], []]
