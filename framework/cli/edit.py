"""`python edit.py COMMAND`: the flags of a command are the fields of its request.

A command is a function of a request, the terminal and what it prints: its docstring is the help,
the request's docstring explains the flags. Nothing imported here loads torch, so that help and
mistakes answer at once; a command imports its job when it is called.
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import docstring_parser

from framework.cli.bench import bench
from framework.cli.demo import demo
from framework.cli.directions import directions
from framework.cli.doctor import doctor
from framework.cli.drag import drag
from framework.cli.edit_picture import edit
from framework.cli.export_model import export
from framework.cli.fill import fill
from framework.cli.from_condition import from_label, from_sketch
from framework.cli.generate import generate
from framework.cli.import_model import import_
from framework.cli.invert import invert
from framework.cli.invert_report import invert_report
from framework.cli.latents import latents
from framework.cli.layers import layers
from framework.cli.studio import studio
from framework.cli.style import style
from framework.cli.terminal import Terminal
from framework.cli.text import text
from framework.cli.texture import texture
from framework.cli.transfer import transfer
from framework.cli.video import video
from framework.command_line import (
    Formatter,
    Parser,
    add_option,
    flag_of,
    helps_of,
    refuse_empty,
    run,
    shown,
)
from framework.errors import UserError, named, spoken
from framework.threads import shorten_spin

COMMANDS: dict[str, Callable[..., None]] = {
    "drag": drag,
    "invert": invert,
    "invert-report": invert_report,
    "latents": latents,
    "generate": generate,
    "video": video,
    "from-sketch": from_sketch,
    "from-label": from_label,
    "fill": fill,
    "texture": texture,
    "transfer": transfer,
    "style": style,
    "layers": layers,
    "directions": directions,
    "edit": edit,
    "text": text,
    "studio": studio,
    "import": import_,
    "export": export,
    "bench": bench,
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


def request_of(command: Callable[..., None]) -> type:
    """Return the class of the request that a command takes first."""
    return next(iter(inspect.signature(command).parameters.values())).annotation


def options(command: Callable[..., None]) -> dict[str, inspect.Parameter]:
    """Return a command's options: the request's fields, own ones first, and those of the output."""
    fields = dict(inspect.signature(request_of(command)).parameters)
    order = [name for owner in request_of(command).__mro__ for name in helps_of(owner)]
    own = {name: fields[name] for name in dict.fromkeys(order) if name in fields}
    return own | dict(list(inspect.signature(command).parameters.items())[2:])


def flags(command: Callable[..., None]) -> dict[str, str]:
    """Return the flag of each option."""
    return {name: flag_of(parameter) for name, parameter in options(command).items()}


def helps(command: Callable[..., None]) -> Iterator[tuple[str, str]]:
    """Return the help of each option, from the nearest docstring."""
    texts = helps_of(command)
    for owner in request_of(command).__mro__:
        texts = helps_of(owner) | texts
    names = flags(command)
    return ((name, spoken(texts[name], names)) for name in names)


def build_parser(only: str | None = None) -> Parser:
    """Build the parser of all commands; of the others but `only` just names and first lines."""
    parser = Parser(prog=PROGRAM, description=DESCRIPTION, formatter_class=Formatter)
    subcommands = parser.add_subcommands(required=True, dest="command", metavar="COMMAND")
    for name, command in COMMANDS.items():
        text = docstring_parser.parse(inspect.getdoc(command) or "")
        described = only in (None, name)
        sub = _parser_of(command, text) if described else Parser(formatter_class=Formatter)
        subcommands.add_subcommand(name, sub, help=text.short_description)
    return parser


def _parser_of(command: Callable[..., None], text: docstring_parser.Docstring) -> Parser:
    """Build the parser of one command from its request and its docstring."""
    description = f"{text.short_description}\n\n{text.long_description}".replace("::", ":")
    parser = Parser(description=description, formatter_class=Formatter)
    advanced = parser.add_argument_group("more options")
    parameters = options(command)
    for option, help_text in helps(command):
        later = shown(parameters[option])[1].advanced
        add_option(advanced if later else parser, parameters[option], help_text)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; see `framework.command_line.run`."""
    shorten_spin()
    arguments = _joined(sys.argv[1:] if arguments is None else arguments)
    return run(lambda: _dispatch(arguments))


def _dispatch(arguments: list[str]) -> None:
    parser = build_parser(next((word for word in arguments if word in COMMANDS), ""))
    if not arguments:
        parser.print_help()
        raise UserError("which command? see the list above")
    chosen = parser.parse_args(arguments)
    command = COMMANDS[chosen["command"]]
    names = flags(command)
    values = chosen[chosen["command"]].as_dict()
    fields: dict[str, Any] = {name: values[name.rstrip("_")] for name in names}
    refuse_empty(fields, names)
    of_request = inspect.signature(request_of(command)).parameters
    output = {name: fields.pop(name) for name in list(fields) if name not in of_request}
    terminal = Terminal(names)
    try:
        with named(names):
            command(request_of(command)(**fields), terminal, **output)
    finally:
        terminal.close()


def _joined(arguments: Sequence[str]) -> list[str]:
    """Join numbers that begin with a minus to their flag: argparse takes "-9,0,5,5" for a flag."""
    words: list[str] = []
    for word in arguments:
        if words and _BELOW_ZERO.fullmatch(word) and re.fullmatch(r"--[\w-]+", words[-1]):
            words[-1] += f"={word}"
        else:
            words.append(word)
    return words
