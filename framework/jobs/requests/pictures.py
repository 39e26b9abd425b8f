"""What a person asks of pictures and clips from seeds and edits. Needs no torch."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from framework.errors import UserError
from framework.fields import Shown

MAX_SEED = 2**32 - 1
MAX_SEEDS = 10_000
Show = Literal["model", "photo"]


@dataclass(frozen=True, kw_only=True)
class Steered:
    """Pictures that are moved along directions.

    Args:
        direction: How far along a direction, in standard deviations: NAME=1.5, or
            NAME@LAYERS=1.5 for some layers alone (pose, shape, colour, detail, 0-2,5); several add
            up.
        directions: File of them, as directions writes it, or rosinality's factor.pt; by default the
            model folder's own directions.safetensors.
    """

    direction: Annotated[tuple[str, ...], Shown("NAME=VALUE")] = ()
    directions: Annotated[str | None, Shown("FILE")] = None

    def __post_init__(self) -> None:
        """Check that there is something to move along.

        Raises:
            UserError: Naming the field.
        """
        if self.directions is not None and not self.direction:
            raise UserError(f"{self.directions}: say with `direction` which of them", "directions")


@dataclass(frozen=True, kw_only=True)
class GenerateRequest(Steered):
    """Pictures of seeds.

    Args:
        model: Zoo name, model folder or file: .safetensors, run .ckpt, another program's .pkl or
            .pt.
        seeds: Numbers and ranges, such as 1,2,5-10.
        out: New or empty folder.
        psi: Truncation: 1 the full variety, 0 the average picture.
        grid: Also write all pictures on one sheet.
        columns: Pictures per row of the sheet; about as many as rows by default.
        class_: Class of a model trained with labels, counted from 0.
        device: auto, cpu, cuda, cuda:1 or mps.
    """

    model: Annotated[str, Shown("MODEL")]
    seeds: Annotated[str, Shown("LIST")]
    out: Annotated[str, Shown("PATH")]
    psi: Annotated[float, Shown("PSI", advanced=True)] = 0.7
    grid: bool = False
    columns: Annotated[int | None, Shown("N", advanced=True)] = None
    class_: Annotated[int | None, Shown("N", advanced=True)] = None
    device: Annotated[str, Shown("DEVICE", advanced=True)] = "auto"

    def __post_init__(self) -> None:
        """Check seeds and columns.

        Raises:
            UserError: Naming the field.
        """
        super().__post_init__()
        parse_seeds(self.seeds)
        if self.columns is not None and self.columns < 1:
            raise UserError(f"{self.columns}: give 1 or more", "columns")


@dataclass(frozen=True, kw_only=True)
class VideoRequest:
    """The clip of an edit, or of a walk between seeds.

    Args:
        out: New or empty folder, or a new file ending in .mp4 or .gif.
        edit: edit.safetensors of a drag; its model is found by the name it was opened with.
        model: Zoo name, model folder or file: .safetensors, run .ckpt, another program's .pkl or
            .pt; with `edit`, in place of the edit's own (for a model that has moved).
        seeds: Two or more to walk between, such as 1,5,9; the walk returns to the first.
        psi: Truncation of the walk: 1 the full variety, 0 the average picture.
        frames: Frames from one seed to the next.
        fps: Frames per second.
        class_: Class of a model trained with labels, counted from 0.
        overlay: Draw targets, tracks and points on an edit's frames.
        show: What an edit of a photograph shows: the model's picture, or the whole photograph with
            the edit in its place (1280 px at most).
        device: auto, cpu, cuda, cuda:1 or mps.
    """

    out: Annotated[str, Shown("PATH")]
    edit: Annotated[str | None, Shown("FILE")] = None
    model: Annotated[str | None, Shown("MODEL")] = None
    seeds: Annotated[str | None, Shown("LIST")] = None
    psi: Annotated[float, Shown("PSI", advanced=True)] = 0.7
    frames: Annotated[int, Shown("N", advanced=True)] = 48
    fps: Annotated[float, Shown("N", advanced=True)] = 24.0
    class_: Annotated[int | None, Shown("N", advanced=True)] = None
    overlay: bool = True
    show: Show = "model"
    device: Annotated[str, Shown("DEVICE", advanced=True)] = "auto"

    def __post_init__(self) -> None:
        """Check what goes together, and the numbers.

        Raises:
            UserError: Naming the field.
        """
        if (self.edit is None) == (self.seeds is None):
            raise UserError("give `edit` FILE or `seeds` 1,5,9 (with `model`), one of them")
        if self.show == "photo" and self.edit is None:
            raise UserError("photo: only with `edit`", "show")
        if not 1 <= self.fps <= 120:
            raise UserError(f"{self.fps:g}: give 1 to 120", "fps")
        if not 1 <= self.frames <= 10_000:
            raise UserError(f"{self.frames}: give 1 to 10000", "frames")
        if self.seeds is None:
            return
        if len(parse_seeds(self.seeds)) < 2:
            raise UserError(f"{self.seeds}: a walk needs two or more", "seeds")
        if self.model is None:
            raise UserError(": say which model's seeds these are", "model")


def parse_seeds(text: str) -> list[int]:
    """Read a list such as "1,2,5-10" (ranges include both ends) into seeds.

    Raises:
        UserError: If it is no such list, or a seed is not in 0 … 2**32 - 1.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if match is None:
            raise UserError(f"{text!r}: give numbers and ranges such as 1,2,5-10", "seeds")
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if not first <= last <= MAX_SEED:
            raise UserError(f"{text!r}: {part.strip()} is not a rising range up to 2^32-1", "seeds")
        if len(seeds) + last - first >= MAX_SEEDS:
            raise UserError(f"{text!r}: more than {MAX_SEEDS} seeds", "seeds")
        seeds.extend(range(first, last + 1))
    return seeds
