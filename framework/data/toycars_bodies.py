"""The shape of a toy car: proportions that vary continuously, and the name of the nearest type.

No car is drawn as a type: roof, windows, hood, bumpers and wheels vary independently, so that any
car can become any other without a jump. A car's name follows from its finished shape.
"""

from dataclasses import dataclass

from framework.data.toycars_lots import Lots

ARCH = 1.13
"""Wheel arches in wheel radii."""
MIN_ROOF = 0.15
"""Shortest roof, as a fraction of the length; windows need room."""


@dataclass(frozen=True)
class Body:
    """A car's shape, in its own frame: x from its middle forwards, heights above the road.

    Lengths are in scene units before `CarParameters.scale`. `rear_sill` to `front_sill` are
    fractions of the length from the rear. The roof is at `roof_height` in front and `roof_drop`
    lower at its rear. Each bumper extends beyond the body by its own `reach`. Pillars stand
    before and behind the glass; `front_pane` and `rear_pane` are the widths of the panes, counted
    from the front: as many rear ones as there is room for, up to three.
    """

    length: float
    wheel_radius: float
    rear_axle: float
    front_axle: float
    ride_height: float
    belt_height: float
    deck_height: float
    nose_height: float
    roof_height: float
    roof_drop: float
    roof_crown: float
    rear_sill: float
    roof_rear: float
    roof_front: float
    front_sill: float
    roundness: float
    nose_slant: float
    tail_slant: float
    rear_pillar: float
    front_pillar: float
    front_pane: float
    rear_pane: float
    window_foot: float
    roof_band: float
    bumper_height: float
    bumper_lift: float
    bumper_length: float
    rear_reach: float
    front_reach: float

    @property
    def glass_height(self) -> float:
        """Height from the belt to the roof's front corner."""
        return self.roof_height - self.belt_height


def draw_body(lots: Lots) -> Body:
    """Draw a car's shape, each part independently, bounded only where parts would collide."""
    length = lots.around(0.725, 0.805)
    radius = lots.around(0.092, 0.111)
    over_arch = (ARCH + 1) * radius + 0.007
    belt = max(lots.around(0.238, 0.288), over_arch + 0.012)
    rear_sill, roof_rear, roof_front, front_sill = _draw_cabin(lots)
    return Body(
        length=length,
        wheel_radius=radius,
        rear_axle=lots.around(0.133, 0.183) - length / 2,
        front_axle=length / 2 - lots.around(0.133, 0.183),
        ride_height=lots.around(0.045, 0.084),
        belt_height=belt,
        deck_height=max(belt - lots.around(0.0, 0.024), over_arch),
        nose_height=max(belt - lots.around(0.006, 0.046), over_arch),
        roof_height=belt + lots.around(0.092, 0.16),
        roof_drop=lots.around(0.0, 0.02),
        roof_crown=lots.around(0.003, 0.015),
        rear_sill=rear_sill,
        roof_rear=roof_rear,
        roof_front=roof_front,
        front_sill=front_sill,
        roundness=lots.around(0.012, 0.115),
        nose_slant=lots.around(0.004, 0.042),
        tail_slant=lots.around(0.003, 0.027),
        rear_pillar=lots.around(0.012, 0.016 + 0.06 * (roof_front - roof_rear)),
        front_pillar=lots.around(0.014, 0.027),
        front_pane=lots.around(0.1, 0.17),
        rear_pane=lots.around(0.08, 0.16),
        window_foot=lots.around(0.004, 0.016),
        roof_band=lots.around(0.014, 0.03),
        bumper_height=lots.around(0.026, 0.046),
        bumper_lift=lots.around(-0.006, 0.018),
        bumper_length=lots.around(0.035, 0.075),
        rear_reach=lots.around(0.003, 0.016),
        front_reach=lots.around(0.003, 0.016),
    )


def _draw_cabin(lots: Lots) -> tuple[float, float, float, float]:
    """Draw rear sill, both roof corners and front sill, as fractions of length from the rear."""
    while True:
        roof_rear, roof_front = lots.around(0.03, 0.45), lots.around(0.47, 0.73)
        front_sill = lots.around(0.63, 0.89)
        if roof_front - roof_rear > MIN_ROOF and 0.07 < front_sill - roof_front < 0.25:
            break
    rear_sill = roof_rear - lots.between(0.018, min(0.25, roof_rear - 0.01))
    return rear_sill, roof_rear, roof_front, front_sill


TRAITS = {
    "rear_sill": 0.09,
    "roof_rear": 0.09,
    "roof_front": 0.07,
    "front_sill": 0.07,
    "glass_height": 0.02,
    "ride_height": 0.014,
    "roundness": 0.04,
}
"""Traits that tell body types apart, each with the difference that counts as one."""

# fmt: off
BODY_TYPES: dict[str, tuple[float, ...]] = {
    "hatchback": (.045, .170, .560, .730, .134, .060, .050),
    "sedan":     (.190, .290, .555, .700, .124, .060, .038),
    "coupe":     (.110, .340, .515, .690, .108, .054, .055),
    "SUV":       (.025, .080, .580, .720, .128, .075, .035),
    "pickup":    (.365, .410, .610, .735, .125, .074, .030),
    "van":       (.015, .045, .700, .855, .145, .062, .045),
    "wagon":     (.040, .110, .560, .700, .112, .055, .035),
    "beetle":    (.110, .280, .525, .685, .135, .059, .105),
}
# fmt: on
"""The pure types, by the name that captions use: their `TRAITS`, in order."""


def body_type(body: Body) -> str:
    """Return the name of the type that the shape is nearest to."""
    traits = [(getattr(body, trait), unit) for trait, unit in TRAITS.items()]

    def distance(name: str) -> float:
        pairs = zip(traits, BODY_TYPES[name], strict=True)
        return sum(((value - pure) / unit) ** 2 for (value, unit), pure in pairs)

    return min(BODY_TYPES, key=distance)
