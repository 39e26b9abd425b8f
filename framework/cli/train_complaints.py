"""What the parser of `train.py` complains about, in one line and in the user's words."""

import re
from argparse import ArgumentError

from framework.cli.train_parser import SETTINGS, TRAINABLE, flags
from framework.errors import UserError

_DENIED = re.compile(r"Importing '([^']*)' is not allowed")
_CLASS = re.compile(r".*Problem with given class_path '([^']*)': (.*)")
_SETTING = re.compile(
    r"Parser key \"([\w.]+)\": (.*)|Option '([\w.]+)' is not|unrecognized arguments: --([\w.]+)"
)
_HELP = "`python train.py fit --help` lists what there is"
_UNION = re.compile(r"Does not validate against any .*? Errors: - (.*?) - Expected a .*")
_WRONG_TYPE = re.compile(
    r"(?:Expected an? (?P<one>.*?)\. Got value: "
    r"|Does not validate against any .*?Subtypes: \[(?P<several>.*?)\] Errors: .* Given value: )"
    r"(?P<value>.*)"
)
_TYPE = re.compile(
    r"typing\.Literal\[(?P<words>[^\]]*)\]"
    r"|<class '(?P<plain>float|int|bool|str|NoneType)'>"
    r"|(?:list|tuple)\[(?P<items>(float|int)(?:, \4)*)\]"
)
_PLAIN = {
    "float": "a number", "int": "a whole number", "bool": "true or false", "str": "a text",
    "NoneType": "null",
}  # fmt: skip


def mistake(error: BaseException) -> UserError | None:
    """Return the user's mistake behind an error of the parser, in one line; None if it is none."""
    text = " ".join(str(error).split())
    key = re.match(r'Parser key "([\w.]+)": ', text)
    flag = f"--{key[1]}: " if key else ""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError):
            cause.rename(flags())
            return cause if "--" in str(cause) else UserError(f"{flag}{cause}")
        cause = cause.__cause__
    if not isinstance(error, ArgumentError | ImportError | TypeError | ValueError):
        return None
    if wrong := _wrong_type(error):
        return wrong
    if denied := _DENIED.search(text):
        return _not_nameable(flag or "settings: ", denied[1])
    if key is not None:
        text = text.removeprefix(key[0])
    # Of the reasons why no type of a union fits, the first is of the intended type; but missing
    # settings of a class come only after all that a class may be.
    text = _UNION.sub(r"\1", text)
    if flag == "--model: " and (module := _CLASS.match(text)):
        return UserError(f"{_of_model(module[1], module[2])[:280]}; {_HELP}")
    text = _CLASS.sub(r"\1: \2", text)
    return UserError(f"{flag}{text[:280]}; {_HELP}")


def _wrong_type(error: BaseException) -> UserError | None:
    """Return the complaint about a value of the wrong type in the user's words.

    The parser's errors go from the outermost setting to the innermost, each the cause of the one
    before; what is said right below the last name is about the value as the user typed it.
    """
    path: list[str] = []
    complaint = None
    cause: BaseException | None = error
    while cause is not None:
        text = " ".join(str(cause).split())
        if key := re.match(r'Parser key "([\w.]+)":', text):
            path += [key[1]] if key[1] not in path[-1:] else []
            complaint = None
        else:
            complaint = complaint or _WRONG_TYPE.fullmatch(text)
        cause = cause.__cause__
    expected = complaint and _in_words(complaint["one"] or complaint["several"])
    if not complaint or not expected or not path:
        return None
    value = "null" if complaint["value"] == "None" else complaint["value"][:80]
    return UserError(f"--{'.'.join(path)} {value}: expected {expected}")


def _in_words(types: str) -> str | None:
    """Return Python's types as people call them; None if one of them has no such name."""
    if _TYPE.sub("", types).strip(", "):
        return None
    names = [name for kind in _TYPE.finditer(types) for name in _names(kind)]
    *others, last = dict.fromkeys(names)
    return f"{', '.join(others)} or {last}" if others else last


def _names(kind: re.Match[str]) -> list[str]:
    if kind["words"]:
        return [word.strip("' ") for word in kind["words"].split(",")]
    if kind["plain"]:
        return [_PLAIN[kind["plain"]]]
    kinds = kind["items"].split(", ")
    count = f"{len(kinds)} " if kind[0].startswith("tuple") else ""
    return [f"a list of {count}{_PLAIN[kinds[0]].removeprefix('a ')}s"]


def _of_model(class_path: str, complaint: str) -> str:
    """Describe what is wrong with a training module's settings, by the flag of the setting."""
    name = class_path.rpartition(".")[2]
    match, settings = _SETTING.match(complaint), SETTINGS.get(name)
    if match is None or settings is None:
        return f"--model: {class_path}: {complaint}"
    if match[1]:
        return f"--model.{match[1]}: {match[2]}"
    setting = match[3] or match[4]
    if setting in settings.groups():
        return f"--model.{setting}: is {settings.flag(setting)} now"
    return f"--model.{setting}: {name} has no such setting"


def _not_nameable(flag: str, name: str) -> UserError:
    what = "settings name no classes but those that SECURITY.md lists"
    if flag.startswith("--model"):
        what = f"only {', '.join(TRAINABLE)} can be trained"
    return UserError(f"{flag}{name[:200]} is not imported; {what}")
