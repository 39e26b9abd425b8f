"""Points, arrows and tracks on pictures, drawn large enough to be seen on a 64 px thumbnail.

Everything here takes and returns uint8 pictures (H, W, 3). Points are (x, y) in pixels of the
picture *before* enlargement, pixel centres at integers. Lines are drawn several times too large and
scaled down, which is the whole of the anti-aliasing.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Point = Sequence[float]
Colour = tuple[int, int, int]
Resample = Literal["nearest", "bicubic"]

HANDLE: Colour = (230, 57, 70)
TARGET: Colour = (44, 123, 229)
TRACK: Colour = (255, 209, 59)
INK: Colour = (24, 26, 32)
PAPER: Colour = (255, 255, 255)
MIN_PANEL_PX = 384
_SUPERSAMPLE = 4
_REACH = 26  # reach of a drawing at a point (a number of two digits), in 256ths of the picture


def rgb(image: np.ndarray) -> np.ndarray:
    """Return a picture (H, W, 1, 3 or 4) as (H, W, 3): grey repeated, transparency on white."""
    if image.shape[2] == 1:
        return np.repeat(image, 3, axis=2)
    if image.shape[2] == 3:
        return image
    alpha = image[..., 3:].astype(np.float32) / 255
    return np.rint(image[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def enlargement(height: int, width: int, at_least_px: int = MIN_PANEL_PX) -> int:
    """Return the smallest whole factor that brings the longer side to `at_least_px`."""
    return max(1, -(-at_least_px // max(height, width)))


def enlarge(image: np.ndarray, factor: int, resample: Resample = "nearest") -> np.ndarray:
    """Scale a picture (H, W, 3) up by a whole factor; "nearest" keeps its pixels visible."""
    if factor == 1:
        return image
    height, width = image.shape[:2]
    how = Image.Resampling.NEAREST if resample == "nearest" else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(image).resize((width * factor, height * factor), how))


class Overlay:
    """A transparent sheet over a picture enlarged by `factor`, drawn on in picture coordinates.

    Stroke widths scale with the picture, so that a sheet looks the same at 384 and at 1024 px.

    Args:
        height: Height of the picture in pixels, before enlargement.
        width: Width of the picture.
        factor: Whole enlargement factor.
        around: Points that everything drawn stays near; the sheet then covers only their
            surroundings, which is much faster. None for the whole picture.
        size: Size of the drawings, relative to what suits a picture as large as this one.
    """

    def __init__(
        self,
        height: int,
        width: int,
        factor: int,
        around: Iterable[Point] | None = None,
        size: float = 1,
    ) -> None:
        shown_px = max(height, width) * factor
        # Beyond 768 px the picture itself is fine-grained enough; four times 1024 is 64 MB a sheet.
        fine = _SUPERSAMPLE if shown_px <= 768 else 2
        self._unit = size * fine * shown_px / 256
        self._scale, self.factor = factor * fine, factor
        self._box = (0, 0, width * factor, height * factor)
        if around is not None:
            self._box = _surroundings(around, factor, round(_REACH * shown_px / 256), self._box)
        left, top, right, bottom = self._box
        self._corner = (left * fine, top * fine)
        sheet_size = (max(1, right - left) * fine, max(1, bottom - top) * fine)
        self._sheet = Image.new("RGBA", sheet_size, (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self._sheet)

    def polyline(self, points: Sequence[Point], colour: Colour = TRACK, width: float = 1.4) -> None:
        """Draw a line through `points`, with a dark edge that keeps it visible on any ground."""
        places = [self._place(point) for point in points]
        if len(places) < 2:
            return
        for ink, extra in ((INK, 1.2), (colour, 0.0)):
            stroke = max(1, round((width + extra) * self._unit))
            self._draw.line(places, fill=(*ink, 255), width=stroke, joint="curve")
            for x, y in (places[0], places[-1]):
                self._disc(x, y, stroke / 2, ink)

    def arrow(self, start: Point, end: Point, colour: Colour = PAPER) -> None:
        """Draw an arrow from `start` to `end` (its tip), with a dark edge."""
        (x0, y0), (x1, y1) = self._place(start), self._place(end)
        length = float(np.hypot(x1 - x0, y1 - y0))
        if length < 1e-6:
            return
        ux, uy = (x1 - x0) / length, (y1 - y0) / length
        # A short arrow is nearly all head, which still shows where it points.
        head = min(8.0 * self._unit, 0.6 * length)
        for ink, edge in ((INK, 0.6 * self._unit), (colour, 0.0)):
            half, tip = 0.42 * head + edge, head + 1.5 * edge
            neck = (x1 - ux * head, y1 - uy * head)
            back = (neck[0] - ux * edge * 0.7, neck[1] - uy * edge * 0.7)
            peak = (back[0] + ux * (tip + edge), back[1] + uy * (tip + edge))
            stroke = max(1, round(2.0 * self._unit * min(1.0, head / (6 * self._unit)) + 2 * edge))
            self._draw.line([(x0, y0), neck], fill=(*ink, 255), width=stroke)
            corners = [
                peak,
                (back[0] - uy * half, back[1] + ux * half),
                (back[0] + uy * half, back[1] - ux * half),
            ]
            self._draw.polygon(corners, fill=(*ink, 255))

    def dot(self, point: Point, colour: Colour = HANDLE, radius: float = 3.4) -> None:
        """Draw a filled disc with a white rim: a handle."""
        x, y = self._place(point)
        for ink, size in ((INK, radius + 1.3), (PAPER, radius + 0.7), (colour, radius - 0.4)):
            self._disc(x, y, size * self._unit, ink)

    def ring(self, point: Point, colour: Colour = TARGET, radius: float = 5.0) -> None:
        """Draw an open circle: a target, through which the picture stays visible."""
        x, y = self._place(point)
        for ink, size, width in ((INK, 1.2, 3.6), (PAPER, 0.7, 2.6), (colour, 0.0, 1.3)):
            outer = (radius + size) * self._unit
            stroke = max(1, round(width * self._unit))
            box = (x - outer, y - outer, x + outer, y + outer)
            self._draw.ellipse(box, outline=(*ink, 255), width=stroke)

    def shade(self, allowed: np.ndarray) -> None:
        """Darken what a mask (H, W), 1 = may change, keeps fixed; the sheet must be whole."""
        fixed = Image.fromarray(np.where(allowed > 0, 0, 120).astype(np.uint8))
        sheet = Image.new("RGBA", self._sheet.size, (*INK, 255))
        sheet.putalpha(fixed.resize(self._sheet.size, Image.Resampling.NEAREST))
        self._sheet.alpha_composite(sheet)

    def number(self, point: Point, text: str) -> None:
        """Write a short label beside a point."""
        x, y = self._place(point)
        font = _font(9 * self._unit)
        self._draw.text(
            (x + 5 * self._unit, y - 5 * self._unit), text, font=font, anchor="lb",
            fill=(*PAPER, 255), stroke_fill=(*INK, 255), stroke_width=round(1.1 * self._unit),
        )  # fmt: skip

    def on(self, image: np.ndarray, resample: Resample = "nearest") -> np.ndarray:
        """Return `image` (height, width, 3) enlarged, with the sheet laid over it."""
        picture = Image.fromarray(enlarge(image, self.factor, resample))
        part = picture.crop(self._box).convert("RGBA")
        part.alpha_composite(self._sheet.resize(part.size, Image.Resampling.BOX))
        picture.paste(part.convert("RGB"), self._box[:2])
        return np.asarray(picture)

    def _place(self, point: Point) -> tuple[float, float]:
        """Return where the centre of a picture's pixel lies on the sheet."""
        x, y = ((float(value) + 0.5) * self._scale - 0.5 for value in point)
        return x - self._corner[0], y - self._corner[1]

    def _disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        box = (x - radius, y - radius, x + radius, y + radius)
        self._draw.ellipse(box, fill=(*colour, 255))


