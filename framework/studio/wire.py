"""Messages as text: JSON objects `{"type": "SetMask", ...}`, with the fields of their class.

What a page sends is read strictly: nothing missing, nothing more, and of the types declared.
"""

import json
import math
from dataclasses import MISSING, asdict, fields
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from framework.studio.messages import BadMessage, Command, Event

MAX_TEXT = 200  # characters of a name or a choice
MAX_LIST = 256
COMMANDS: dict[str, type] = {kind.__name__: kind for kind in get_args(Command)}
EVENTS: dict[str, type] = {kind.__name__: kind for kind in get_args(Event)}


def to_text(event: Event) -> str:
    """Return an event as the text of a message: strict JSON, without NaN."""
    return json.dumps({"type": type(event).__name__, **asdict(event)}, allow_nan=False)


def read_command(text: str) -> Command:
    """Read a message of a page.

    Raises:
        BadMessage: If it is no JSON object, or not exactly one of the commands.
    """
    values = _read_object(text)
    name = values.pop("type", None)
    kind = COMMANDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise BadMessage(f"no message of this kind; there are {', '.join(COMMANDS)}")
    known = {f.name: f for f in fields(kind)}
    unknown = [key for key in values if key not in known]
    missing = [
        key
        for key, f in known.items()
        if key not in values and f.default is MISSING and f.default_factory is MISSING
    ]
    if unknown or missing:
        raise BadMessage(f"{name}: wrong fields; it has {', '.join(known) or 'none'}")
    types = get_type_hints(kind)
    return kind(
        **{
            key: _checked(value, types[key], f"{name}.{key}", known[key].metadata.get("most"))
            for key, value in values.items()
        }
    )


def describe() -> dict[str, dict[str, list[str]]]:
    """Return the names of all messages and their fields, from which the page makes its own."""
    return {
        side: {name: [f.name for f in fields(kind)] for name, kind in kinds.items()}
        for side, kinds in (("commands", COMMANDS), ("events", EVENTS))
    }


def _read_object(text: str) -> dict[str, Any]:
    """Read strict JSON: no NaN, no infinity, no key twice."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a key twice")
        return dict(pairs)

    try:
        values = json.loads(text, parse_constant=refuse, object_pairs_hook=once)
    except (ValueError, RecursionError):
        raise BadMessage("a message is a JSON object") from None
    if not isinstance(values, dict):
        raise BadMessage("a message is a JSON object")
    return values


def _checked(value: Any, kind: Any, where: str, most: int | None = None) -> Any:
    """Return a value of JSON as its type says, and nothing else: True is no number."""
    if _fits(value, kind, most or MAX_TEXT):
        if get_origin(kind) is tuple:
            return tuple(one(part) for one, part in zip(get_args(kind), value, strict=True))
        return value
    raise BadMessage(f"{where}: not what is expected there")


def _fits(value: Any, kind: Any, most: int) -> bool:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(_fits(value, one, most) for one in arguments)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin is tuple:
        fits = isinstance(value, list) and len(value) == len(arguments)
        return fits and all(map(_fits, value, arguments, [most] * len(arguments)))
    if origin is dict:
        return (
            isinstance(value, dict)
            and len(value) <= MAX_LIST
            and all(
                _fits(key, str, most) and _fits(v, arguments[1], most) for key, v in value.items()
            )
        )
    if kind is float:
        return type(value) in (int, float) and abs(value) < 2**63 and math.isfinite(value)
    if kind is int:
        return type(value) is int and abs(value) < 2**63
    if kind is str:
        return isinstance(value, str) and len(value) <= most
    return (kind is NoneType and value is None) or (kind is bool and isinstance(value, bool))
