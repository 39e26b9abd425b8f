"""Few steps: Gauss-Newton on the tracker itself, in whitened latents, watched by a critic.

Where Pan et al. 2023 pull features a pixel at a time, the tracker's own Jacobian tells which change
of the latents moves the points as wanted; of these the one that changes the picture least is taken
(a minimum-norm step in the model's metric, `framework.drag.statistics`). A step that loses the
points (their templates no longer fit) or realism (the critic) is shortened and tried again, for a
forward pass each time. Where no step is good, and at the end, steps that leave the points where
they are undo what is regretted: lost realism, other colours, changes outside the mask.
"""

from collections.abc import Iterator

from framework.drag.ends import Ends
from framework.drag.interface import Drag, Draggable
from framework.drag.settings import DragSettings, papers_stop_px
from framework.drag.solver import RADIUS, RETRY_RADIUS, Iterate, Solver
from framework.drag.step import DragStep
from framework.errors import InvalidEdit

POLISHING_STEPS = 12


def run(
    draggable: Draggable, drag: Drag, settings: DragSettings, resume_from: DragStep | None = None
) -> Iterator[DragStep]:
    """Solve for the step that moves the points, shorten it until it is good; then polish."""
    solver = Solver(draggable, drag, settings)
    sizes = settings.sizes(draggable.img_size, len(drag.targets))
    ends = Ends(settings, sizes)
    polishing_steps = POLISHING_STEPS if drag.mask is None else settings.settle_steps
    good_enough_px = max(sizes.stop_distance_px, papers_stop_px(len(drag.targets)))
    at, radius, polished = solver.beginning(resume_from), RADIUS, 0
    step = 0 if resume_from is None else resume_from.step
    if not at.finite:
        raise InvalidEdit("the model gives NaN or infinity for these latents")

    while True:
        following: Iterate | None = None
        if not ends.reached(at.farthest_px):
            following, radius = solver.nearer(at, radius)
            radius = max(radius, RETRY_RADIUS)
        if following is None and polished < polishing_steps:
            following, polished = solver.with_less_regret(at), polished + 1
        status = ends.status(at.farthest_px, settled=following is None, pulls=None)
        if status == "moving" and following is None:
            status = "arrived" if at.farthest_px <= good_enough_px else "stuck"
        yield solver.seen(at, step, status)
        if following is None or status != "moving":
            return
        at, step = following, step + 1