def draw_task(
    image: np.ndarray,
    handles: Sequence[Point],
    targets: Sequence[Point],
    mask: np.ndarray | None = None,
    factor: int | None = None,
    resample: Resample = "bicubic",
) -> np.ndarray:
    """Draw the task: an arrow from every handle to its target.

    Args:
        image: Picture, uint8 (H, W, 3).
        handles: Points (x, y) in pixels.
        targets: Targets of the handles, as many as `handles`.
        mask: Mask (H, W), 1 = may change; the rest is darkened.
        factor: Whole enlargement factor; by default it brings the longer side to 384 px.
        resample: Filter of the enlargement.

    Returns:
        uint8 picture (H * factor, W * factor, 3).
    """
    sheet = _sheet_for(image, factor, [*handles, *targets] if mask is None else None)
    if mask is not None:
        sheet.shade(mask)
    for handle, target in zip(handles, targets, strict=True):
        sheet.arrow(handle, target)
        sheet.dot(handle)
    _number(sheet, handles)
    return sheet.on(image, resample)


def draw_state(
    image: np.ndarray,
    points: Sequence[Point],
    targets: Sequence[Point],
    tracks: Sequence[Sequence[Point]] = (),
    factor: int | None = None,
    resample: Resample = "bicubic",
    size: float = 1,
) -> np.ndarray:
    """Draw the progress: the targets, each point's track, and where it is now.

    Args:
        image: Picture, uint8 (H, W, 3).
        points: Tracked points (x, y) in pixels.
        targets: Their targets.
        tracks: Places of each point so far, first to last.
        factor: Whole enlargement factor; by default it brings the longer side to 384 px.
        resample: Filter of the enlargement.
        size: Size of the drawings, see `Overlay`.

    Returns:
        uint8 picture (H * factor, W * factor, 3).
    """
    around = [*points, *targets, *(p for track in tracks for p in track)]
    sheet = _sheet_for(image, factor, around, size)
    for target in targets:
        sheet.ring(target)
    for track in tracks:
        sheet.polyline(track)
    for point in points:
        sheet.dot(point)
    _number(sheet, points)
    return sheet.on(image, resample)


