"""`python edit.py COMMAND`: one typed function per command is its whole configuration.

Nothing imported here loads torch, so that help and mistakes answer at once.
"""

import inspect
import re
import sys
from collections.abc import Callable, Sequence

import docstring_parser

from framework.cli.demo import demo
from framework.cli.doctor import doctor
from framework.cli.drag import drag
from framework.cli.generate import generate
from framework.cli.invert import invert
from framework.cli.invert_report import invert_report
from framework.cli.latents import latents
from framework.cli.model_files import export, import_
from framework.cli.video import video
from framework.command_line import Formatter, Parser, add_option, flag_of, refuse_empty, run
from framework.errors import UserError, named
from framework.threads import shorten_spin

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
_BELOW_ZERO = re.compile(r"-[\d.][\d.,:;e+\s-]*", re.IGNORECASE)
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
    "rotate": "DEGREES", "align": "X,Y:X,Y", "align_to": "X,Y:X,Y",
    "data": "FOLDER", "pick": "N|NAME", "held_out": "SHARE", "count": "N",
}  # fmt: skip
ADVANCED = {
    "psi", "class_", "preset", "config", "steps", "lr", "space", "wandb", "device", "columns",
    "frames", "fps", "perceptual", "perceptual_weights", "refine_steps", "tune_steps",
    "max_seconds", "photo", "points_in", "seam",
}  # fmt: skip


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
            add_option(group, parameter, helps[parameter.name], METAVARS)
        subcommands.add_subcommand(name, sub, help=text.short_description)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; see `framework.command_line.run`."""
    shorten_spin()
    arguments = _joined(sys.argv[1:] if arguments is None else arguments)
    return run(lambda: _dispatch(arguments))


def _dispatch(arguments: list[str]) -> None:
    parser = build_parser()
    if not arguments:
        parser.print_help()
        raise UserError("which command? see the list above")
    chosen = parser.parse_args(arguments)
    options = chosen[chosen["command"]].as_dict()
    command = COMMANDS[chosen["command"]]
    flags = _flags(command)
    given = {name: options[name.rstrip("_")] for name in flags}
    refuse_empty(given, flags)
    words = [given.pop(name) for name in in_place(command)]
    with named(flags):
        command(*words, **given)


def _joined(arguments: Sequence[str]) -> list[str]:
    """Join numbers that begin with a minus to their flag: argparse takes "-9,0,5,5" for a flag."""
    joined: list[str] = []
    for word in arguments:
        if joined and _BELOW_ZERO.fullmatch(word) and re.fullmatch(r"--[\w-]+", joined[-1]):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _flags(command: Callable[..., None]) -> dict[str, str]:
    """What the user calls each argument of a command."""
    parameters = inspect.signature(command).parameters
    return {name: flag_of(parameter, METAVARS) for name, parameter in parameters.items()}
