"""What a page changes a picture by without a point: directions and texts of the open model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from shlex import quote

import torch
from torch import Tensor

from framework.control.directions import LARGEST_VALUE, Move, moved
from framework.control.directions_file import NAME as DIRECTIONS
from framework.control.directions_file import Directions
from framework.control.layers import LayerMap
from framework.errors import UserError
from framework.formats.text_file import NAME as TEXT_ENCODER
from framework.jobs.models import Networks, portable_name
from framework.jobs.steering import open_directions
from framework.jobs.text import Texts

MOST_SHOWN = 64  # directions
_DECIMALS = 4  # of a value


@dataclass(frozen=True, eq=False)
class Control:
    """The directions and the text encoder of one model; it may have neither.

    Args:
        directions: The directions.
        layers: The model's layers, where there are directions.
        texts: What reads texts.
        text_encoder: File of the text encoder, where it is not the model folder's own.
        complaints: What was wrong with the model folder's own files, a line each.
    """

    directions: Directions | None = None
    layers: LayerMap | None = None
    texts: Texts | None = None
    text_encoder: str | None = None
    complaints: tuple[str, ...] = ()

    @classmethod
    def open(
        cls, networks: Networks, directions: str | None = None, text_encoder: str | None = None
    ) -> "Control":
        """Open what a model has.

        Args:
            networks: The model's networks.
            directions: File of directions, or its folder; None for the model folder's own.
            text_encoder: File of the text encoder, or its folder; None likewise.

        Raises:
            UserError: If a file that was given does not fit. The model folder's own are left out.
        """
        own, complaints = networks.opened.path, []
        if networks.diffuses:
            if directions or text_encoder:
                _ = networks.layered  # refuses it
            return cls()
        table = layers = texts = None
        try:
            if directions or (own / DIRECTIONS).is_file():
                table, layers = open_directions(networks, directions), networks.layers
        except UserError as error:
            if directions:
                raise
            complaints.append(str(error))
        try:
            if text_encoder or (own / TEXT_ENCODER).is_file():
                texts = Texts.open(networks, text_encoder)
        except UserError as error:
            if text_encoder:
                raise
            complaints.append(str(error))
        return cls(table, layers, texts, text_encoder, tuple(complaints))

    @property
    def names(self) -> list[str]:
        """The names of the directions that a page shows."""
        return [] if self.directions is None else [*self.directions.table][:MOST_SHOWN]

    def steered(
        self, ws: Tensor, notes: Sequence["Change"], values: Mapping[str, float]
    ) -> "Steered":
        """Return what it takes to bring directions to values.

        Several in a row are one move from where the first began, so that a command line that is
        given their sum makes the same latents to the bit.

        Args:
            ws: Latents now, (1, num_ws, w_dim).
            notes: The changes that led to them.
            values: Values by the names of directions, in standard deviations.

        Raises:
            UserError: If there is no such direction, or a value is too large.
        """
        if self.directions is None or self.layers is None:
            raise UserError("this model has no directions", "direction")
        for name, value in values.items():
            if not abs(value) <= LARGEST_VALUE:
                raise UserError(f"{name}={value:g}: at most {LARGEST_VALUE:g}", "direction")
        goes_on = bool(notes) and bool(notes[-1].moves) and torch.equal(notes[-1].after, ws)
        earlier = [*notes[:-1]] if goes_on else [*notes]
        before = notes[-1].before if goes_on else ws
        moves = dict(notes[-1].moves) if goes_on else {}
        shown = values_of(earlier)
        for name, value in values.items():
            moves.pop(name, None)
            if by := round(value - shown.get(name, 0.0), _DECIMALS):
                moves[name] = by
        steps = [Move(name, value) for name, value in moves.items()]
        after = moved(before, steps, self.directions.table, self.layers)
        change = Change(before, after, moves, directions=self.directions)
        return Steered(after, (*earlier, change) if moves else (*earlier,))

    def text_change(self, before: Tensor, after: Tensor, text: str) -> "Change":
        """Return the change that a text made."""
        file = self.text_encoder and portable_name(self.text_encoder)
        return Change(before, after, {}, text, text_encoder=file)


@dataclass(frozen=True, eq=False)
class Change:
    """A change of a picture without a point.

    Args:
        before: Latents before, (1, num_ws, w_dim).
        after: Latents after.
        moves: Values along directions, or none.
        text: The text, or "".
        directions: The directions that `moves` are along.
        text_encoder: File of the text encoder, where it is not the model folder's own.
    """

    before: Tensor
    after: Tensor
    moves: Mapping[str, float]
    text: str = ""
    directions: Directions | None = None
    text_encoder: str | None = None

    @property
    def words(self) -> str:
        """What it is in words, as a command line takes it."""
        return repr(self.text) if self.text else " ".join(f"{n}={v}" for n, v in self.moves.items())

    def command(self, image: str, model: str, out: str) -> str:
        """Return the command that makes this change.

        Args:
            image: File or folder of the picture before.
            model: The model's name; "" where the picture's file names it.
            out: The new folder.
        """
        if self.text:
            words = ["text", self.text]
            more = ["--text-encoder", self.text_encoder] if self.text_encoder else []
        else:
            words = ["edit"]
            more = [w for n, v in self.moves.items() for w in ("--direction", f"{n}={v}")]
            more += ["--directions", DIRECTIONS]
        named = ["--model", model] if model else []
        words = ["python", "edit.py", *words, *named, "--image", image, *more, "--out", out]
        return " ".join(map(quote, words))


@dataclass(frozen=True, eq=False)
class Steered:
    """Latents after a move along directions, and the changes that led to them."""

    ws: Tensor
    notes: tuple[Change, ...]


def values_of(notes: Sequence[Change]) -> dict[str, float]:
    """Return how far all changes together have moved along each direction."""
    values: dict[str, float] = {}
    for note in notes:
        for name, value in note.moves.items():
            values[name] = round(values.get(name, 0.0) + value, _DECIMALS)
    return values


def since_drags(notes: Sequence[Change]) -> Sequence[Change]:
    """Return the last changes between which nothing was dragged."""
    first = len(notes) - 1
    for before, after in reversed([*pairwise(notes)]):
        if not torch.equal(before.after, after.before):
            break
        first -= 1
    return notes[max(0, first) :]


def commands(
    notes: Sequence[Change], start: str, result: str, model: str, drag: str = ""
) -> Iterator[str]:
    """Yield the lines that make changes again, those since the last drag between them.

    Args:
        notes: The changes, at least one.
        start: File of the picture before `since_drags(notes)`.
        result: Name of the file that each command writes.
        model: The model's name; "" where a picture's file names it.
        drag: File of the drag that followed, or "".
    """
    chain = since_drags(notes)
    for change in notes[: len(notes) - len(chain)]:
        yield f"# before {start}: {change.words}, and then a drag"
    image = start
    for i, change in enumerate(chain):
        yield change.command(image, model, f"out/{i}")
        image = str(Path("out", str(i), result))
    if drag:
        yield f"# {drag} is the drag that followed; this goes on with it:"
        yield f"python edit.py drag --edit {quote(drag)} --out out/dragged"


def moved_along(notes: Sequence[Change]) -> Directions | None:
    """Return the directions that changes moved along, if any did."""
    return next((note.directions for note in reversed(notes) if note.moves), None)
