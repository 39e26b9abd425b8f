"""`python -m framework.data inspect|prepare|shard|index`: look at pictures, make sets of them."""

import json
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from framework.data.inspect import as_text, inspect
from framework.data.prepare import prepare
from framework.data.sharding import index_shards, shard
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

SHARD = """Make tar shards (WebDataset's layout) with an index, for data that outgrow a disk; to
train on them: --data.source shards:FOLDER. Nothing is overwritten.

examples:
  python -m framework.data shard photos/ --out /big/photos64 --size 64
  python -m framework.data shard photos.zip --out /big/cars --labels file --shard_mb 512"""
INDEX = """Read tar shards that are there already, decode every picture, and write shards.json,
which training needs.

examples:
  python -m framework.data index /big/shards
  python -m framework.data index "https://host/data/{000..099}.tar" --out data.json"""

# Every processor core decodes a picture, up to 8 of them.
_MEMORY = "out of memory: end other programs, or make the largest pictures smaller"
_MAKERS: dict[str, Callable[..., dict[str, Any]]] = {
    "prepare": prepare,
    "shard": shard,
    "index": index_shards,
}


class _Formatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """Defaults beside the options, examples as written."""


class _Parser(ArgumentParser):
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        text = " ".join(str(message).split()).rstrip(".")
        raise UserError(f"{text}; see --help") from ex


def build_parser() -> ArgumentParser:
    """The parser of all commands."""
    parser = _Parser(prog=PROGRAM, description=EXAMPLES, formatter_class=_Formatter)
    commands = parser.add_subcommands(required=True, dest="command", metavar="COMMAND")
    look = _Parser(description=INSPECT, formatter_class=_Formatter)
    look.add_argument("source", type=str, metavar="FOLDER", help="folder or zip of pictures")
    look.add_argument("--json", action="store_true", help="print the whole report as JSON")
    _add_follow_links(look)
    commands.add_subcommand("inspect", look, help="report what is in a folder of pictures")
    _add_maker(commands, "prepare", PREPARE, "ZIP", "make a zip of equal pictures for training")
    _add_maker(commands, "shard", SHARD, "FOLDER", "make tar shards of data that outgrow a disk")
    note = _Parser(description=INDEX, formatter_class=_Formatter)
    text = "folder of tar files, pattern, or URLs with {000..099}"
    note.add_argument("source", type=str, metavar="SHARDS", help=text)
    note.add_function_arguments(index_shards, as_group=False, skip={"source", "progress"})
    commands.add_subcommand("index", note, help="write down what existing tar shards hold")
    return parser


def _add_maker(commands: Any, name: str, description: str, out: str, text: str) -> None:
    """A command that makes a data set of pictures; its options are its function's arguments."""
    make = _Parser(description=description, formatter_class=_Formatter)
    make.add_argument("source", type=str, metavar="FOLDER", help="folder or zip, or toycars:COUNT")
    make.add_argument("--out", type=str, required=True, metavar=out, help=f"the new {out.lower()}")
    ours: set[str | int] = {"source", "out", "dedup", "follow_links", "progress"}
    make.add_function_arguments(_MAKERS[name], as_group=False, skip=ours)
    make.add_argument("--dedup", action="store_true", help="of equal pictures keep one")
    _add_follow_links(make)
    commands.add_subcommand(name, make, help=text)


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
    _report(options["out"], _MAKERS[chosen["command"]](**options))


def _report(out: str | None, facts: dict[str, Any]) -> None:
    """Say what was made."""
    what = [f"{facts['count']} pictures of "]
    what[0] += "several sizes" if facts["size"] is None else "{1}x{0}".format(*facts["size"])
    what += [f"{facts['channels']} channels"] if "channels" in facts else []
    what += [f"labels of length {facts['label_dim']}"] if facts["label_dim"] else []
    what += [f"{facts['shards']} shards"] if "shards" in facts else []
    print(f"{facts.get('out', out)}: {', '.join(what)}")
    for key in ("upscaled", "duplicates"):
        if facts.get(key):
            print(f"  {key}: {facts[key]}")
    if unusable := facts.get("unusable"):
        print(f"  left out: {len(unusable)} unusable")
    for suffix, count in facts.get("never_read", {}).items():
        print(f"  never read: {count} .{suffix}")


def _underscored(word: str) -> str:
    """`--on-bad` is as good as `--on_bad`; values stay as they are."""
    if not word.startswith("--"):
        return word
    flag, equals, value = word.partition("=")
    return "--" + flag[2:].replace("-", "_") + equals + value


class _Counter:
    """Progress on one line of a terminal."""

    def __call__(self, done: int, total: int) -> None:
        if done % max(1, total // 100) == 0 or done == total:
            print(f"\r{done} of {total}", end="\n" if done == total else "", file=sys.stderr)


def run(command: Callable[[], None]) -> int:
    """Exit code of a command: 0; 2 with a line for mistakes and lack of memory; 130 for Ctrl-C."""
    try:
        command()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except MemoryError:
        print(f"error: {_MEMORY}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
