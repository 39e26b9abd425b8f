"""The base of every algorithm's settings. Does not need torch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, ClassVar, Self, TypeGuard

from framework.errors import UserError

MOST_STEPS = 1_000_000  # more would never end
MOST = 2**63 - 1  # counts and sizes are 64-bit integers in the libraries below


def plain(value: Any) -> Any:
    """Convert scalars of NumPy and torch to Python's; anything else is passed through unchanged."""
    return value.tolist() if getattr(value, "shape", None) == () else value


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a plain value is a finite number; True and False are not."""
    # An int that is too large for a float is too large for every use of a number here.
    if type(value) is int:
        return abs(value) <= MOST
    return isinstance(value, float) and math.isfinite(value)


def whole(value: Any, name: str, least: int = 0, most: int = MOST) -> int:
    """Check a whole number and return it as Python's int.

    Raises:
        UserError: Naming `name`, if it is not a whole number from `least` to `most`.
    """
    number = plain(value)
    if not is_number(number) or type(number) is not int or not least <= number <= most:
        upto = "" if most == MOST else f" and at most {most}"
        raise UserError(f"{value!r}: expected a whole number of at least {least}{upto}", name)
    return number


class Settings:
    """Base of frozen dataclasses of settings: to and from files, and checks of their values.

    A value may be None where its type allows it. Scalars of NumPy and torch become Python's before
    they are checked.
    """

    source: ClassVar[str] = "settings"  # what errors call values that are not from a file
    group: ClassVar[str] = ""  # name of these settings within others; part of a field's name
    largest: ClassVar[float] = math.inf  # upper limit of all numbers

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str | None = None) -> Self:
        """Read settings from the content of a YAML or JSON file.

        Args:
            values: Values by name; settings that are left out keep their defaults.
            where: What errors call the source, for example the file's path.

        Raises:
            UserError: If a name is unknown or a value does not fit.
        """
        where = where or cls.source
        if not isinstance(values, Mapping):
            raise UserError(f"{where}: expected settings by name, got {type(values).__name__}")
        names = [f.name for f in fields(cls)]  # type: ignore[arg-type]
        for name in values:
            if name not in names:
                raise UserError(f"{where}: no setting {name!r}; there are {', '.join(names)}")
        try:
            return cls(**values)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """All settings by name, ready for JSON; `from_dict` reads them back."""
        return asdict(self)  # type: ignore[call-overload]

    def _number(
        self, *names: str, above_zero: bool = False, most: float | None = None, below: float = 0
    ) -> None:
        """Check numbers, one by one where a tuple or list is allowed."""
        most = self.largest if most is None else most
        expected = "a number above 0" if above_zero else "a number of at least 0"
        expected += f" and below {below:g}" if below else f" and at most {most:,}" * (most < MOST)
        for name in names:
            value = self._plain(name)
            kind = self._type(name)
            if value is None and "None" in kind:
                continue
            several = "tuple" in kind or "list" in kind
            for one in value if several and isinstance(value, list | tuple) else [value]:
                fits = is_number(one) and 0 <= one <= most and not (below and one >= below)
                if not fits or (one == 0 and above_zero):
                    hint = "; write 0.002, not 2e-3" if isinstance(value, str) else ""
                    raise self._error(name, f"{expected}{hint}")

    def _whole(self, *names: str, least: int = 0, most: int | None = None) -> None:
        most = int(min(self.largest, MOST)) if most is None else most
        for name in names:
            value = self._plain(name)
            if value is not None or "None" not in self._type(name):
                whole(value, self._name(name), least, most)

    def _choice(self, name: str, choices: Sequence[str]) -> None:
        value = self._plain(name)
        if not isinstance(value, str) or value not in choices:
            raise self._error(name, f"one of {', '.join(choices)}")

    def _error(self, name: str, expected: str) -> UserError:
        return UserError(f"{getattr(self, name)!r}: expected {expected}", self._name(name))

    def _name(self, name: str) -> str:
        return f"{self.group}.{name}" if self.group else name

    def _type(self, name: str) -> str:
        return next(str(f.type) for f in fields(self) if f.name == name)  # type: ignore[arg-type]

    def _nested(self, name: str, kind: type["Settings"], or_else: str = "") -> None:
        """Convert nested settings from a mapping; None is allowed if errors offer `or_else`."""
        value = getattr(self, name)
        if isinstance(value, Mapping):
            object.__setattr__(self, name, kind.from_dict(value, name))
        elif not isinstance(value, kind) and not (value is None and or_else):
            raise UserError(f"{value!r}: expected its settings by name{or_else}", name)

    def _plain(self, name: str) -> Any:
        """Replace a setting by its plain value, and return that."""
        value = plain(getattr(self, name))
        object.__setattr__(self, name, value)
        return value
