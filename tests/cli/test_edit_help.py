import re
import subprocess
import sys
from pathlib import Path

import pytest

from framework.cli.edit import (
    COMMANDS,
    build_parser,
    flags,
    main,
)
from framework.command_line import plain_complaint

ROOT = Path(__file__).parents[2]


# What takes longer to import than a help to print.
HEAVY = {"torch", "numpy", "PIL", "scipy", "lightning", "wandb", "torchvision", "safetensors"}


# F1f
@pytest.mark.parametrize("arguments", [["--help"], ["drag", "--help"]])
def test_a_help_imports_nothing_that_takes_long(arguments):
    program = (
        "import runpy, sys; sys.argv = ['edit.py', *sys.argv[1:]]\n"
        "try: runpy.run_path('edit.py', run_name='__main__')\n"
        f"finally: print(sorted({HEAVY} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "python edit.py" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_complete_commands_and_explains_every_flag(command, capsys):
    with_torch = "torch" in sys.modules
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"python edit.py {command}" in text
    assert "Args:" not in text and "::" not in text
    told = re.findall(r"^  (--[\w-]+)", text, re.M)
    explained = re.findall(r"^  (--[\w-]+)\S*(?: \S+)*(?:  +|\n {20,})\S", text, re.M)
    assert told and told == explained
    listed = text.partition("positional arguments:")[2].partition("options:")[0]
    words = re.findall(r"^  (\w+) +\S", listed, re.M)
    names = flags(COMMANDS[command]).values()
    assert words == [name for name in names if not name.startswith("--")]
    assert ("torch" in sys.modules) == with_torch


def test_every_example_of_a_help_parses():
    parser = build_parser()
    for name, command in COMMANDS.items():
        lines = re.findall(r"python edit.py (.+)", command.__doc__ or "")
        assert lines
        for line in lines:
            words = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', line)]
            assert parser.parse_args(words)["command"] == name


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "which command"),
        (["bogus"], "bogus"),
        (["drag"], "--out"),
        (["generate", "--out", "x"], "--model, --seeds"),
        (["drag", "--out", "x", "--seed", "a"], "--seed a: give a whole number"),
        (["drag", "--out", "x", "--space", "z"], "--space z: give w or w+"),
        (["drag", "--out", "x", "--modle", "m"], "--modle"),
        (["video", "--out", "x", "--fps", "fast"], "--fps fast: give a number"),
        (["drag", "--out", "x", "--class", "y"], "--class y"),
        (["import", "--out", "x"], "needed and not given: FILE"),
        (["import"], "needed and not given: FILE, --out"),
        (["import", "a", "b", "--out", "x"], "unrecognized arguments: b"),
        (["export", "--to", "nvidia", "--out", "x"], "needed and not given: MODEL"),
        (["export", "m", "--to", "pdf", "--out", "x"], "--to pdf: give nvidia or rosinality"),
    ],
)
def test_what_does_not_parse_is_one_line_and_2(arguments, complaint, capsys):
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    assert complaint in said and "<class" not in said


def test_a_complaint_is_told_where_to_read_on(capsys):
    main(["drag", "--out", "x", "--seed", "a"])
    assert "edit.py drag --help" in capsys.readouterr().err


def test_an_unknown_complaint_is_passed_on_in_one_line():
    assert plain_complaint("something\n  else.", {}) == "something else"


def test_a_mistake_in_a_process_of_its_own_ends_with_2_and_no_traceback():
    command = [sys.executable, "edit.py", "drag", "--out", "x", "--seed", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --model") and done.stderr.count("\n") == 1
