"""How a front end shows a request's field: declared with the field, used for flags and pages."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shown:
    """How a field is shown, as in `typing.Annotated[str, Shown("PATH")]`.

    Args:
        placeholder: Placeholder of the value in help, such as "X,Y:X,Y".
        advanced: Whether it is listed after what most people need.
        in_place: Whether it has no flag: `export MODEL`, not `export --model MODEL`.
    """

    placeholder: str = ""
    advanced: bool = False
    in_place: bool = False
