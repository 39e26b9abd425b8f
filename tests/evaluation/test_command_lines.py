"""The command lines of this room end as all others do: with 2 and one line for a mistake."""

import inspect
from collections.abc import Callable
from importlib import import_module

import pytest

from framework.evaluation.__main__ import PROGRAM, VERBS, main

FUNCTIONS: dict[str, Callable] = {}
for verb, (place, _) in VERBS.items():
    module, _, function = place.partition(":")
    FUNCTIONS[verb] = getattr(import_module(module), function)
CASES = [
    (verb, function, name)
    for verb, function in FUNCTIONS.items()
    for name in inspect.signature(function).parameters
]


def said_of(capsys) -> str:
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1, said
    return said


# B7f
@pytest.mark.parametrize(("verb", "function", "name"), CASES)
@pytest.mark.parametrize("value", ["", "a\0b", "1" + "0" * 5000])
def test_a_value_that_is_none_is_one_line_with_its_flag(
    verb, function, name, value, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    needed = [
        f"--{p.name}=nowhere"
        for p in inspect.signature(function).parameters.values()
        if p.default is inspect.Parameter.empty and p.name != name
    ]
    assert main([verb, *needed, f"--{name}={value}"]) == 2
    said = said_of(capsys)
    if "\0" in value:
        assert f"--{name}" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_no_command_line_is_one_line(verb, capsys):
    for wrong in (["--nonsense"], []):
        assert main([verb, *wrong]) == 2
        assert f"; see {PROGRAM} {verb} --help" in said_of(capsys)


def test_a_verb_is_named_and_help_lists_them(capsys):
    for wrong in ([], ["dance"]):
        assert main(wrong) == 2
        assert ", ".join(VERBS) in said_of(capsys)
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {verb} " in shown for verb in VERBS)
