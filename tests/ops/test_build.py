"""Compiled operations as files: one build for several processes, and what can go wrong."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from framework.errors import UserError
from framework.ops import build, compiled
from framework.ops.upfirdn2d import downsample2d, setup_filter

ROOT = Path(__file__).resolve().parents[2]
CXX = shutil.which(os.environ.get("CXX", "c++"))
needs_compiler = pytest.mark.skipif(CXX is None, reason="no C++ compiler")
LIBRARY = """
#include "answer.h"
extern "C" int answer() { return ANSWER; }
"""


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A library that compiles in no time, in the place of ours."""
    folder = tmp_path / "native"
    folder.mkdir()
    shutil.copy(build.NATIVE / "build.py", folder)
    (folder / "answer.cpp").write_text(LIBRARY)
    (folder / "answer.h").write_text("#define ANSWER 42\n")
    monkeypatch.setattr(build, "NATIVE", folder)
    return folder


@pytest.fixture
def no_compiler_needed(sources, monkeypatch):
    """A compiler that writes down how often it was asked, and what it was asked for."""
    asked = []

    def compile_(recipe, work):
        asked.append(recipe)
        (work / f"{recipe.device}_ops.so").write_bytes(b"machine code " + recipe.key.encode())

    monkeypatch.setattr(build, "_compile", compile_)
    monkeypatch.setattr(build, "_version", lambda compiler: f"{compiler} 1.0")
    return asked


BUILDER = """
import ctypes, sys
from pathlib import Path
from framework.ops import build
build.NATIVE = Path(sys.argv[1])
path = build.library("cpu", Path(sys.argv[2]))
print(path, ctypes.CDLL(str(path)).answer())
"""


@needs_compiler
def test_of_two_processes_one_builds_and_both_have_it(sources, tmp_path):
    counter, log = tmp_path / "c++", tmp_path / "log"
    counter.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexec {CXX} "$@"\n')
    counter.chmod(0o755)
    command = [sys.executable, "-c", BUILDER, str(sources), str(tmp_path / "cache")]
    processes = [
        subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"CXX": str(counter)},
        )
        for _ in range(2)
    ]  # fmt: skip
    answers = {process.communicate(timeout=120)[0] for process in processes}
    assert len(answers) == 1
    path, answer = answers.pop().split()
    assert answer == "42" and [p.name for p in (tmp_path / "cache").glob("*.so")] == [
        Path(path).name
    ]
    assert len(re.findall(r"answer\.cpp", log.read_text())) == 1


def test_a_library_is_found_again_and_another_recipe_is_another_library(
    no_compiler_needed, sources, tmp_path, monkeypatch
):
    path = build.library("cpu", tmp_path)
    assert path == build.library("cpu", tmp_path) and len(no_compiler_needed) == 1
    (sources / "answer.h").write_text("#define ANSWER 43\n")
    changed = build.library("cpu", tmp_path)
    monkeypatch.setattr(build.torch, "__version__", "99.0")
    newer = build.library("cpu", tmp_path)
    monkeypatch.setattr(build, "_version", lambda compiler: f"{compiler} 2.0")
    assert len({path, changed, newer, build.library("cpu", tmp_path)}) == 4


def test_a_damaged_library_is_built_again(no_compiler_needed, tmp_path):
    path = build.library("cpu", tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:5])
    assert build.library("cpu", tmp_path).read_bytes() == whole
    assert len(no_compiler_needed) == 2 and len(list(tmp_path.glob("*.so"))) == 1


HOLDER = """
import fcntl, sys
handle = open(sys.argv[1], "a")
fcntl.flock(handle, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_dead_process_holds_no_lock_and_a_living_one_is_not_waited_for_for_ever(
    no_compiler_needed, tmp_path
):
    lock = tmp_path / f"cpu-{build.recipe_for('cpu').key}.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with pytest.raises(build.BuildError, match="another process has been building for 0 s"):
            build.library("cpu", tmp_path, wait_sec=0.3)
        holder.kill()
    assert lock.exists() and build.library("cpu", tmp_path, wait_sec=30).exists()


def test_a_file_system_without_locks_does(no_compiler_needed, tmp_path, monkeypatch):
    def flock(handle, operation):
        raise OSError("no locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert build.library("cpu", tmp_path).exists()


def test_a_cache_that_cannot_be_written_is_one_line(no_compiler_needed, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(build.BuildError, match="file"):
        build.library("cpu", tmp_path / "file" / "cache")


@needs_compiler
def test_what_does_not_compile_says_why_in_a_line(sources, tmp_path):
    (sources / "answer.h").write_text("#error no answer\n")
    with pytest.raises(build.BuildError, match=r"answer\.h.*error.*no answer") as caught:
        build.library("cpu", tmp_path)
    assert "\n" not in str(caught.value) and not list(tmp_path.glob("*.so"))


@needs_compiler
def test_a_compiler_that_hangs_is_ended(sources, tmp_path, monkeypatch):
    (sources / "build.py").write_text(
        "import subprocess, sys\n"
        f"open({str(tmp_path / 'began')!r}, 'w').close()\n"
        "subprocess.run(['sleep', '100'])\n"
    )
    monkeypatch.setattr(build, "BUILD_SEC", 1.0)
    with pytest.raises(build.BuildError, match="did not finish within 1 s"):
        build.library("cpu", tmp_path / "cache")
    assert (tmp_path / "began").exists()


@pytest.fixture
def emptied(tmp_path, monkeypatch):
    """A machine with nothing on the PATH and nothing in the cache."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(compiled, "_loaded", set())


def test_without_a_compiler_auto_says_a_line_and_goes_torchs_way(emptied, capsys):
    assert compiled.use_ops("auto", "cpu") == ()
    note = capsys.readouterr().err
    assert note.count("\n") == 1 and "'c++'" in note and "torch's own" in note
    x = torch.randn(1, 2, 8, 8)
    with torch.profiler.profile() as profile:
        assert downsample2d(x, setup_filter([1, 3, 3, 1])).shape == (1, 2, 4, 4)
    assert not any(event.key.startswith("dragline::") for event in profile.key_averages())


def test_without_a_compiler_compiled_is_refused(emptied):
    with pytest.raises(UserError, match=r"no compiler 'c\+\+'.*auto or torch") as caught:
        compiled.use_ops("compiled", "cpu")
    assert "\n" not in str(caught.value)


def test_a_library_that_does_not_load_is_one_line(no_compiler_needed, emptied, capsys):
    assert compiled.prospects("cpu") == "built on first use"
    for lines in (2, 1):  # compiling is said, too
        assert compiled.use_ops("auto", "cpu") == ()
        notes = capsys.readouterr().err.splitlines()
        assert len(notes) == lines and "torch's own" in notes[-1]
    assert compiled.prospects("cpu") == "built"


def test_prospects_say_what_is_missing(emptied):
    assert "no compiler 'c++'" in compiled.prospects("cpu")
    assert "none for mps" in compiled.prospects("mps")
