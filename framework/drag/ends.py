"""When a drag ends, and why."""

import time
from collections.abc import Sequence

from framework.drag.mask import Pulls
from framework.drag.settings import DragSettings, Sizes
from framework.drag.step import Status

STALLED_SHARE, STALLED_STEPS = 0.1, 20


class Ends:
    """The limits of one run, whose time starts now.

    Args:
        settings: The most steps and seconds.
        sizes: The stop distance.
    """

    def __init__(self, settings: DragSettings, sizes: Sizes) -> None:
        seconds = settings.max_seconds
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._max_steps, self._stop_px = settings.max_steps, sizes.stop_distance_px
        self._distances_px: list[float] = []

    def reached(self, distance_px: float) -> bool:
        """Whether the farthest point is near enough to its target."""
        return distance_px <= self._stop_px

    def status(self, distance_px: float, settled: bool, pulls: Pulls | None) -> Status:
        """Whether the run goes on; call this once per step.

        Args:
            distance_px: Distance of the farthest point to its target.
            settled: Whether the area outside the mask has had its steps to go back.
            pulls: The pulls on the state; their graph is used up when the steps are.
                None if there is no mask that could hold.
        """
        out_of_steps = len(self._distances_px) >= self._max_steps
        out_of_time = self._deadline is not None and time.monotonic() >= self._deadline
        self._distances_px.append(distance_px)
        if self.reached(distance_px) and (settled or out_of_steps or out_of_time):
            return "arrived"
        if out_of_steps:
            return "held" if pulls and stalled(self._distances_px) and pulls.held() else "max_steps"
        return "max_seconds" if out_of_time else "moving"


def stalled(distances_px: Sequence[float]) -> bool:
    """Whether the points came hardly nearer in the second half of a run's steps.

    Args:
        distances_px: Distance of the farthest point at every step.
    """
    half = len(distances_px) // 2
    if half < STALLED_STEPS // 2:
        return False
    return min(distances_px[half:]) > (1 - STALLED_SHARE) * min(distances_px[:half])
