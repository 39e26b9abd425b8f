"""`python -m framework.data inspect|prepare`: look at pictures, make a data set of them."""

import json
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from framework.data.inspect import as_text, inspect
from framework.data.prepare import prepare
from framework.errors import UserError

PROGRAM = "python -m framework.data"
EXAMPLES = """
examples:
  python -m framework.data inspect photos/
  python -m framework.data prepare photos/ --out photos64.zip --size 64 --dedup --on-bad skip"""
INSPECT = """Look at every picture in a folder or zip: how many, which sizes and kinds, which files
cannot be used and why, which pictures occur twice. Nothing is changed.

examples:
  python -m framework.data inspect photos/
  python -m framework.data inspect photos.zip --json > report.json"""
PREPARE = """Make a training set: a zip of equal, uncompressed PNGs with dataset.json (NVIDIA's
layout). Every file is decoded first. An existing file is never overwritten.

examples:
  python -m framework.data prepare photos/ --out photos64.zip --size 64
  python -m framework.data prepare photos/ --out cars.zip --size [48,64] --labels folders --dedup"""


class _Formatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """Defaults beside the options, examples as written."""


class _Parser(ArgumentParser):
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        text = " ".join(str(message).split()).rstrip(".")
        raise UserError(f"{text}; see --help") from ex


def build_parser() -> ArgumentParser:
    """The parser of both commands; `prepare`'s options are its function's arguments."""
    parser = _Parser(prog=PROGRAM, description=EXAMPLES, formatter_class=_Formatter)
    commands = parser.add_subcommands(required=True, dest="command", metavar="COMMAND")
    look = _Parser(description=INSPECT, formatter_class=_Formatter)
    look.add_argument("source", type=str, metavar="FOLDER", help="folder or zip of pictures")
    look.add_argument("--json", action="store_true", help="print the whole report as JSON")
    _add_follow_links(look)
    commands.add_subcommand("inspect", look, help="report what is in a folder of pictures")
    make = _Parser(description=PREPARE, formatter_class=_Formatter)
    make.add_argument("source", type=str, metavar="FOLDER", help="folder or zip, or toycars:COUNT")
    make.add_argument("--out", type=str, required=True, metavar="ZIP", help="the zip to write")
    ours: set[str | int] = {"source", "out", "dedup", "follow_links", "progress"}
    make.add_function_arguments(prepare, as_group=False, skip=ours)
    make.add_argument("--dedup", action="store_true", help="of equal pictures keep one")
    _add_follow_links(make)
    commands.add_subcommand("prepare", make, help="make a zip of equal pictures for training")
    return parser


def _add_follow_links(parser: ArgumentParser) -> None:
    text = "also use symbolic links that lead out of the folder"
    parser.add_argument("--follow_links", action="store_true", help=text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command.

    Raises:
        UserError: For a wrong command line and for data that cannot be used.
    """
    words = [_underscored(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    chosen = build_parser().parse_args(words)
    options: dict[str, Any] = chosen[chosen["command"]].as_dict()
    options["progress"] = _Counter() if sys.stderr.isatty() else None
    if chosen["command"] == "inspect":
        as_json = options.pop("json")
        report = inspect(**options)
        print(json.dumps(report, indent=2) if as_json else as_text(report))
        return
    facts = prepare(**options)
    height, width = facts["size"]
    labels = f", labels of length {facts['label_dim']}" if facts["label_dim"] else ""
    what = f"{facts['count']} pictures of {width}x{height}, {facts['channels']} channels"
    print(f"{options['out']}: {what}{labels}")
    for key in ("upscaled", "duplicates"):
        if facts.get(key):
            print(f"  {key}: {facts[key]}")
    if facts.get("unusable"):
        print(f"  left out: {len(facts['unusable'])} unusable")


def _underscored(word: str) -> str:
    """`--on-bad` is as good as `--on_bad`; values stay as they are."""
    if not word.startswith("--"):
        return word
    flag, equals, value = word.partition("=")
    return "--" + flag[2:].replace("-", "_") + equals + value


class _Counter:
    """Progress on one line of a terminal."""

    def __call__(self, done: int, total: int) -> None:
        if done % 100 == 0 or done == total:
            print(
                f"\rscanned {done} of {total}", end="\n" if done == total else "", file=sys.stderr
            )


def run(command: Callable[[], None]) -> int:
    """Exit code of a command: 0, 2 for a user's mistake (one line on stderr), 130 for Ctrl-C."""
    try:
        command()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
