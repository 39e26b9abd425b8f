"""Directions: named vectors of `ws` along which something about a picture changes.

A direction says nothing about how it was found: eigenvectors, linear probes and the difference of
two texts' latents are all vectors with a name, and all are applied alike.
"""

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from framework.control.layers import LayerMap
from framework.errors import UserError

LARGEST_VALUE = 100.0  # standard deviations; beyond, networks return noise, and then infinity
NAME = re.compile(r"[^\W_][\w.:+-]*")
_MOST_LISTED = 12


@dataclass(frozen=True, eq=False)
class Direction:
    """A direction in the latents of one model.

    Args:
        name: Name, of letters, digits and `._:+-`.
        vectors: What is added to each of `layers` for a value of 1 / `scale`: shape
            (1, w_dim) where all take the same, or (len(layers), w_dim); their rows have a root mean
            square length of 1.
        layers: Layers of `ws` that it moves, rising.
        scale: Standard deviation of w along it (see `unit`): a value of 1 is that far.
        found: What found it: `pca`, `sefa`, `probe`, …
        facts: Further facts, such as a probe's accuracy; JSON values.
    """

    name: str
    vectors: Tensor
    layers: tuple[int, ...]
    scale: float
    found: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def step(self, num_ws: int) -> Tensor:
        """Return what a value of 1 adds to latents, (1, num_ws, w_dim)."""
        step = torch.zeros(1, num_ws, self.vectors.shape[1], device=self.vectors.device)
        step[:, list(self.layers)] = self.scale * self.vectors
        return step


def unit(
    name: str,
    vectors: Tensor,
    layers: Sequence[int],
    w: Tensor,
    found: str,
    facts: Mapping[str, Any] | None = None,
) -> Direction:
    """Return a direction whose values count in standard deviations.

    Args:
        name: Name.
        vectors: Vectors of any length, (1, w_dim) or (len(layers), w_dim).
        layers: Layers that it moves.
        w: Samples of w, (M, w_dim). Its standard deviation along the direction is the root mean
            square, over the vectors, of that of `w @ vector`.
        found: What found it.
        facts: Further facts.

    Raises:
        UserError: If the vectors are zero, or w does not vary along them.
    """
    vectors = vectors.cpu().float()  # a device may have no float64
    length = vectors.square().sum(dim=1).mean().sqrt()
    vectors = vectors / length
    variance = (w.cpu().double() @ vectors.T.double()).var(dim=0)
    scale = variance.mean().sqrt().item()
    if not (math.isfinite(scale) and scale > 0):
        raise UserError(f"{name}: this model's latents do not vary along it")
    return Direction(name, vectors, tuple(sorted(layers)), scale, found, dict(facts or {}))


@dataclass(frozen=True)
class Move:
    """A value along a direction.

    Args:
        name: The direction's name.
        value: How far, in its standard deviations.
        layers: Words for the only layers that move, or "" for all of the direction's.
    """

    name: str
    value: float
    layers: str = ""

    @classmethod
    def parse(cls, text: str) -> "Move":
        """Read "NAME=1.5", or "NAME@colour=1.5" for some of its layers.

        Raises:
            UserError: If it is something else, or no number up to `LARGEST_VALUE`.
        """
        head, equals, number = text.rpartition("=")
        name, _, layers = head.partition("@")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not equals or not name:
            raise UserError(f"{text!r}: give NAME=VALUE such as pca0=1.5", "direction")
        if not abs(value) <= LARGEST_VALUE:
            raise UserError(
                f"{text!r}: {number.strip() or 'nothing'} is no number from -{LARGEST_VALUE:g} to"
                f" {LARGEST_VALUE:g}, in standard deviations, usually up to 3",
                "direction",
            )
        return cls(name.strip(), value, layers.strip())


def moved(
    ws: Tensor, moves: Sequence[Move], directions: Mapping[str, Direction], layers: LayerMap
) -> Tensor:
    """Return latents moved along directions: `ws + sum of value * step` (Shen et al. 2020, 3.1).

    Args:
        ws: Latents (N, num_ws, w_dim).
        moves: The moves, whose order means nothing.
        directions: The directions by name.
        layers: The model's layers.

    Raises:
        UserError: If a name or a layer is unknown; the nearest name is offered.
    """
    for move in moves:
        step = find(move.name, directions).step(layers.num_ws).to(ws)
        if move.layers:
            kept = layers.parse(move.layers)
            if not set(kept) & set(directions[move.name].layers):
                touched = layers.named(directions[move.name].layers)
                raise UserError(
                    f"{move.name}@{move.layers}: {move.name} moves {touched} alone", "direction"
                )
            dropped = [i for i in range(layers.num_ws) if i not in kept]
            step[:, dropped] = 0
        ws = ws + move.value * step
    return ws


def find(name: str, directions: Mapping[str, Direction]) -> Direction:
    """Return a direction by its name.

    Raises:
        UserError: If there is none; the nearest name is offered.
    """
    if name in directions:
        return directions[name]
    near = difflib.get_close_matches(name, directions, 1, 0.5)
    names = list(directions)
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    offer = (
        f"did you mean {near[0]}?" if near else f"there are {', '.join(names[:_MOST_LISTED])}{more}"
    )
    raise UserError(f"{name}: no such direction; {offer}", "direction")


def by_name(directions: Iterable[Direction]) -> dict[str, Direction]:
    """Return directions by name.

    Raises:
        UserError: If two have the same name, or a name could not be typed.
    """
    result: dict[str, Direction] = {}
    for direction in directions:
        if direction.name in result:
            raise UserError(f"{direction.name}: two directions have this name")
        if not NAME.fullmatch(direction.name):
            raise UserError(f"{direction.name!r}: not a name; use letters, digits and ._:+-")
        result[direction.name] = direction
    return result
