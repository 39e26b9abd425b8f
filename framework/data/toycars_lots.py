"""Random draws for the toy cars: the same on every machine and with any later Python."""

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")  # PEP 695 syntax needs Python 3.12
Color = tuple[int, int, int]


class Lots:
    """A keyed stream of draws that uses only what Python promises never to change."""

    def __init__(self, seed: int, index: int, stream: str = "toycars") -> None:
        """Begin a stream of car `index` of the set `seed`."""
        self._random = random.Random(f"{stream}/{seed}/{index}").random

    def between(self, low: float, high: float) -> float:
        """Draw a number in [low, high), all equally likely."""
        return low + (high - low) * self._random()

    def around(self, low: float, high: float) -> float:
        """Draw a number in [low, high): level in the middle half, rarer towards both ends."""
        return low + (high - low) * (0.75 * self._random() + 0.25 * self._random())

    def one_of(self, options: Sequence[T]) -> T:
        """Draw one of the options, all equally likely."""
        return options[int(self._random() * len(options))]

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self._random() < probability

    def tint(self, color: Color, spread: float = 8.0) -> Color:
        """Vary the colour a little, to either side in each channel."""
        r, g, b = (min(max(round(v + self.between(-spread, spread)), 0), 255) for v in color)
        return r, g, b
