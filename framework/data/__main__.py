"""`python -m framework.data COMMAND`: check pictures, make sets of them, describe them."""

import inspect as signatures
import json
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from framework.command_line import (
    Formatter,
    Parser,
    add_option,
    flag_of,
    helps_of,
    refuse_empty,
    run,
)
from framework.data.captions import captions
from framework.data.images import open_dataset
from framework.data.inspect import as_text, inspect
from framework.data.prepare import prepare
from framework.data.shard_writer import index_shards, shard
from framework.errors import named
from framework.fields import Shown

PROGRAM = "python -m framework.data"
EXAMPLES = """
examples:
  python -m framework.data inspect photos/
  python -m framework.data prepare photos/ --out photos64.zip --size 64 --dedup --on-bad skip"""
INSPECT = """Check every picture in a folder or zip: how many, which sizes and kinds, which files
cannot be used and why, which pictures occur twice, how many there are of each class, and what to
run next. Nothing is changed.

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
  python -m framework.data shard photos.zip --out /big/cars --labels file --shard-mb 512"""
INDEX = """Read tar shards that are there already, decode every picture, and write shards.json,
which training needs.

examples:
  python -m framework.data index /big/shards
  python -m framework.data index "https://host/data/{000..099}.tar" --out data.json"""
CAPTIONS = """Write captions of photographs from their class and their colours, for a text encoder,
and a table of attributes, for directions. Nothing is overwritten.

examples:
  python -m framework.data captions photos/ --out captions
  python -m framework.data captions cars.zip --out captions --noun car --count 10"""

_COMMANDS: dict[str, tuple[Callable[..., dict[str, Any]], str, str]] = {
    "inspect": (inspect, INSPECT, "report what is in a folder of pictures"),
    "prepare": (prepare, PREPARE, "make a zip of equal pictures for training"),
    "shard": (shard, SHARD, "make tar shards of data that outgrow a disk"),
    "index": (index_shards, INDEX, "write down what existing tar shards hold"),
    "captions": (captions, CAPTIONS, "describe photographs by their class and their colours"),
}
_PLACEHOLDERS = {
    "source": "SOURCE", "out": "PATH", "size": "SIZE", "channels": "N", "shard_mb": "MB",
    "seed": "N", "noun": "WORD", "count": "N",
}  # fmt: skip


def build_parser() -> Parser:
    """Build the parser of all commands; a command's options are its function's arguments."""
    parser = Parser(prog=PROGRAM, description=EXAMPLES, formatter_class=Formatter)
    commands = parser.add_subcommands(required=True, dest="command", metavar="COMMAND")
    for name, (function, description, summary) in _COMMANDS.items():
        sub = Parser(description=description, formatter_class=Formatter)
        helps = helps_of(open_dataset) | helps_of(function)
        for parameter in _parameters(function).values():
            add_option(sub, parameter, helps[parameter.name])
        if name == "inspect":
            sub.add_argument("--json", action="store_true", help="Print the report as JSON.")
        commands.add_subcommand(name, sub, help=summary)
    return parser


def _parameters(function: Callable[..., Any]) -> dict[str, signatures.Parameter]:
    """Return the user's options of a command's function; the source comes first, without a flag."""
    parameters = dict(signatures.signature(function).parameters)
    parameters.pop("progress")
    return {name: _shown(parameter) for name, parameter in parameters.items()}


def _shown(parameter: signatures.Parameter) -> signatures.Parameter:
    """Return the parameter in the form of its flag, where a path is a text."""
    name = parameter.name
    kind = str if name in ("source", "out") else parameter.annotation
    look = Shown(_PLACEHOLDERS.get(name, ""), in_place=name == "source")
    return parameter.replace(annotation=Annotated[kind, look])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; see `framework.command_line.run`."""
    words = [_dashed(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    return run(lambda: _dispatch(words))


def _dispatch(words: list[str]) -> None:
    namespace = build_parser().parse_args(words)
    command = namespace["command"]
    function = _COMMANDS[command][0]
    options: dict[str, Any] = namespace[command].as_dict()
    options["progress"] = _Counter() if sys.stderr.isatty() else None
    as_json = options.pop("json", False)
    flags = {name: flag_of(p) for name, p in _parameters(function).items()}
    refuse_empty({name: options[name] for name in flags}, flags)
    with named(flags):
        facts = function(**options)
    if command == "inspect":
        print(json.dumps(facts, indent=2) if as_json else as_text(facts))
    elif command == "captions":
        _report_captions(options["out"], facts)
    else:
        _report(options["out"], facts)


def _report(out: str | None, facts: dict[str, Any]) -> None:
    """Print facts about the new data set."""
    parts = [f"{facts['count']} pictures of "]
    parts[0] += "several sizes" if facts["size"] is None else "{1}x{0}".format(*facts["size"])
    parts += [f"{facts['channels']} channels"] if "channels" in facts else []
    parts += [f"labels of length {facts['label_dim']}"] if facts["label_dim"] else []
    parts += [f"{facts['shards']} shards"] if "shards" in facts else []
    print(f"{facts.get('out', out)}: {', '.join(parts)}")
    for key in ("upscaled", "duplicates"):
        if facts.get(key):
            print(f"  {key}: {facts[key]}")
    if unusable := facts.get("unusable"):
        print(f"  left out: {len(unusable)} unusable")
    for remark in facts.get("remarks", ()):
        print(f"note: {remark}")
    for suffix, count in facts.get("never_read", {}).items():
        print(f"  never read: {count} .{suffix}")


def _report_captions(out: str, facts: dict[str, Any]) -> None:
    """Print how often captions may name each word."""
    print(f"{out}: captions of {facts['count']} pictures")
    for trait, counts in facts["words"].items():
        print(f"  {trait:12}{', '.join(f'{word} ({count})' for word, count in counts.items())}")
    if unusable := facts.get("unusable"):
        print(f"  left out: {len(unusable)} unusable")
    for remark in facts["remarks"]:
        print(f"note: {remark}")


def _dashed(word: str) -> str:
    """Spell the flag of `--on_bad=skip` as `--on-bad`; values stay unchanged."""
    if not word.startswith("--"):
        return word
    flag, equals, value = word.partition("=")
    return flag.replace("_", "-") + equals + value


class _Counter:
    """A progress display on one line of a terminal."""

    def __call__(self, done: int, total: int) -> None:
        if done % max(1, total // 100) == 0 or done == total:
            print(f"\r{done} of {total}", end="\n" if done == total else "", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