def side_by_side(
    before: np.ndarray,
    after: np.ndarray,
    handles: Sequence[Point],
    targets: Sequence[Point],
    track: Sequence[Sequence[Point]],
    mask: np.ndarray | None = None,
    resample: Resample = "bicubic",
) -> np.ndarray:
    """Put a drag on one sheet: the task on the left, the result on the right.

    Args:
        before: Picture before the drag, uint8 (H, W, 3).
        after: Picture after it, of the same shape.
        handles: Points (x, y) before the drag.
        targets: Targets of the handles.
        track: All points at every step: `track[step][point]` is (x, y); it may be empty.
        mask: Mask (H, W), 1 = may change.
        resample: Filter of the enlargement.

    Returns:
        uint8 picture of two titled panels.
    """
    paths = list(zip(*track, strict=True)) if track else [[point] for point in handles]
    panels = [
        draw_task(before, handles, targets, mask, resample=resample),
        draw_state(after, [path[-1] for path in paths], targets, paths, resample=resample),
    ]
    return titled(panels, ["before", "after"])


def titled(panels: Sequence[np.ndarray], titles: Sequence[str]) -> np.ndarray:
    """Set pictures of one size side by side on white, each under its title."""
    height, width = panels[0].shape[:2]
    gap, band = max(8, width // 48), max(20, width // 14)
    sheet = Image.new("RGB", (len(panels) * (width + gap) + gap, height + band + gap), color=PAPER)
    font = _font(band * 0.62)
    for index, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        left = gap + index * (width + gap)
        sheet.paste(Image.fromarray(panel), (left, band))
        place = (left + width / 2, band / 2)
        ImageDraw.Draw(sheet).text(place, title, font=font, fill=INK, anchor="mm")
    return np.asarray(sheet)


def _sheet_for(
    image: np.ndarray, factor: int | None, around: Iterable[Point] | None, size: float = 1
) -> Overlay:
    height, width = image.shape[:2]
    return Overlay(height, width, factor or enlargement(height, width), around, size)


def _surroundings(
    points: Iterable[Point], factor: int, reach_px: int, whole: tuple[int, int, int, int]
) -> tuple[int, int, int, int]:
    """Return the box (left, top, right, bottom) of an enlarged picture around its points."""
    places = np.array([(float(x), float(y)) for x, y in points]).reshape(-1, 2)
    if not len(places):
        return (0, 0, 1, 1)
    low = np.floor(places.min(axis=0) * factor).astype(int) - reach_px
    high = np.ceil((places.max(axis=0) + 1) * factor).astype(int) + reach_px
    # At least a pixel, wherever the points are: Pillow has no empty pictures.
    left, top = (min(max(0, int(v)), limit - 1) for v, limit in zip(low, whole[2:], strict=True))
    return (
        left, top,
        max(left + 1, min(whole[2], int(high[0]))), max(top + 1, min(whole[3], int(high[1]))),
    )  # fmt: skip


def _number(sheet: Overlay, points: Sequence[Point]) -> None:
    """Number the points, if there is anything to tell apart."""
    for index, point in enumerate(points if len(points) > 1 else (), start=1):
        sheet.number(point, str(index))


@cache
def _font(size_px: float) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size_px)
