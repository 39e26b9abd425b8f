"""What page and server say to each other; `framework.studio.wire` reads and writes it.

A picture is a binary message of its own, see `framework.studio.frames`.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from framework.errors import UserError

MAX_MESSAGE_BYTES = 256 * 1024  # a mask of 1024 x 1024 is 175 kB
MAX_DESCRIPTION = 1000  # characters of a text; how long one may be, its encoder says
Point = tuple[float, float]
End = Literal["handle", "target"]


class BadMessage(UserError):
    """A message that is none of those below."""


# ------------------------------------------------------------------------------ from page to server


@dataclass(frozen=True)
class Open:
    """Open a model and show the picture of a seed.

    Args:
        model: Name from the server's list.
        seed: Seed of the picture.
        psi: Truncation: 1 the full variety, 0 the average picture.
        class_index: Class of a model trained with labels.
        mix_seed: Seed of another picture, whose styles some layers take; None for none.
        mix_layers: First and last of these layers, counted from 0, the coarsest.
    """

    model: str
    seed: int = 0
    psi: float = 0.7
    class_index: int | None = None
    mix_seed: int | None = None
    mix_layers: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class AddPoint:
    """Take hold of the picture at `handle` and pull to `target`, (x, y) in its pixels."""

    handle: Point
    target: Point


@dataclass(frozen=True)
class MovePoint:
    """Move one end of a point."""

    index: int
    end: End
    to: Point


@dataclass(frozen=True)
class RemovePoint:
    """Remove a point; `index` is None for all of them."""

    index: int | None = None


@dataclass(frozen=True)
class SetMask:
    """Say what may change: a bit a pixel, row by row, as base64; None for everything."""

    bits: str | None = field(default=None, metadata={"most": MAX_MESSAGE_BYTES})


@dataclass(frozen=True)
class Fill:
    """Fill what the mask covers from the rest, and put the result into the model again.

    Args:
        method: How, as in `edit.py fill --method`; None for the usual one.
    """

    method: str | None = None


@dataclass(frozen=True)
class Steer:
    """Bring directions to values, and go on from the picture there.

    Args:
        values: Values by the names of directions, in standard deviations from the picture as it
            was opened; those of others stay.
        stamp: Number of the message, which `State.steered` repeats once it was heard.
    """

    values: dict[str, float]
    stamp: int = 0


@dataclass(frozen=True)
class Slide:
    """A slider is held: draw what `Steer` would make, and keep nothing."""

    values: dict[str, float]


@dataclass(frozen=True)
class Describe:
    """Change the picture until it is what a text says, as `edit.py text --image` does."""

    text: str = field(metadata={"most": MAX_DESCRIPTION})


@dataclass(frozen=True)
class Run:
    """Start the drag."""


@dataclass(frozen=True)
class Stop:
    """Stop the drag after the step that is being made."""


@dataclass(frozen=True)
class Undo:
    """Go back to before the last change; a whole drag is one."""


@dataclass(frozen=True)
class Redo:
    """Make the last undone change again."""


@dataclass(frozen=True)
class Go:
    """Go to a place of the history, counted from 0."""

    place: int


@dataclass(frozen=True)
class Reset:
    """Return to the picture at the start; can be undone."""


@dataclass(frozen=True)
class Hold:
    """A point is held: draw what would become of it at `target`, and keep nothing.

    Args:
        handle: Where it was taken hold of.
        target: Where the pointer is.
        index: The point that is held, or None for a new one.
    """

    handle: Point
    target: Point
    index: int | None = None


@dataclass(frozen=True)
class Release:
    """Nothing is held any more."""


@dataclass(frozen=True)
class Choose:
    """Choose how to drag: a preset, and settings that differ from it.

    Args:
        preset: A preset, after which earlier choices do not count; None to keep what there is.
        settings: Values by the names of settings.
    """

    preset: str | None = None
    settings: dict[str, bool | int | float | str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Log:
    """Log the drags that begin from now on to W&B, or do not."""

    wandb: bool


@dataclass(frozen=True)
class Ack:
    """The frame of that number has been shown."""

    frame: int


Command = (
    Open | AddPoint | MovePoint | RemovePoint | SetMask | Fill | Steer | Slide | Describe | Run
    | Stop | Undo | Redo | Go | Reset | Choose | Log | Hold | Release | Ack
)  # fmt: skip

# ------------------------------------------------------------------------------ from server to page


@dataclass(frozen=True)
class Hello:
    """The first message.

    Args:
        session: Name of the session; a page that is loaded again gets its edit back by it.
        models: Names of the models.
        first: The model to open, or None.
        device: What computes.
        runs: Whether there are training runs to look at.
    """

    session: str
    models: list[str]
    first: str | None
    device: str
    runs: bool = False


@dataclass(frozen=True)
class StageFacts:
    """What a stage of an inversion came to; see `InvertOutcome.stages`."""

    stage: str
    psnr_db: float
    deviations: float
    steps: int
    seconds: float


@dataclass(frozen=True)
class PhotoFacts:
    """What there is to know of a photograph before it is dragged: its size, stages, notes."""

    size: tuple[int, int]
    stages: list[StageFacts]
    notes: list[str]


@dataclass(frozen=True)
class State:
    """Everything about an edit that a page shows; each replaces the one before.

    Args:
        edit: Number of the edit in its session; another picture is another edit.
        model: Name of the model, or None.
        size: Picture's (height, width).
        classes: Number of classes of the model; 0 without labels.
        kind: Where the picture came from: "seed", "photo" or "edit".
        seed: Seed of the picture.
        psi: Truncation of the picture.
        class_index: Class of the picture.
        mix_seed: Seed of the picture whose styles some layers have, or None.
        mix_layers: First and last of these layers.
        layers: Number of the model's layers.
        photo: What is known of the photograph, if it is one.
        has_photo: Whether there is a photograph to paste the edit into.
        held: Where the point is that is held, in the preview.
        points: Where the handles are now.
        targets: Where they should go.
        has_mask: Whether there is a mask.
        running: Whether the drag is under way.
        busy: What else is being done, in words, or "".
        status: `DragStep.status`, or "" before the first step.
        text: The status in words.
        doubtful: Whether a point may not show what was taken hold of.
        step: Steps of this drag.
        last_step: The most that this run can reach.
        step_ms: Milliseconds a step takes.
        place: Place in the history.
        places: Last place in the history.
        can_undo: Whether there is something to undo.
        can_redo: Whether there is something to redo.
        can_save: Whether there is an edit to save.
        has_drag: Whether there is a drag to make a clip of.
        directions: Values of the model's directions by name; empty if it has none.
        steered: Stamp of the last `Steer` that these values are after.
        texts: Whether the model reads texts.
        preset: Preset of the settings.
        settings: All settings.
        logs: Whether drags are logged to W&B.
    """

    edit: int = 0
    model: str | None = None
    size: tuple[int, int] = (0, 0)
    classes: int = 0
    kind: str = "seed"
    seed: int = 0
    psi: float = 0.7
    class_index: int | None = None
    mix_seed: int | None = None
    mix_layers: tuple[int, int] = (0, 0)
    layers: int = 0
    photo: PhotoFacts | None = None
    has_photo: bool = False
    held: Point | None = None
    points: list[Point] = field(default_factory=list)
    targets: list[Point] = field(default_factory=list)
    has_mask: bool = False
    running: bool = False
    busy: str = ""
    status: str = ""
    text: str = ""
    doubtful: bool = False
    step: int = 0
    last_step: int = 0
    step_ms: float = 0.0
    place: int = 0
    places: int = 0
    can_undo: bool = False
    can_redo: bool = False
    can_save: bool = False
    has_drag: bool = False
    directions: dict[str, float] = field(default_factory=dict)
    steered: int = 0
    texts: bool = False
    preset: str = "auto"
    settings: dict[str, Any] = field(default_factory=dict)
    logs: bool = False


@dataclass(frozen=True)
class Mask:
    """The mask after an undo, as in `SetMask`."""

    bits: str | None


@dataclass(frozen=True)
class Rows:
    """Numbers of steps since the last such message, for the plots.

    Args:
        names: Names of the columns.
        rows: A row a step.
        fresh: Whether earlier rows belong to another drag.
    """

    names: list[str]
    rows: list[list[float | None]]
    fresh: bool


@dataclass(frozen=True)
class Note:
    """Something to tell the user; `field` names the wrong input, if any."""

    text: str
    is_error: bool = True
    field: str = ""


Event = Hello | State | Mask | Rows | Note
