"""What all command lines of this project share: options, complaints, exit codes."""

import errno
import inspect
import io
import json
import os
import re
import signal
import sys
from argparse import SUPPRESS, Action, ArgumentError, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from importlib import import_module
from types import FrameType
from typing import Annotated, Any, Literal, NoReturn, get_args, get_origin

import docstring_parser
from jsonargparse import ActionYesNo, ArgumentParser, DefaultHelpFormatter, auto_cli

from framework.errors import UserError, named
from framework.fields import Shown
from framework.files import NO_ROOM

USER_ERROR, BROKEN_PIPE = 2, 128 + signal.SIGPIPE
TORCHVISION_MISMATCH = (
    "torchvision was built for another torch: a CPU-only torch and the index's torchvision do not "
    "fit together; install both in one go: pip install --force-reinstall torch torchvision"
)


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised wherever the program is.

    It is a `KeyboardInterrupt`, so whatever saves its work on Ctrl-C saves it here, too.
    """


def run(main: Callable[[], None], catch_sigterm: bool = True) -> int:
    """Run `main` and turn the way it ends into an exit code.

    Args:
        main: The command; it raises `UserError` for the user's mistakes.
        catch_sigterm: Turn SIGTERM into `Terminated` inside `main`. A command that handles the
            signal itself (training: it finishes its step first) passes False.

    Returns:
        0 done; 2 a mistake of the user's, named in one line on stderr; 130 Ctrl-C; 143 SIGTERM;
        141 nobody reads the output any more; or what `main` passed to `sys.exit`.
        Any other exception is a fault of the program and keeps its traceback.
    """
    previous = signal.signal(signal.SIGTERM, _raise_terminated) if catch_sigterm else None
    for stream in (sys.stdout, sys.stderr):  # a file's name need not be valid text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        main()
        sys.stdout.flush()
        return 0
    except SystemExit as stop:
        return _code_of(stop)
    except BrokenPipeError:
        # Python flushes stdout once more on its way out and would complain about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt as stop:
        return interrupted_code(stop)
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        return USER_ERROR
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)


def interrupted_code(stop: KeyboardInterrupt) -> int:
    """Return the shell's exit code for an interruption: 143 for SIGTERM, 130 for Ctrl-C."""
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)


def explain(error: Exception) -> str | None:
    """Return the one line that tells the user what to do, or None if the program is at fault."""
    text = " ".join(str(error).split())
    if isinstance(error, UserError | ArgumentError):
        return text
    if type(error).__name__ == "OutOfMemoryError":  # torch's, without importing torch
        return (
            "out of GPU memory: use the CPU (--device cpu; train.py: --trainer.accelerator cpu), "
            "a smaller model, or free the GPU"
        )
    if _lacks_memory(error, text):
        size = re.search(r"allocate (\d+) bytes|allocate ([\d.]+ .iB)", text)
        return f"out of memory{f' (for {size[1] or size[2]} more)' if size else ''}: {_LESS}"
    if isinstance(error, OSError) and error.errno and (error.filename or error.errno in NO_ROOM):
        return str(UserError(f"{_file_of(error)}: {error.strerror}"))
    if isinstance(error, RuntimeError) and "operator torchvision::" in text:
        return TORCHVISION_MISMATCH
    if isinstance(error, ImportError) and error.name in {"torch", "torchvision", "wandb"}:
        return f"{error.name} is not installed: run `make demo` or `pip install -e .`"
    return None


_NO_MEMORY = (  # what torch, oneDNN, the C++ library and the loader say
    "DefaultCPUAllocator", "could not create a primitive", "could not create a memory object",
    "could not execute a primitive", "std::bad_alloc", "failed to map segment",
    "can't start new thread",
)  # fmt: skip
_LESS = (
    "end other programs, raise the limit (ulimit -v), or ask for less: fewer or smaller pictures at"
    " once, a smaller model"
)


def _lacks_memory(error: Exception, text: str) -> bool:
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError | ImportError | OSError) and any(
        words in text for words in _NO_MEMORY
    )


def _file_of(error: OSError) -> str:
    """Name of the file that an error of the system is about, as far as it says."""
    name = error.filename if error.filename is not None else "standard output"
    return os.fsdecode(name) if isinstance(name, bytes | str) else str(name)


