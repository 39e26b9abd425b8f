"""What a toy car is: its parameters, how they are drawn by lot, and its caption.

Lengths are in scene units: the picture width is 1 (of a very wide picture, 1.5 heights), so a car
is the same car at any resolution. Heights are above the road; positions along the car are from its
middle, positive towards its front.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")  # PEP 695 syntax needs Python 3.12
Color = tuple[int, int, int]

COLORS: dict[str, Color] = {
    "red": (206, 54, 50),
    "orange": (236, 122, 44),
    "yellow": (246, 194, 52),
    "green": (52, 142, 90),
    "lime": (146, 188, 62),
    "teal": (30, 142, 146),
    "sky blue": (84, 162, 222),
    "blue": (44, 92, 184),
    "navy": (40, 56, 108),
    "purple": (118, 78, 166),
    "pink": (234, 118, 152),
    "cream": (246, 230, 196),
    "white": (248, 248, 246),
    "silver": (178, 186, 194),
    "charcoal": (66, 72, 84),
    "brown": (134, 86, 58),
}
"""Body colours by the name that captions use."""

SECOND_COLORS = ("cream", "white", "charcoal", "navy", "silver")
RIM_COLORS: tuple[Color, ...] = (
    (206, 212, 218),
    (232, 234, 236),
    (186, 190, 198),
    (226, 206, 160),
)

SKIES: dict[str, tuple[Color, Color, Color, Color]] = {
    "clear": ((150, 200, 232), (218, 236, 242), (168, 196, 178), (150, 154, 162)),
    "hazy": ((182, 204, 214), (228, 232, 226), (184, 196, 190), (162, 162, 164)),
    "golden": ((244, 208, 152), (250, 234, 204), (216, 188, 150), (166, 156, 150)),
    "rosy": ((226, 178, 186), (248, 220, 210), (198, 166, 180), (158, 150, 160)),
    "dusky": ((122, 132, 172), (188, 178, 198), (118, 122, 156), (122, 122, 140)),
    "minty": ((162, 212, 200), (222, 240, 226), (160, 196, 174), (152, 160, 156)),
    "stormy": ((118, 138, 154), (172, 186, 192), (120, 138, 144), (120, 126, 134)),
}
"""Backdrops: colours of the sky's top, the sky's foot, the hills and the road."""

BACKDROPS = ("hills", "mountains", "skyline", "trees", "plain")
SETTINGS = {
    "hills": "hills",
    "mountains": "mountains",
    "skyline": "a skyline",
    "trees": "trees",
}
TWO_TONES = {"roof": "roof", "lower": "lower half"}
RIM_STYLES = ("disc", "five-spoke", "cross", "dotted", "ring")


@dataclass(frozen=True)
class BodyShape:
    """Ranges (low, high) that make a body type; x are fractions of the length from the rear."""

    rear_sill: tuple[float, float]
    roof_rear: tuple[float, float]
    roof_front: tuple[float, float]
    front_sill: tuple[float, float]
    glass_height: tuple[float, float]
    belt_lift: tuple[float, float]
    deck_drop: tuple[float, float]
    nose_drop: tuple[float, float]
    roundness: tuple[float, float]
    ride_height: tuple[float, float]
    panes: tuple[int, ...]


# One row a body type: where sills and roof corners are; then heights; then softness, ride, panes.
# fmt: off
BODY_SHAPES: dict[str, BodyShape] = {
    "hatchback": BodyShape(
        (.020, .050), (.100, .200), (.520, .580), (.700, .760),
        (.115, .145), (.030, .045), (.000, .010), (.020, .040),
        (.030, .060), (.055, .070), (2, 3),
    ),
    "sedan": BodyShape(
        (.150, .210), (.270, .330), (.520, .570), (.670, .730),
        (.105, .130), (.025, .040), (.004, .018), (.014, .030),
        (.030, .050), (.050, .065), (2, 3),
    ),
    "coupe": BodyShape(
        (.060, .120), (.320, .400), (.480, .530), (.650, .700),
        (.090, .112), (.022, .036), (.000, .012), (.020, .036),
        (.040, .070), (.045, .058), (1, 2),
    ),
    "SUV": BodyShape(
        (.015, .035), (.050, .100), (.550, .610), (.680, .730),
        (.115, .140), (.042, .058), (.000, .004), (.010, .024),
        (.020, .040), (.072, .086), (3,),
    ),
    "pickup": BodyShape(
        (.380, .420), (.410, .450), (.590, .630), (.700, .750),
        (.112, .138), (.040, .055), (.000, .016), (.008, .022),
        (.015, .035), (.070, .086), (1, 2),
    ),
    "van": BodyShape(
        (.010, .020), (.030, .060), (.680, .750), (.840, .890),
        (.130, .160), (.036, .056), (.000, .004), (.016, .036),
        (.030, .060), (.055, .070), (3, 4),
    ),
    "wagon": BodyShape(
        (.020, .040), (.060, .120), (.520, .570), (.670, .720),
        (.105, .125), (.026, .040), (.000, .006), (.014, .030),
        (.025, .045), (.050, .065), (3, 4),
    ),
    "beetle": BodyShape(
        (.090, .130), (.250, .310), (.500, .550), (.660, .710),
        (.120, .150), (.030, .042), (.010, .024), (.030, .046),
        (.090, .130), (.052, .066), (2,),
    ),
}
# fmt: on


@dataclass(frozen=True)
class SceneParameters:
    """What lies behind the car; positions are relative to the picture's middle, y downwards.

    `relief` are ten numbers in [0, 1) that shape the backdrop; the sun is (x, y, radius), each
    cloud (x, y, size).
    """

    sky: str
    backdrop: str
    horizon: float
    relief: tuple[float, ...]
    sun: tuple[float, float, float] | None
    clouds: tuple[tuple[float, float, float], ...]
    road_lines: bool


@dataclass(frozen=True)
class CarParameters:
    """Everything that is drawn; a picture is a pure function of this and its size.

    `x` and `ground` place the car's middle and the road under its wheels, relative to the
    picture's middle, y downwards. Lengths and heights are in scene units; `rear_sill` to
    `front_sill` are fractions of the length from the rear; `rim_size` is a fraction of the wheel
    radius, `rim_angle` of a turn. `axle_shift` moves both axles forwards. `two_tone` says what
    wears the second colour: "none", "roof" or "lower".
    """

    body_type: str
    facing: str
    color_name: str
    color: Color
    two_tone: str
    second_color_name: str
    second_color: Color
    x: float
    ground: float
    length: float
    wheel_radius: float
    wheelbase: float
    axle_shift: float
    ride_height: float
    belt_height: float
    roof_height: float
    deck_height: float
    nose_height: float
    rear_sill: float
    roof_rear: float
    roof_front: float
    front_sill: float
    roundness: float
    roof_crown: float
    nose_slant: float
    tail_slant: float
    panes: int
    rim_style: str
    rim_color: Color
    rim_size: float
    rim_angle: float
    round_lights: bool
    dark_bumpers: bool
    white_walls: bool
    roof_rack: bool
    spoiler: bool
    antenna: bool
    scene: SceneParameters


class Lots:
    """Draws from one keyed stream, using only what Python promises never to change."""

    def __init__(self, seed: int, index: int) -> None:
        """The stream of car `index` of the set `seed`."""
        self._random = random.Random(f"toycars/{seed}/{index}").random

    def between(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self._random()

    def one_of(self, options: Sequence[T]) -> T:
        """One of the options, all equally likely."""
        return options[int(self._random() * len(options))]

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self._random() < probability

    def tint(self, color: Color, spread: float = 8.0) -> Color:
        """The colour, a little off, to either side in each channel."""
        r, g, b = (min(max(round(v + self.between(-spread, spread)), 0), 255) for v in color)
        return r, g, b


def brightness(color: Color) -> float:
    """Perceived brightness of an sRGB colour, 0 to 255 (ITU-R BT.601 luma)."""
    return 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]


def _distance(a: Color, b: Color) -> float:
    chroma = sum(abs(u - v) for u, v in zip(a, b, strict=True)) / 3
    return abs(brightness(a) - brightness(b)) + chroma


def _draw_scene(lots: Lots, color: Color, ground: float) -> SceneParameters:
    names = list(SKIES)
    first = lots.one_of(range(len(names)))
    ordered = names[first:] + names[:first]
    # A car must stand out from both the hills and the sky behind it.
    sky = next(
        (n for n in ordered if min(_distance(color, c) for c in SKIES[n][:3]) > 62),
        max(ordered, key=lambda n: min(_distance(color, c) for c in SKIES[n][:3])),
    )
    sun = (lots.between(-0.4, 0.4), lots.between(-0.42, -0.3), lots.between(0.035, 0.06))
    clouds = tuple(
        (lots.between(-0.5, 0.5), lots.between(-0.45, -0.3), lots.between(0.6, 1.1))
        for _ in range(lots.one_of((0, 0, 1, 2)))
    )
    return SceneParameters(
        sky=sky,
        backdrop=lots.one_of(BACKDROPS),
        horizon=ground - lots.between(0.07, 0.12),
        relief=tuple(lots.between(0, 1) for _ in range(10)),
        sun=sun if lots.chance(0.35) else None,
        clouds=clouds,
        road_lines=lots.chance(0.5),
    )


def draw_parameters(seed: int, index: int) -> CarParameters:
    """The car number `index` of the set `seed`, by lot; the same on every machine.

    The order of the draws is part of the look: a draw added anywhere but at the end of a stream
    changes every car.
    """
    lots = Lots(seed, index)
    body_type = lots.one_of(tuple(BODY_SHAPES))
    shape = BODY_SHAPES[body_type]
    color_name = lots.one_of(tuple(COLORS))
    color = lots.tint(COLORS[color_name])
    second = lots.one_of([name for name in SECOND_COLORS if name != color_name])
    length = lots.between(0.735, 0.845)
    radius = lots.between(0.097, 0.113)
    overhang = 1.2 * radius + 0.008
    wheelbase = min(length * lots.between(0.57, 0.65), length - 2 * overhang)
    slack = (length - wheelbase) / 2 - overhang
    belt = 2.1 * radius + lots.between(*shape.belt_lift)
    nose = max(belt - lots.between(*shape.nose_drop), 2.12 * radius + 0.006)
    ground = lots.between(0.175, 0.225)
    return CarParameters(
        body_type=body_type,
        facing=lots.one_of(("left", "right")),
        color_name=color_name,
        color=color,
        two_tone=lots.one_of(("none", "none", "none", "roof", "lower")),
        second_color_name=second,
        second_color=COLORS[second],
        x=lots.between(-0.025, 0.025),
        ground=ground,
        length=length,
        wheel_radius=radius,
        wheelbase=wheelbase,
        axle_shift=lots.between(-1, 1) * min(slack, 0.02),
        ride_height=lots.between(*shape.ride_height),
        belt_height=belt,
        roof_height=belt + lots.between(*shape.glass_height),
        deck_height=max(belt - lots.between(*shape.deck_drop), 2.12 * radius + 0.008),
        nose_height=nose,
        rear_sill=lots.between(*shape.rear_sill),
        roof_rear=lots.between(*shape.roof_rear),
        roof_front=lots.between(*shape.roof_front),
        front_sill=lots.between(*shape.front_sill),
        roundness=lots.between(*shape.roundness),
        roof_crown=lots.between(0.004, 0.014),
        nose_slant=lots.between(0.006, 0.03),
        tail_slant=lots.between(0.004, 0.024),
        panes=lots.one_of(shape.panes),
        rim_style=lots.one_of(RIM_STYLES),
        rim_color=lots.one_of(RIM_COLORS),
        rim_size=lots.between(0.6, 0.7),
        rim_angle=lots.between(0, 1),
        round_lights=lots.chance(0.9 if body_type == "beetle" else 0.4),
        dark_bumpers=lots.chance(0.5),
        white_walls=lots.chance(0.15),
        roof_rack=lots.chance(0.5) and body_type in ("SUV", "wagon", "van"),
        spoiler=lots.chance(0.4) and body_type in ("hatchback", "coupe", "sedan"),
        antenna=lots.chance(0.15),
        scene=_draw_scene(lots, color, ground),
    )


def describe(p: CarParameters) -> str:
    """The car's caption: one English sentence without a full stop."""
    article = "an" if p.color_name[0] in "aeiou" else "a"
    features = [f"{p.rim_style} wheels"]
    if p.two_tone != "none":
        features.append(f"a {p.second_color_name} {TWO_TONES[p.two_tone]}")
    features += [
        text
        for has, text in (
            (p.white_walls, "white-wall tyres"),
            (p.roof_rack, "a roof rack"),
            (p.spoiler, "a spoiler"),
            (p.antenna, "an antenna"),
        )
        if has
    ]
    listed = " and ".join([", ".join(features[:-1]), features[-1]] if features[1:] else features)
    place = "" if p.scene.backdrop == "plain" else f" in front of {SETTINGS[p.scene.backdrop]}"
    return (
        f"{article} {p.color_name} {p.body_type} facing {p.facing} with {listed}"
        f"{place} under a {p.scene.sky} sky"
    )
