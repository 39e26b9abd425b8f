"""What is asked of a style, and the networks that see it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from framework.models.style.network import StyleDecoder
from framework.settings import Settings
from framework.style.registry import (
    DEFAULT_METHOD,
    LEAST_WORK_PX,
    MOST_STEPS,
    MOST_STRENGTH,
    MOST_WORK_PX,
    style_methods,
)


class StyleNetworks(NamedTuple):
    """Frozen networks, all on one device.

    Attributes:
        features: Function from pictures (N, 3, H, W) in [-1, 1], of any size, to features that are
            not negative, finest first.
        decoder: Decoder of adapted features; only `adain` needs one.
    """

    features: Callable[[Tensor], list[Tensor]]
    decoder: StyleDecoder | None = None


@dataclass(frozen=True)
class StyleSettings(Settings):
    """How a photograph gets another picture's style.

    Args:
        method: Name of a file in `framework/style/methods`.
        strength: Weight of the style: 0 is the photograph, 1 is usual; more than that counts only
            where pixels are optimised.
        steps: Steps at each size where a picture is optimised.
        work_px: Longer side in pixels at which both pictures are worked on, at most.
    """

    method: str = DEFAULT_METHOD
    strength: float = 1.0
    steps: int = 40
    work_px: int = 512

    def __post_init__(self) -> None:
        """Check all values.

        Raises:
            UserError: Naming the setting.
        """
        self._choice("method", style_methods())
        self._number("strength", most=MOST_STRENGTH)
        self._whole("steps", least=1, most=MOST_STEPS)
        self._whole("work_px", least=LEAST_WORK_PX, most=MOST_WORK_PX)
