"""`python edit.py COMMAND`: one typed function per command is its whole configuration.

Nothing imported here loads torch, so that help and mistakes answer at once.
"""

import inspect
import re
import sys
from argparse import SUPPRESS, Action, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn, get_args, get_origin

import docstring_parser
from jsonargparse import ActionYesNo, ArgumentParser, DefaultHelpFormatter

from framework.cli.demo import demo
from framework.cli.doctor import doctor
from framework.cli.drag import drag
from framework.cli.generate import generate
from framework.cli.invert import invert
from framework.cli.invert_report import invert_report
from framework.cli.latents import latents
from framework.cli.model_files import export, import_
from framework.cli.run import run
from framework.cli.video import video
from framework.errors import UserError

COMMANDS: dict[str, Callable[..., None]] = {
    "drag": drag,
    "invert": invert,
    "invert-report": invert_report,
    "latents": latents,
    "generate": generate,
    "video": video,
    "import": import_,
    "export": export,
    "demo": demo,
    "doctor": doctor,
}
PROGRAM = "edit.py"
DESCRIPTION = """Take hold of a point in a generated picture and pull.

First steps:
  python edit.py demo
  python edit.py generate --model toycars64 --seeds 1-16 --grid --out out/cars
  python edit.py drag --model toycars64 --seed 8 --points "48,20:54,20" --out out/drag
  python edit.py drag --model vehicles64 --image car.jpg --points "38,12:44,15" --out out/car"""


# What stands behind a flag in the help, and what comes in the help's second group.
METAVARS = {
    "out": "PATH", "model": "MODEL", "seed": "N", "seeds": "LIST", "points": "X,Y:X,Y;…",
    "edit": "FILE", "tasks": "FILE", "mask": "PICTURE", "config": "YAML", "steps": "N",
    "lr": "RATE", "at": "STEP", "psi": "PSI", "columns": "N", "frames": "N", "fps": "N",
    "device": "DEVICE", "class_": "N", "file": "FILE", "photos": "PHOTO", "photo": "PHOTO",
    "image": "FILE", "stages": "LIST", "box": "L,T,R,B", "perceptual_weights": "PATH",
    "refine_steps": "N", "tune_steps": "N", "max_seconds": "SEC", "model_out": "FOLDER",
    "data": "FOLDER", "held_out": "SHARE", "count": "N",
}  # fmt: skip
ADVANCED = {
    "psi", "class_", "preset", "config", "steps", "lr", "space", "wandb", "device", "columns",
    "frames", "fps", "perceptual", "perceptual_weights", "refine_steps", "tune_steps",
    "max_seconds", "photo", "points_in", "seam",
}  # fmt: skip


class Formatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """Defaults beside the options that have one; examples as they were typed."""

    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, **{**options, "max_help_position": 26, "width": 100})

    def _get_help_string(self, action: Action) -> str:
        text = action.help or ""
        if action.required and action.option_strings:
            return f"{text} (required)"
        # A switch that is off and an option that is not given are no news.
        has_default = action.option_strings and action.default not in (None, False, SUPPRESS)
        return f"{text} (default: %(default)s)" if has_default else text


class Parser(ArgumentParser):
    """A parser whose complaints are the user's mistakes: one line, no usage dump."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the complaint as `UserError`, with where to read more."""
        parser = getattr(ex, "subcommand_parser", None) or self
        program = parser.prog.replace(" [options]", "")
        missing = re.search(r"are required: (\w+)\.(.+)", str(message))
        if missing:
            program = f"{PROGRAM} {missing[1]}"
        raise UserError(f"{plain_complaint(str(message))}; see {program} --help") from ex


