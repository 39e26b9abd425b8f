"""Settings of a report on inversion."""

from dataclasses import asdict, dataclass, field
from typing import Any

from framework.drag.settings import DragSettings
from framework.errors import UserError

FORM = "dragline-inversion-report"
PHOTO = "photo"
DRAG_STEPS = 60  # of each drag, at most
_COUNTS = ("count", "embedded", "edited", "synthetic", "editability")  # may grow


@dataclass(frozen=True)
class ReportSettings:
    """How much a report measures.

    Args:
        count: Held-out photographs that go through all stages and baselines.
        embedded: Most held-out photographs that are only embedded.
        gallery: Most training pictures that are searched for the nearest ones.
        editability: Whether results are edited at all.
        edited: Number of the `count` photographs that are dragged and edited at random.
        synthetic: Number of the generator's own pictures that are inverted.
        drag_by: How far points are dragged, as a share of the picture's shorter side.
        drag_points: Number of points of each drag.
        drag: Settings of the drags.
        edits: Number of random directions.
        edit_length: Length of the directions, root mean square in standard deviations of w.
        seed: Seed of every choice.

    Raises:
        UserError: If a number is impossible.
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
        """Settings that must be equal for records to belong together; counts may grow."""
        return {n: value for n, value in asdict(self).items() if n not in _COUNTS}
