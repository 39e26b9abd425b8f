"""The parameters of a toy car, their random draw, and its caption.

Lengths are in scene units: the picture width is 1 (of a very wide picture, 1.5 heights), so a car
is the same car at any resolution. Heights are above the road; positions along the car are from its
middle, positive towards its front.
"""

from dataclasses import dataclass

from framework.data.toycars_bodies import Body, body_type, draw_body
from framework.data.toycars_lots import Color, Lots

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
MAX_TURN, MAX_TILT = 0.026, 1.2
RIM_STYLES = ("disc", "five-spoke", "cross", "dotted", "ring")


@dataclass(frozen=True)
class SceneParameters:
    """The scene behind the car; positions are relative to the picture's middle, y downwards.

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
    """All parameters of a drawing; a picture is a pure function of them and its size.

    `x` and `ground` place the car's middle and the road under its wheels, relative to the
    picture's middle, y downwards; `scale` is the car's size. `turn` says how far the far side shows
    beyond the near one, in scene units: in front where positive, behind where negative. `tilt` is
    the body's angle on its wheels, in degrees, nose up where positive. `rim_size` is a fraction of
    the wheel radius, `rim_angle` of a turn. `two_tone` is the part in the second colour: "none",
    "roof" or "lower".
    """

    body_type: str
    body: Body
    facing: str
    x: float
    ground: float
    scale: float
    turn: float
    tilt: float
    color_name: str
    color: Color
    two_tone: str
    second_color_name: str
    second_color: Color
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


def brightness(color: Color) -> float:
    """Return the perceived brightness of an sRGB colour, 0 to 255 (ITU-R BT.601 luma)."""
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
    """Draw the parameters of car `index` of the set `seed`; the same on every machine.

    The order of the draws is part of the look: a draw added anywhere but at the end of a stream
    changes every car.
    """
    lots = Lots(seed, index)
    body = draw_body(lots)
    name = body_type(body)
    color_name = lots.one_of(tuple(COLORS))
    color = lots.tint(COLORS[color_name])
    second = lots.one_of([name for name in SECOND_COLORS if name != color_name])
    ground = lots.between(0.17, 0.23)
    return CarParameters(
        body_type=name,
        body=body,
        facing=lots.one_of(("left", "right")),
        x=lots.between(-0.03, 0.03),
        ground=ground,
        scale=lots.around(0.92, 1.08),
        turn=lots.around(-MAX_TURN, MAX_TURN),
        tilt=lots.around(-MAX_TILT, MAX_TILT),
        color_name=color_name,
        color=color,
        two_tone=lots.one_of(("none", "none", "none", "roof", "lower")),
        second_color_name=second,
        second_color=COLORS[second],
        rim_style=lots.one_of(RIM_STYLES),
        rim_color=lots.one_of(RIM_COLORS),
        rim_size=lots.around(0.58, 0.72),
        rim_angle=lots.between(0, 1),
        round_lights=lots.chance(0.15 + 6 * body.roundness),
        dark_bumpers=lots.chance(0.5),
        white_walls=lots.chance(0.15),
        roof_rack=lots.chance(0.5) and name in ("SUV", "wagon", "van"),
        spoiler=lots.chance(0.4) and name in ("hatchback", "coupe", "sedan"),
        antenna=lots.chance(0.15),
        scene=_draw_scene(lots, color, ground),
    )


def describe(p: CarParameters) -> str:
    """Write the car's caption: one English sentence without a full stop."""
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
