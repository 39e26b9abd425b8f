"""What of a photograph a model sees, as a person says it. Needs no torch."""

import math
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from framework.errors import UserError
from framework.fields import Shown

Crop = Literal["center", "pad", "stretch"]
Pair = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Framing:
    """How a photograph lies on the model's picture; None is nothing said.

    Args:
        crop: How a photograph gets the shape of the model's pictures: center (the default) cuts
            the largest part in the middle, pad keeps everything and leaves borders that do not
            count, stretch ignores proportions.
        box: Part of a photograph to use, "left,top,right,bottom" in its pixels, upright.
        rotate: Degrees by which a photograph is turned counter-clockwise, so that what leans
            clockwise stands upright; negative turns the other way.
        align: Two points of a photograph, "x,y:x,y", such as eyes or wheels: it is turned, scaled
            and moved until they lie where `align_to` says. In place of crop, box and rotate.
        align_to: Two points "x,y:x,y" of the model's picture; by default level in the middle, at a
            quarter and three quarters of the width.
    """

    crop: Crop | None = None
    box: Annotated[str | None, Shown("L,T,R,B")] = None
    rotate: Annotated[float | None, Shown("DEGREES")] = None
    align: Annotated[str | None, Shown("X,Y:X,Y")] = None
    align_to: Annotated[str | None, Shown("X,Y:X,Y")] = None

    def __post_init__(self) -> None:
        """Refuse what does not need a photograph to be seen as wrong.

        Raises:
            UserError: Naming the field.
        """
        _ = self.corners, self.aligned, self.aligned_to
        if self.rotate is not None and not abs(self.rotate) <= 360:
            raise UserError(f"{self.rotate:g}: give degrees from -360 to 360", "rotate")
        if self.align is None and self.align_to is not None:
            raise UserError(f"{self.align_to}: say with `align` which points go there", "align_to")
        for name in ("crop", "box", "rotate") if self.align is not None else ():
            if getattr(self, name) is not None:
                raise UserError(
                    f"`align` and `{name}`: two points say all of size, place and turn; give one"
                )

    @property
    def corners(self) -> tuple[float, float, float, float] | None:
        """Left, top, right and bottom of the box in the photograph's pixels."""
        if self.box is None:
            return None
        try:
            left, top, right, bottom = (float(number) for number in self.box.split(","))
        except ValueError:
            raise UserError(
                f"{self.box!r}: give left,top,right,bottom in photo pixels, such as 120,40,620,540",
                "box",
            ) from None
        return left, top, right, bottom

    @property
    def aligned(self) -> Pair | None:
        """The two points of the photograph."""
        return _pair("align", self.align)

    @property
    def aligned_to(self) -> Pair | None:
        """Where they go on the model's picture."""
        return _pair("align_to", self.align_to)


FRAMING = tuple(field.name for field in fields(Framing))


def _pair(field: str, text: str | None) -> Pair | None:
    """Read "x,y:x,y"."""
    if text is None:
        return None
    try:
        (x, y), (other_x, other_y) = (
            [float(number) for number in point.split(",")] for point in text.split(":")
        )
        if not all(map(math.isfinite, (x, y, other_x, other_y))):
            raise ValueError
    except ValueError:
        raise UserError(
            f'{text!r}: give two points "x,y:x,y", such as 120,300:420,260', field
        ) from None
    return (x, y), (other_x, other_y)
