"""What of a photograph a model sees, as flags say it."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from framework.cli.invert_settings import Crop, parse_box
from framework.errors import UserError, blame

if TYPE_CHECKING:
    from framework.compositing.aligned import Point
    from framework.compositing.geometry import Geometry

_MOST_OUTSIDE = 0.5  # of the model's picture; beyond it there is little to invert


@dataclass(frozen=True)
class Framing:
    """How a photograph lies on the model's picture; None is nothing said.

    Args:
        crop: How it gets the picture's shape.
        box: Part of it, "left,top,right,bottom" in its pixels, upright.
        rotate: Degrees by which it is turned counter-clockwise.
        align: Two of its points, "x,y:x,y".
        align_to: Where these lie on the model's picture, "x,y:x,y".
    """

    crop: Crop | None = None
    box: str | None = None
    rotate: float | None = None
    align: str | None = None
    align_to: str | None = None

    def check(self) -> None:
        """Refuse what does not need a photograph to be seen as wrong.

        Raises:
            UserError: Naming the flag.
        """
        parse_box(self.box)
        for flag, pair in (("--align", self.align), ("--align-to", self.align_to)):
            _parse_pair(flag, pair)
        if self.rotate is not None and not abs(self.rotate) <= 360:
            raise UserError(f"--rotate {self.rotate:g}: give degrees from -360 to 360")
        if self.align is None and self.align_to is not None:
            raise UserError(f"--align-to {self.align_to}: say with --align which points go there")
        for name in ("crop", "box", "rotate") if self.align is not None else ():
            if getattr(self, name) is not None:
                raise UserError(
                    f"--align and --{name}: two points say all of size, place and turn; give one"
                )

    def geometry(
        self, photo_size: tuple[int, int], canvas_size: tuple[int, int]
    ) -> "tuple[Geometry, list[str]]":
        """Lay a photograph of this size on a picture of that size.

        Returns:
            The geometry, and notes about what of the picture is no photograph.

        Raises:
            UserError: If the flags do not fit the photograph, or most of the picture is outside.
        """
        from dataclasses import replace

        from framework.compositing.aligned import at_border
        from framework.compositing.geometry import fit_geometry

        self.check()
        if self.align is not None:
            geometry = self._aligned(photo_size, canvas_size)
        else:
            geometry = fit_geometry(
                photo_size, canvas_size, self.crop or "center", parse_box(self.box),
                rotate_deg=self.rotate or 0,
            )  # fmt: skip
        # The borders of "pad" are white by intent, and so is what else is missing there.
        if self.crop == "pad":
            geometry = replace(geometry, fill="colour")
        else:
            geometry = at_border(replace(geometry, fill="mirror"))
        return geometry, self._checked_outside(geometry)

    def _aligned(self, photo_size: tuple[int, int], canvas_size: tuple[int, int]) -> "Geometry":
        from framework.compositing.aligned import align_geometry

        points = _parse_pair("--align", self.align)
        assert points is not None
        with blame("--align", self.align or ""):
            return align_geometry(
                photo_size, canvas_size, points, _parse_pair("--align-to", self.align_to)
            )

    def _checked_outside(self, geometry: "Geometry") -> list[str]:
        """Say how much of the model's picture the photograph does not fill."""
        outside = self._outside(geometry)
        if outside <= 0:
            return []
        share = f"{math.ceil(100 * outside)} % of the model's picture"
        if outside > _MOST_OUTSIDE:
            raise UserError(
                f"{self._words()}: the photograph leaves {share} empty, more than half; give a part"
                " that lies within it"
            )
        how = "white" if geometry.fill == "colour" else "the photograph mirrored"
        return [f"{share} lies outside the photograph: filled with {how}, not counted"]

    def _outside(self, geometry: "Geometry") -> float:
        height, width = geometry.canvas_size
        left, top, right, bottom = geometry.valid_box
        whole = height * width
        corners = parse_box(self.box)
        if self.crop == "pad":
            if corners is None:
                return 0.0
            wide, high = corners[2] - corners[0], corners[3] - corners[1]
            scale = min(width / wide, height / high)
            whole = max(1, round(wide * scale)) * max(1, round(high * scale))
        return 1 - (right - left) * (bottom - top) / whole

    def _words(self) -> str:
        """The flags that were given, as they were."""
        given = {"box": self.box, "rotate": self.rotate, "align": self.align}
        words = [f"--{name} {value}" for name, value in given.items() if value is not None]
        return " ".join(words) or f"--crop {self.crop or 'center'}"


def _parse_pair(flag: str, text: str | None) -> "tuple[Point, Point] | None":
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
            f'{flag} {text!r}: give two points "x,y:x,y", such as 120,300:420,260'
        ) from None
    return (x, y), (other_x, other_y)
