"""A method as a benchmark names it: a preset or a method, with what differs from its settings.

`dragline`, `draggan+tracker=patch`, `small+max_steps=60+stop_distance_px=1`; with a model of its
own before it, `toycars64-diffusion:diffusion`. Needs no torch.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from framework.drag.registry import names
from framework.drag.settings import PRESETS, DragSettings
from framework.errors import UserError


@dataclass(frozen=True)
class MethodSpec:
    """A method in a table.

    Args:
        text: What the user called it; its name in tables. Of its model, the last part of the path.
        settings: The settings of its drags.
        model: The model that it drags; empty for the benchmark's.
    """

    text: str
    settings: DragSettings
    model: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read MODEL:NAME+SETTING=VALUE+…; NAME is a preset, or a method with its defaults.

        MODEL: may be left out.

        Raises:
            UserError: If there is no such preset, method or setting, or a value does not fit.
        """
        head, *changes = text.split("+")
        model, colon, name = head.rpartition(":")
        known = list(dict.fromkeys([*PRESETS, *names("methods")]))
        if name not in known:
            raise UserError(f"{text}: {name!r} is none of {', '.join(known)}", "methods")
        settings = DragSettings.preset(name) if name in PRESETS else DragSettings(method=name)
        try:
            shown = f"{Path(model).name}{colon}{text[len(model) + len(colon) :]}"
            return cls(shown, replace(settings, **dict(map(_change, changes))), model)
        except UserError as error:
            raise UserError(f"{text}: {error}", "methods") from None

    @property
    def of(self) -> str:
        """The name of its model; empty for the benchmark's."""
        return Path(self.model).name


def parse_specs(texts: Sequence[str]) -> list[MethodSpec]:
    """Read several methods, each named once."""
    if repeated := sorted({text for text in texts if list(texts).count(text) > 1}):
        raise UserError(f"{', '.join(repeated)}: named twice", "methods")
    return [MethodSpec.parse(text) for text in texts]


def _change(text: str) -> tuple[str, Any]:
    """A setting's name and value; what is no JSON is a word."""
    name, equals, value = text.partition("=")
    settings = [field.name for field in fields(DragSettings)]
    if not equals:
        raise UserError(f"{text!r}: expected SETTING=VALUE")
    if name not in settings:
        raise UserError(f"no setting {name!r}; there are {', '.join(settings)}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
