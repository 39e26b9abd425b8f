"""What a report on inversion asks, and the form of an answer."""

from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from framework.drag.settings import DragSettings
from framework.errors import UserError

PHOTO = "photo"
DRAG_STEPS = 60  # of each drag, at most
_COUNTS = ("count", "embedded", "edited", "synthetic", "editability")  # may grow
Key = tuple[str, int]


@dataclass(frozen=True)
class ReportSettings:
    """How much is measured.

    Args:
        count: Held-out photographs that go through all stages and baselines.
        embedded: Held-out photographs that are only embedded, at most.
        gallery: Training pictures that nearest ones are searched among, at most.
        editability: Whether results are edited at all.
        edited: Of `count`, how many are dragged and edited at random.
        synthetic: Pictures of the generator's own that are inverted.
        drag_by: How far points are dragged, as a share of the picture's shorter side.
        drag_points: Points of each drag.
        drag: How to drag.
        edits: Random directions.
        edit_length: Their length, root mean square in standard deviations of w.
        seed: Of every choice.

    Raises:
        UserError: If a number cannot be.
    """

    count: int = 20
    embedded: int = 1000
    gallery: int = 2000
    editability: bool = True
    edited: int = 6
    synthetic: int = 6
    drag_by: float = 1 / 16
    drag_points: int = 2
    drag: DragSettings = field(default_factory=DragSettings)
    edits: int = 8
    edit_length: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UserError(f"--count {self.count}: give at least 1")

    def identity(self) -> dict[str, Any]:
        """What must be the same for records to belong together; counts may grow."""
        return {n: value for n, value in asdict(self).items() if n not in _COUNTS}


class Record(NamedTuple):
    """What was measured of one photograph, of one kind by its number among all of that kind.

    Kinds are "nearest", "embedded", "picture", "synthetic" and "latents"; `facts` are JSON values,
    `images` the pictures to keep, uint8 (H, W, C), by method.
    """

    kind: str
    index: int
    facts: dict[str, Any]
    images: dict[str, np.ndarray]