def plain_complaint(message: str) -> str:
    """Say in the user's words what jsonargparse says in Python's types."""
    text = " ".join(message.split()).rstrip(".")
    missing = re.search(r"are required: (.+)", text)
    if missing:
        names = [_as_typed(*part.strip().rpartition(".")[::2]) for part in missing[1].split(",")]
        return f"needed and not given: {', '.join(names)}"
    typed = re.search(r'Parser key "(?:\w+\.)*(\w+)":.*(?:Given value|Got value): ?(.*)', text)
    if typed is None:
        return text
    kinds = re.findall(r"Literal\[([^\]]*)\]|<class '(int|float|bool)'>", text)
    wanted = {
        choices.replace("'", "").replace(", ", " or ") or _KINDS[kind] for choices, kind in kinds
    }
    flag = typed[1].rstrip("_").replace("_", "-")
    return f"--{flag} {typed[2]}: give {' or '.join(sorted(wanted)) or 'another value'}"


_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false"}


def _as_typed(command: str, name: str) -> str:
    """How the user gives what a command's function calls `name`: a flag, or a word in its place."""
    if command in COMMANDS and name in in_place(COMMANDS[command]):
        return METAVARS[name]
    return f"--{name}"


def in_place(command: Callable[..., None]) -> list[str]:
    """Parameters that stand on the command line without a flag: the positional-only ones."""
    parameters = inspect.signature(command).parameters.values()
    return [p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_ONLY]


def build_parser() -> Parser:
    """Build the parser of all commands from their signatures and docstrings."""
    parser = Parser(prog=PROGRAM, description=DESCRIPTION, formatter_class=Formatter)
    subcommands = parser.add_subcommands(required=True, dest="command", metavar="COMMAND")
    for name, command in COMMANDS.items():
        text = docstring_parser.parse(inspect.getdoc(command) or "")
        description = f"{text.short_description}\n\n{text.long_description}".replace("::", ":")
        sub = Parser(description=description, formatter_class=Formatter)
        helps = {
            param.arg_name: " ".join((param.description or "").split()) for param in text.params
        }
        advanced = sub.add_argument_group("more options")
        for parameter in inspect.signature(command).parameters.values():
            group = advanced if parameter.name in ADVANCED else sub
            _add_option(group, parameter, helps[parameter.name])
        subcommands.add_subcommand(name, sub, help=text.short_description)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; see `framework.cli.run.run`."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    return run(lambda: _dispatch(arguments))


def _dispatch(arguments: list[str]) -> None:
    parser = build_parser()
    if not arguments:
        parser.print_help()
        raise UserError("which command? see the list above")
    chosen = parser.parse_args(arguments)
    options = chosen[chosen["command"]].as_dict()
    command = COMMANDS[chosen["command"]]
    given = {name: options[name.rstrip("_")] for name in inspect.signature(command).parameters}
    words = [given.pop(name) for name in in_place(command)]
    command(*words, **given)


def _add_option(group: Any, parameter: inspect.Parameter, help_text: str) -> None:
    """Add the flag of a parameter: its type and default are the flag's.

    One that is positional-only has none: `def export(model, /, out)` is `export MODEL --out PATH`,
    and a list of them takes one word or more.
    """
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        several = get_origin(parameter.annotation) is list
        kind = get_args(parameter.annotation)[0] if several else parameter.annotation
        group.add_argument(
            parameter.name, type=kind, metavar=METAVARS[parameter.name], help=help_text,
            **({"nargs": "+"} if several else {}),
        )  # fmt: skip
        return
    flag = f"--{parameter.name.rstrip('_').replace('_', '-')}"
    required = parameter.default is inspect.Parameter.empty
    default = None if required else parameter.default
    if parameter.annotation is not bool:
        metavar = METAVARS.get(parameter.name) or "|".join(_choices(parameter.annotation)) or None
        group.add_argument(
            flag, type=parameter.annotation, default=default, required=required, metavar=metavar,
            help=help_text,
        )  # fmt: skip
    elif default:
        action = ActionYesNo(yes_prefix="", no_prefix="no-")
        group.add_argument(flag, action=action, default=True, help=help_text)
    else:
        group.add_argument(flag, action="store_true", help=help_text)


def _choices(annotation: Any) -> list[str]:
    """Return the words that a type allows, if it is made of words; those of a union's parts too."""
    if get_origin(annotation) is Literal:
        return [str(word) for word in get_args(annotation)]
    return [word for part in get_args(annotation) for word in _choices(part)]
