"""Captions of toy cars as people vary them: which traits are named, in which order and words.

The sentence of `toycars_parameters.describe` always names the same. Here each caption names some of
a car's traits, as the ten captions of Multi-Modal CelebA-HQ do (Xia et al. 2021, 4.1): a text
encoder has to learn what a text leaves open.
"""

from collections.abc import Callable
from dataclasses import dataclass

from framework.data.toycars_bodies import BODY_TYPES
from framework.data.toycars_lots import Lots
from framework.data.toycars_parameters import (
    BACKDROPS,
    COLORS,
    RIM_STYLES,
    SECOND_COLORS,
    SKIES,
    CarParameters,
)  # fmt: skip

# The lower and the upper quarter of all cars, in scene units as they are drawn.
_WHEELS, _HEIGHT, _LENGTH = (0.0975, 0.1057), (0.3727, 0.4057), (0.7407, 0.7904)
_PLAIN = {"medium", "none", "no", "plain"}
_YES_NO = ("no", "yes")

TRAITS: dict[str, tuple[str, ...]] = {
    "colour": tuple(COLORS),
    "body": tuple(BODY_TYPES),
    "facing": ("left", "right"),
    "sky": tuple(SKIES),
    "backdrop": BACKDROPS,
    "wheels": ("small", "medium", "big"),
    "height": ("low", "medium", "tall"),
    "length": ("short", "medium", "long"),
    "two-tone": ("none", "roof", "lower"),
    "second colour": ("none", *SECOND_COLORS),
    "bumpers": ("plain", "dark"),
    "tyres": ("plain", "white-wall"),
    "rims": RIM_STYLES,
    "roof rack": _YES_NO,
    "spoiler": _YES_NO,
    "antenna": _YES_NO,
}
"""What may be named of a car, and all values of each."""

_OFTEN = {
    "colour": 0.9, "body": 0.75, "sky": 0.6, "facing": 0.6, "wheels": 0.6, "height": 0.6,
    "two-tone": 0.7, "tyres": 0.6,
}  # fmt: skip
_SELDOM = 0.4

_FACING = ("facing {}", "that faces {}", "looking {}", "pointing {}", "turned to the {}")
_BEHIND = ("in front of {}", "before {}", "with {} behind it")
_ABOVE = ("under a {} sky", "beneath a {} sky", "with a {} sky above")
_PLACES = {
    "hills": ("hills", "green hills"),
    "mountains": ("mountains", "a mountain range"),
    "skyline": ("a skyline", "a city skyline"),
    "trees": ("trees", "a row of trees"),
}
_SIZES = {
    "small": ("small", "little"), "big": ("big", "large"), "low": ("low", "flat"),
    "tall": ("tall", "high"), "short": ("short",), "long": ("long",),
}  # fmt: skip
_EXTRAS = {
    "roof rack": ("a roof rack", "a rack on its roof"),
    "spoiler": ("a spoiler", "a rear spoiler"),
    "antenna": ("an antenna", "an aerial"),
}


@dataclass(frozen=True)
class Caption:
    """A caption and what it names.

    Attributes:
        text: A noun phrase, in small letters without a full stop.
        named: The values that it names, by trait: some of `TRAITS`.
    """

    text: str
    named: dict[str, str]


def traits(p: CarParameters) -> dict[str, str]:
    """Return the value of every one of `TRAITS`."""
    return {
        "colour": p.color_name,
        "body": p.body_type,
        "facing": p.facing,
        "sky": p.scene.sky,
        "backdrop": p.scene.backdrop,
        "wheels": _third("wheels", p.body.wheel_radius * p.scale, _WHEELS),
        "height": _third("height", p.body.roof_height * p.scale, _HEIGHT),
        "length": _third("length", p.body.length * p.scale, _LENGTH),
        "two-tone": p.two_tone,
        "second colour": "none" if p.two_tone == "none" else p.second_color_name,
        "bumpers": "dark" if p.dark_bumpers else "plain",
        "tyres": "white-wall" if p.white_walls else "plain",
        "rims": p.rim_style,
        "roof rack": _YES_NO[p.roof_rack],
        "spoiler": _YES_NO[p.spoiler],
        "antenna": _YES_NO[p.antenna],
    }


def captions(p: CarParameters, seed: int, index: int, count: int) -> list[Caption]:
    """Return captions of car `index` of the set `seed`, the same on every machine.

    Args:
        p: The car.
        seed: Seed of its set.
        index: Its number there.
        count: How many captions; the first ones of a larger count are the same.
    """
    lots, values = Lots(seed, index, "toycars-captions"), traits(p)
    return [_caption(values, lots) for _ in range(count)]


def full_caption(p: CarParameters) -> Caption:
    """Return the caption that names every trait that can be named, in the plainest words."""
    values = traits(p)
    named = {name: value for name, value in values.items() if value not in _PLAIN}
    return Caption(_sentence(named, lambda options: options[0], list), named)


def _third(trait: str, value: float, ends: tuple[float, float]) -> str:
    """The name of a length among all cars'."""
    small, medium, big = TRAITS[trait]
    return small if value < ends[0] else big if value > ends[1] else medium


def _caption(values: dict[str, str], lots: Lots) -> Caption:
    chosen = {
        name: value
        for name, value in values.items()
        # The draw comes first, so that it is made for every trait.
        if lots.chance(_OFTEN.get(name, _SELDOM)) and value not in _PLAIN
    }
    if "second colour" in chosen or "two-tone" in chosen:  # neither is named without the other
        chosen |= {name: values[name] for name in ("two-tone", "second colour")}

    def shuffled(parts: list[str]) -> list[str]:
        left, order = list(parts), []
        while left:
            order.append(left.pop(int(lots.between(0, len(left)))))
        return order

    return Caption(_sentence(chosen, lots.one_of, shuffled), chosen)


def _sentence(
    named: dict[str, str],
    one_of: Callable[[tuple[str, ...]], str],
    ordered: Callable[[list[str]], list[str]],
) -> str:
    """Put the named values into words."""
    sizes = [one_of(_SIZES[named[name]]) for name in ("height", "length") if name in named]
    colour = [named["colour"]] if "colour" in named else []
    head = " ".join([*ordered(sizes), *colour, named.get("body", "car")])
    parts = []
    if "facing" in named:
        parts.append(one_of(_FACING).format(named["facing"]))
    if features := ordered(_features(named, one_of)):
        parts.append(f"with {_listed(features)}")
    if "backdrop" in named:
        parts.append(one_of(_BEHIND).format(one_of(_PLACES[named["backdrop"]])))
    if "sky" in named:
        parts.append(one_of(_ABOVE).format(named["sky"]))
    article = "an" if head.startswith(("o", "SUV")) else "a"  # of all colours and types
    return " ".join([article, head, *ordered(parts)])


def _features(named: dict[str, str], one_of: Callable[[tuple[str, ...]], str]) -> list[str]:
    """What stands after "with"."""
    features = []
    if "wheels" in named or "rims" in named:
        size = [one_of(_SIZES[named["wheels"]])] if "wheels" in named else []
        features.append(" ".join([*size, *([named["rims"]] if "rims" in named else []), "wheels"]))
    if "two-tone" in named:
        part = "roof" if named["two-tone"] == "roof" else "lower half"
        features.append(f"a {named['second colour']} {part}")
    if "tyres" in named:
        features.append(one_of(("white-wall tyres", "white walls")))
    if "bumpers" in named:
        features.append(one_of(("dark bumpers", "black bumpers")))
    return features + [one_of(words) for name, words in _EXTRAS.items() if name in named]


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
