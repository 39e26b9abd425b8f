"""The colours of a photograph in words: of what stands in its middle, and of what is around it.

Colours are compared in OKLab (Ottosson 2020): like CIELAB it has a lightness and two axes of
opponent colours, but a blue keeps its hue where it is paler, which in CIELAB turns to purple. The
words are the eleven basic ones (Berlin and Kay 1969). Where one ends and the next begins is a
choice; it was made on the named colours of CSS.
"""

from typing import NamedTuple

import numpy as np

WORDS = (
    "black", "grey", "white", "red", "orange", "brown", "yellow", "green", "blue", "purple", "pink",
)  # fmt: skip
PLAIN = "plain"
SHADES = ("dark", PLAIN, "pale")

# From linear sRGB to the responses of the eye's cones, and from their cube roots to OKLab.
_CONES = np.array([
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
])  # fmt: skip
_OPPONENTS = np.array([
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
])  # fmt: skip
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # of linear sRGB, ITU-R BT.709

_GREY = 0.05  # saturation, chroma by lightness, up to which a colour is none; pure red has 0.41
_BLACK, _WHITE = 0.40, 0.84  # lightness of greys that are called so
_BLACK_CHROMA = 0.04  # of black: in the dark less of a colour is seen
# Hue in degrees at which each word begins; what lies before the first is the last.
_HUES = {"red": 12, "orange": 37, "yellow": 85, "green": 118, "blue": 190, "purple": 287,
         "pink": 338}  # fmt: skip
_LIGHT_RED, _DARK_PINK, _OLIVE = 0.71, 0.5, 0.65  # lightness where red is pink, pink red, …
_BROWN, _BROWN_CHROMA = 0.62, 0.1  # an orange that is dark or dull
_DARK_GREY, _PALE_GREY = 0.5, 0.72
_DARK, _PALE, _PALE_CHROMA = 0.45, 0.72, 0.165

_MIDDLE = 0.75  # diameters of the ellipse that is taken for the thing, in sides of the picture
_RIM = 8  # the share of the sides at each edge that is taken for the background: an eighth
_NEAR = 0.1  # distance to the background's colour, in OKLab, of pixels that look like it
_NEAR_COUNTS = 0.2  # what such a pixel counts, where others count 1
_LIT = 0.5  # share of the thing that is looked at, the lightest
_ENOUGH = 0.25  # share of that with which a word wins over grey
_TINT = 0.06  # saturation of a background that is taken for grey under tinted light


class Seen(NamedTuple):
    """What a photograph shows, in words of `WORDS` and `SHADES`.

    Attributes:
        colour: Colour of what stands in the middle.
        shade: Its shade; `PLAIN` for black and white.
        background: Colour of what is around it.
        background_shade: Its shade.
        lightness: Mean lightness of the whole picture, 0 (black) to 1 (white).
    """

    colour: str
    shade: str
    background: str
    background_shade: str
    lightness: float


def seen(pixels: np.ndarray) -> Seen:
    """Read the colours of a photograph that has one thing in its middle.

    The thing is the ellipse of three quarters of the sides about the centre, the background the
    outer eighth at each edge, by its median. If that is nearly grey, it is taken for grey in tinted
    light, and the thing is seen as under white light. Pixels of the ellipse that look like the
    background count a fifth. Of the others the lighter half is looked at: shadows, glass and tyres
    say nothing of a thing's colour. Each pixel votes for its word (`named`). Grey, which gloss and
    shade make of any colour, wins only where no other word has a quarter.

    Args:
        pixels: uint8 (H, W, 3), sRGB, 8 px or more a side. Reduce large pictures to some 64 px by
            areas first: single pixels are noise.
    """
    linear = _linear(pixels)
    around = np.median(linear[_rim(*pixels.shape[:2])], axis=0)
    ground, lightness = _oklab(around), _oklab(linear)[..., 0].mean()
    background = str(named(ground))
    background_shade = shade(background, ground)
    if _chroma(ground) < _TINT * ground[0]:
        light = around @ _LUMINANCE
        linear, ground = linear * (light / around), _oklab(np.full(3, light))
    thing = _oklab(linear[_middle(*pixels.shape[:2])])
    weights = np.where(np.linalg.norm(thing - ground, axis=1) < _NEAR, _NEAR_COUNTS, 1.0)
    lit = _lightest(thing[:, 0], weights, _LIT)
    thing, weights, words = thing[lit], weights[lit], named(thing[lit])
    votes = {word: weights[words == word].sum() / weights.sum() for word in WORDS}
    strongest = max((word for word in WORDS if word != "grey"), key=votes.__getitem__)
    colour = strongest if votes[strongest] >= _ENOUGH else max(votes, key=votes.__getitem__)
    typical = np.median(thing[words == colour], axis=0)
    return Seen(colour, shade(colour, typical), background, background_shade, float(lightness))


