"""Drags to look at, with nothing to fill in."""

from dataclasses import dataclass
from pathlib import Path

from framework.errors import UserError
from framework.formats import opening
from framework.jobs.drag import drag
from framework.jobs.outputs import CLIP
from framework.jobs.requests.drag import DragRequest
from framework.jobs.requests.files import DemoRequest
from framework.jobs.watcher import SILENT, Watcher


@dataclass(frozen=True)
class Show:
    """A drag that shows well: a shipped model, a seed and points."""

    model: str
    seed: int
    points: str


# Chosen by eye on the shipped weights: a part that is plain to see, pulled where it can go.
SHOWS = (Show("toycars64", 8, "48,20:54,20"), Show("vehicles64", 30, "40,13:46,16"))


def demo(request: DemoRequest, watcher: Watcher = SILENT) -> list[Path]:
    """Drag a car of every shipped model; OUT gets a number if it already holds something.

    Returns:
        The pictures and videos to look at.

    Raises:
        UserError: If no model came with this copy.
    """
    shipped = set(opening.zoo_models())
    shows = [show for show in SHOWS if show.model in shipped]
    if not shows:
        raise UserError("no model came with this copy; train one, see python train.py")
    folder = numbered_folder(request.out)
    for show in shows:
        watcher.say(f"{show.model}, seed {show.seed}, {show.points}")
        outcome = drag(
            DragRequest(
                out=str(folder / show.model), model=show.model, seed=show.seed, points=show.points,
                gif=True, wandb="disabled", device=request.device,
            ),
            watcher,
        )  # fmt: skip
        watcher.done("", outcome)
        if outcome.stop is not None:
            raise outcome.stop
    names = ("side_by_side.png", CLIP)
    return [folder / show.model / name for show in shows for name in names]


def numbered_folder(base: str | Path) -> Path:
    """Return `base`, or the first of `base-2`, `base-3`, … that is missing or empty."""
    base = Path(base)
    folder, number = base, 2
    while folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        folder = base.with_name(f"{base.name}-{number}")
        number += 1
    return folder
