"""Forms of the page, described from the types of the settings: names, kinds, choices, help."""

from dataclasses import asdict, dataclass, fields
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from framework.command_line import helps_of
from framework.drag.registry import names
from framework.drag.settings import PRESETS, DragSettings

Kind = Literal["int", "float", "str", "bool"]
PATHS = {"tracker_weights"}  # settings that name files: no page sets these
_REGISTERED = {"method": "methods", "tracker": "trackers"}


@dataclass(frozen=True)
class Field:
    """One input of a form.

    Args:
        name: Name of the setting.
        kind: Kind of its value.
        optional: Whether it may be left empty.
        choices: The values that there are; empty for any.
        help: What it means.
    """

    name: str
    kind: Kind
    optional: bool
    choices: list[str]
    help: str


def settings_form() -> list[dict[str, Any]]:
    """Return the fields of `DragSettings` that a page may set, ready for JSON."""
    types, helps = get_type_hints(DragSettings), helps_of(DragSettings)
    shown = [f.name for f in fields(DragSettings) if f.name not in PATHS]
    return [asdict(_field(name, types[name], helps[name])) for name in shown]


def presets() -> list[str]:
    """Return the names of the presets; auto goes by the picture's size."""
    return ["auto", *PRESETS]


def _field(name: str, kind: Any, help_text: str) -> Field:
    parts = [part for part in get_args(kind) if part is not NoneType]
    optional = NoneType in get_args(kind)
    if get_origin(kind) is Literal:
        return Field(name, "str", False, [*get_args(kind)], help_text)
    plain = parts[0] if optional else kind
    choices = [*names(_REGISTERED[name])] if name in _REGISTERED else []  # type: ignore[arg-type]
    return Field(name, plain.__name__, optional, choices, help_text)