def oklab(pixels: np.ndarray) -> np.ndarray:
    """Return colours, uint8 sRGB (..., 3), in OKLab: lightness 0 to 1, green-red, blue-yellow.

    float64 (..., 3). Ottosson 2020, "A perceptual color space for image processing".
    """
    return _oklab(_linear(pixels))


def named(colours: np.ndarray) -> np.ndarray:
    """Return the word of each colour in OKLab (..., 3), one of `WORDS`; an array (...)."""
    light, chroma = colours[..., 0], _chroma(colours)
    hue = np.degrees(np.arctan2(colours[..., 2], colours[..., 1])) % 360
    place = np.searchsorted(list(_HUES.values()), hue, side="right") - 1
    word = np.array([*_HUES])[place]
    brown = (word == "orange") & ((light < _BROWN) | (chroma < _BROWN_CHROMA))
    grey = (chroma < _GREY * light) | ((light < _BLACK) & (chroma < _BLACK_CHROMA))
    return np.select(
        [grey & (light < _BLACK), grey & (light > _WHITE), grey,
         (word == "red") & (light > _LIGHT_RED), (word == "pink") & (light < _DARK_PINK),
         (word == "yellow") & (light < _OLIVE), brown],
        ["black", "white", "grey", "pink", "red", "green", "brown"],
        word,
    )  # fmt: skip


def shade(word: str, colour: np.ndarray) -> str:
    """Return the shade of a colour in OKLab (3,) that is called `word`, one of `SHADES`."""
    light = colour[0]
    if word in ("black", "white"):
        return PLAIN
    if word == "grey":
        return "dark" if light < _DARK_GREY else "pale" if light > _PALE_GREY else PLAIN
    is_pale = light > _PALE and _chroma(colour) < _PALE_CHROMA
    return "dark" if light < _DARK else "pale" if is_pale else PLAIN


def _linear(pixels: np.ndarray) -> np.ndarray:
    """Light of sRGB levels, 0 to 1 (IEC 61966-2-1)."""
    level = pixels / 255.0
    return np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)


def _oklab(linear: np.ndarray) -> np.ndarray:
    return np.cbrt(linear @ _CONES.T) @ _OPPONENTS.T


def _chroma(colours: np.ndarray) -> np.ndarray:
    return np.hypot(colours[..., 1], colours[..., 2])


def _lightest(light: np.ndarray, weights: np.ndarray, share: float) -> np.ndarray:
    """Return the numbers of the lightest pixels (N,) that have this share of all weights."""
    order = np.argsort(-light, kind="stable")
    total = np.cumsum(weights[order])
    return order[: 1 + np.searchsorted(total, share * total[-1])]


def _rim(height: int, width: int) -> np.ndarray:
    """Where the background is taken from, bool (H, W)."""
    rim = np.ones((height, width), bool)
    rim[height // _RIM : height - height // _RIM, width // _RIM : width - width // _RIM] = False
    return rim


def _middle(height: int, width: int) -> np.ndarray:
    """Where the thing is looked for, bool (H, W)."""
    y, x = (np.arange(side) + 0.5 for side in (height, width))
    return np.hypot(y[:, None] / height - 0.5, x / width - 0.5) < _MIDDLE / 2
