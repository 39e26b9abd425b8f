"""The command lines of this room end as all others do: with 2 and one line for a mistake."""

import inspect
from collections.abc import Callable

import pytest

from framework.evaluation.cards import publish, publish_encoder
from framework.evaluation.drag import keypoints
from framework.evaluation.generator import neighbours

FUNCTIONS: list[tuple[Callable[..., int], Callable, list[str]]] = [
    (publish.main, publish.publish, []),
    (publish_encoder.main, publish_encoder.publish_encoder, []),
    (neighbours.main, neighbours.neighbours, []),
    (keypoints.main, keypoints.train, ["train"]),
]
CASES = [
    (main, function, words, name)
    for main, function, words in FUNCTIONS
    for name in inspect.signature(function).parameters
]


def said_of(capsys) -> str:
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1, said
    return said


# B7f
@pytest.mark.parametrize(("main", "function", "words", "name"), CASES)
@pytest.mark.parametrize("value", ["", "a\0b", "1" + "0" * 5000])
def test_a_value_that_is_none_is_one_line_with_its_flag(
    main, function, words, name, value, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    needed = [
        f"--{p.name}=nowhere"
        for p in inspect.signature(function).parameters.values()
        if p.default is inspect.Parameter.empty and p.name != name
    ]
    assert main([*words, *needed, f"--{name}={value}"]) == 2
    said = said_of(capsys)
    if "\0" in value:
        assert f"--{name}" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("main", "words"), [(main, words) for main, _, words in FUNCTIONS])
def test_what_is_no_command_line_is_one_line(main, words, capsys):
    for wrong in (["--nonsense"], []):
        assert main([*words, *wrong]) == 2
        said_of(capsys)
    assert keypoints.main(["dance"]) == 2 and "train --out" in said_of(capsys)