def _raise_terminated(_signum: int, _frame: FrameType | None) -> None:
    raise Terminated


def _code_of(stop: SystemExit) -> int:
    """Exit code of `sys.exit`'s argument; a text is printed as an error."""
    if stop.code is None or isinstance(stop.code, int):
        return stop.code or 0
    print(f"error: {stop.code}", file=sys.stderr)
    return USER_ERROR


# ----------------------------------------------------------------------------------------- options


class Formatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """A help formatter: defaults beside the options that have one, examples left as written."""

    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, **{**options, "max_help_position": 26, "width": 100})

    def _get_help_string(self, action: Action) -> str:
        text = action.help or ""
        if action.required and action.option_strings:
            return f"{text} (required)"
        # The default of a switch that is off, or of an option that may be left out, says nothing.
        has_default = action.option_strings and action.default not in (None, False, SUPPRESS, [])
        return f"{text} (default: %(default)s)" if has_default else text


class Parser(ArgumentParser):
    """A parser whose complaints are the user's mistakes: one line, no usage dump."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the complaint as a `UserError` that names the help to read."""
        parser = getattr(ex, "subcommand_parser", None) or self
        missing = re.search(r"are required: (\w+)\.", str(message))
        if missing:
            parser = _commands(self).get(missing[1], self)
        program = parser.prog.replace(" [options]", "")
        raise UserError(f"{plain_complaint(message, _typed(parser))}; see {program} --help") from ex


def run_verb(
    program: str, verbs: Mapping[str, tuple[str, str]], arguments: Sequence[str] | None = None
) -> int:
    """Run the function that the first word names; its arguments are the flags that follow.

    If it returns a table, that is printed as JSON.

    Args:
        program: What is typed before the verb.
        verbs: Function of each verb as "module:name", imported when chosen, and a line of help.
        arguments: The words to parse; those of the command line if None.

    Returns:
        The exit code; see `run`.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    verb = words.pop(0) if words else ""

    def command() -> None:
        if verb in ("-h", "--help"):
            print(f"usage: {program} VERB [options]\n")
            for name, (_, summary) in verbs.items():
                print(f"  {name:<18}{summary}")
        elif verb in verbs:
            module, _, name = verbs[verb][0].partition(":")
            result = _call(getattr(import_module(module), name), f"{program} {verb}", words)
            if isinstance(result, dict):
                print(json.dumps(result))
        else:
            problem = f"{verb!r}: no verb" if verb else "needed and not given: VERB"
            raise UserError(f"{problem}; there are {', '.join(verbs)}; see {program} --help")

    return run(command)


def _call(function: Callable[..., Any], program: str, words: list[str]) -> Any:
    """Call a function with its arguments read from flags."""
    parameters = inspect.signature(function).parameters
    flags = {name: f"--{name}" for name in parameters}

    @wraps(function)
    def checked(*arguments: Any, **options: Any) -> Any:
        set_by_user = {n: value for n, value in options.items() if value != parameters[n].default}
        refuse_empty(set_by_user, flags)
        return function(*arguments, **options)

    parsers: dict[str, Any] = {"parser_class": Parser, "formatter_class": Formatter}
    with named(flags):
        return auto_cli(checked, args=words, as_positional=False, prog=program, **parsers)


def helps_of(owner: Any) -> dict[str, str]:
    """Help for each argument, in one line, from the docstring of a function or class."""
    text = docstring_parser.parse(inspect.getdoc(owner) or "")
    return {p.arg_name: " ".join((p.description or "").split()) for p in text.params}


def plain_complaint(message: str, typed: Mapping[str, str]) -> str:
    """Translate a complaint of jsonargparse, in Python's types, to the user's words.

    Args:
        message: The complaint.
        typed: What the user types for each argument: a flag, or a word in its place.
    """
    text = " ".join(str(message).split()).rstrip(".")
    missing = re.search(r"are required: (.+)", text)
    if missing:
        names = [part.strip().rpartition(".")[2] for part in missing[1].split(",")]
        return f"needed and not given: {', '.join(typed.get(n, f'--{n}') for n in names)}"
    wrong = re.search(r'Parser key "(?:\w+\.)*(\w+)":.*(?:Given value|Got value): ?(.*)', text)
    if wrong is None:
        key = re.match(r'Parser key "(?:\w+\.)*(\w+)": ', text)
        return f"{typed.get(key[1], f'--{key[1]}')}: {text[key.end() :]}" if key else text
    kinds = re.findall(r"Literal\[([^\]]*)\]|<class '(int|float|bool)'>", text)
    expected = {
        choices.replace("'", "").replace(", ", " or ") or _KINDS[kind] for choices, kind in kinds
    }
    flag = typed.get(wrong[1], f"--{wrong[1]}")
    return f"{flag} {wrong[2]}: give {' or '.join(sorted(expected)) or 'another value'}"


_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false"}


def refuse_empty(options: Mapping[str, Any], flags: Mapping[str, str]) -> None:
    """Refuse empty texts, which would mean the current folder, and texts that cannot be a path.

    Raises:
        UserError: Naming the flag.
    """
    for name, value in options.items():
        for text in value if isinstance(value, list) else [value]:
            if not isinstance(text, str):
                continue
            if not text.strip():
                raise UserError(f"{text!r}: is empty; leave it out or give a value", flags[name])
            if "\0" in text or not _is_encodable(text):
                raise UserError(f"{text!r}: contains what no file name can contain", flags[name])


def _is_encodable(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def shown(parameter: inspect.Parameter) -> tuple[Any, Shown]:
    """A parameter's type, and how its field is shown."""
    if get_origin(parameter.annotation) is not Annotated:
        return parameter.annotation, Shown()
    kind, *more = get_args(parameter.annotation)
    return kind, next((note for note in more if isinstance(note, Shown)), Shown())


