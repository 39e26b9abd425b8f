"""What a front shows of a request's field: written where the field is, used by flags and pages."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shown:
    """How a field looks, as `typing.Annotated[str, Shown("PATH")]`.

    Args:
        placeholder: What stands for the value in a line of help, such as "X,Y:X,Y".
        advanced: Whether it comes after what most people need.
        in_place: Whether it needs no name: `export MODEL`, not `export --model MODEL`.
    """

    placeholder: str = ""
    advanced: bool = False
    in_place: bool = False
