"""Every flag of every command with values that nobody means: one line and 2, or it works.

The flags are those of the parsers, so that a new one cannot be forgotten; what stands here is one
command line for each command that works, and one list of values for each kind of flag.
"""

import inspect
import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import framework.cli.edit as edit
import framework.data.__main__ as data
from framework.cli.common import MAX_SEED
from framework.command_line import flag_of
from framework.drag import EditFile

TEXTS = [
    "", " ", "a\0b", "a\nb", "\udcff\udc00", "\udcff", "x" * 5000, "x" * 300, "{dir}", "{file}", "{file}/x",
    "/dev/null", "/dev/null/x", "{loop}", "{loop}/x", "{dangling}", "{binary}", "{empty}", "{pipe}",
    ".foo.Bar", "nan", "-1", "--", "[", "{{}}", "~", "1" + "0" * 30, "1e400", "٣", "%s%n", "null",
]  # fmt: skip
NUMBERS = [
    "", "nan", "inf", "-inf", "1e40", "-1e40", "1e400", "-1", "0", "-0.0", "1e-320", "0x10", "1_0",
    "1" + "0" * 30, "1" + "0" * 5000, "9" * 19, str(MAX_SEED + 1), "٣", "true", "null", "[1]",
    "2147483648", "a\nb",
]  # fmt: skip
WORDS = ["", "bogus", "null", "a\nb", "x" * 5000, "[]", "0"]
SWITCH = ["=", "=bogus", "=1e40"]


@cache
def commands() -> dict[str, tuple[Callable[..., int], dict[str, inspect.Parameter], Any]]:
    """Every command: its main, its parameters, its metavars."""
    table: dict[str, Any] = {
        f"edit {name}": (edit.main, dict(inspect.signature(command).parameters), edit.METAVARS)
        for name, command in edit.COMMANDS.items()
    }
    return table | {
        f"data {name}": (data.main, data._parameters(function), data._METAVARS)
        for name, (function, *_) in data._COMMANDS.items()
    }


def values(parameter: inspect.Parameter) -> list[str]:
    kind = str(parameter.annotation)
    if parameter.annotation is bool:
        return SWITCH
    if "Literal" in kind:
        return WORDS
    if "int" in kind or "float" in kind:
        return NUMBERS
    return TEXTS


# What works, by command; flags that exclude each other get a line each.
GOOD = {
    "edit drag": [
        "--model {model} --seed 3 --points 5,8:7,8 --steps 1 --no-video --preset draggan --out {out}",
        "--image {inv} --points 5,8:7,8 --steps 1 --no-video --preset draggan --out {out}",
        "--edit {edit} --steps 1 --no-video --out {out}",
        "--model {model} --tasks {tasks} --steps 1 --no-video --preset draggan --out {out}",
    ],
    "edit invert": ["{photo} --model {model} --stages refine --refine-steps 1 --out {out}"],
    "edit invert-report": [
        "--data {photos} --model {model} --held-out 0 --count 1 --stages refine --refine-steps 1"
        " --no-editability --out {out}"
    ],
    "edit latents": ["{inv} --to npy --out {out}.npy"],
    "edit generate": ["--model {model} --seeds 1 --out {out}"],
    "edit video": [
        "--model {model} --seeds 1,2 --frames 1 --out {out}.gif",
        "--edit {edit} --out {out}.gif",
    ],
    "edit import": ["{lone} --out {out}"],
    "edit export": ["{model} --to rosinality --out {out}.pt"],
    "edit demo": ["--out {out}"],
    "edit doctor": ["--model {model}"],
    "data inspect": ["{photos}"],
    "data prepare": ["{photos} --out {out}.zip --size 16"],
    "data shard": ["{photos} --out {out} --size 16"],
    "data index": ["{shards} --out {shards}/new.json"],
}