def flag_of(parameter: inspect.Parameter) -> str:
    """What the user types for a parameter of a command: a flag, or a word in its place."""
    look = shown(parameter)[1]
    return look.placeholder if look.in_place else f"--{parameter.name.strip('_').replace('_', '-')}"


def add_option(group: Any, parameter: inspect.Parameter, help_text: str) -> None:
    """Add the flag of a parameter, with the parameter's type and default.

    A parameter that is `Shown(in_place=True)` has no flag: `export MODEL --out PATH`. A list takes
    one word or more; where there is none by default, its flag may be given repeatedly.
    """
    kind, look = shown(parameter)
    if look.in_place:
        several = get_origin(kind) is list
        group.add_argument(
            parameter.name, type=get_args(kind)[0] if several else kind,
            metavar=look.placeholder, help=help_text, **({"nargs": "+"} if several else {}),
        )  # fmt: skip
        return
    flag = flag_of(parameter)
    required = parameter.default is inspect.Parameter.empty
    default = None if required else parameter.default
    if kind is not bool:
        several = get_origin(kind) in (list, tuple)
        default = list(default) if several and default is not None else default
        group.add_argument(
            flag, type=get_args(kind)[0] if several else kind, default=default, required=required,
            metavar=look.placeholder or "|".join(_choices(kind)) or None, help=help_text,
            **({"nargs": "+"} if several else {}),
            **({"action": "extend"} if several and default == [] else {}),
        )  # fmt: skip
    elif default:
        action = ActionYesNo(yes_prefix="", no_prefix="no-")
        group.add_argument(flag, action=action, default=True, help=help_text)
    else:
        group.add_argument(flag, action="store_true", help=help_text)


def _choices(annotation: Any) -> list[str]:
    """Return the words that a literal type allows; of a union, those of its parts."""
    if get_origin(annotation) is Literal:
        return [str(word) for word in get_args(annotation)]
    return [word for part in get_args(annotation) for word in _choices(part)]


def _commands(parser: ArgumentParser) -> dict[str, ArgumentParser]:
    """The parsers of a parser's commands, by name."""
    tables = [action.choices for action in parser._actions if isinstance(action.choices, dict)]
    return tables[0] if tables else {}


def _typed(parser: ArgumentParser) -> dict[str, str]:
    """What the user types for each of a parser's arguments."""
    return {
        action.dest: action.option_strings[-1]
        if action.option_strings
        else str(action.metavar or action.dest)
        for action in parser._actions
    }
