"""Directions of a model opened by a request, and pictures moved along them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from framework.control.directions import Direction, Move, by_name, moved, unit
from framework.control.directions_file import NAME, Directions
from framework.control.discover import sampled_w
from framework.control.layers import LayerMap
from framework.errors import UserError, blame
from framework.formats.factors import read_factor
from framework.inversion.embed import mean_ws
from framework.jobs.models import Networks
from framework.jobs.requests.pictures import Steered
from framework.media.images import printable

_SAFETENSORS = ".safetensors"


@dataclass(frozen=True, eq=False)
class Steering:
    """Moves along directions of one model; there may be none.

    Args:
        moves: The moves.
        directions: The directions.
        layers: The model's layers.
    """

    moves: Sequence[Move]
    directions: Directions | None
    layers: LayerMap | None

    def moved(self, ws: Tensor) -> Tensor:
        """Return latents (N, num_ws, w_dim) after all moves."""
        if self.directions is None or self.layers is None:
            return ws
        return moved(ws, self.moves, self.directions.table, self.layers)

    @property
    def touched(self) -> set[int]:
        """The layers that a move changes."""
        if self.directions is None or self.layers is None:
            return set()
        return {
            layer
            for move in self.moves
            for layer in self.directions.table[move.name].layers
            if layer in self.layers.parse(move.layers or "all")
        }


def open_steering(request: Steered, networks: Networks) -> Steering:
    """Open the directions that a request names, and check its moves.

    Raises:
        UserError: Naming the field, if there are no directions, they are another model's, or a
            move is none.
    """
    moves = [Move.parse(text) for text in request.direction]
    if not moves:
        return Steering(moves, None, None)
    layers = networks.layers
    steering = Steering(moves, open_directions(networks, request.directions), layers)
    steering.moved(mean_ws(networks.generator))  # refuses what is unknown
    return steering


def open_directions(networks: Networks, file: str | None) -> Directions:
    """Open a file of directions for a model; None for the model folder's own.

    Raises:
        UserError: Naming the field `directions`.
    """
    path = networks.opened.path / NAME if file is None else Path(file)
    if file is None and not path.is_file():
        raise UserError(
            f": {networks.model} carries none; the verb directions finds some, give their file",
            "directions",
        )
    if path.is_dir():
        path = path / NAME
    if not path.exists():
        raise UserError(f"{printable(str(path))}: no such file", "directions")
    with blame("directions", str(path)):
        if path.suffix.lower() != _SAFETENSORS:
            return factor_directions(path, networks)
        directions = Directions.load(path)
        directions.check_model(networks.generator, networks.model)
        return directions


def factor_directions(path: Path, networks: Networks) -> Directions:
    """Open rosinality's factor file as directions factor0, factor1, … of all layers.

    Raises:
        UserError: If it is none, or of another width than this model's w.
    """
    factor, generator = read_factor(path), networks.generator
    width = factor.directions.shape[1]
    if width != generator.w_dim:
        raise UserError(
            f"{path}: directions of width {width}, and w of {networks.model} has"
            f" {generator.w_dim}; give the factor file of this model"
        )
    w = sampled_w(generator).cpu().double()
    layers = LayerMap.of(generator).group("all")
    rows = enumerate(factor.directions.split(1))
    facts = {"file": path.name, "ckpt": factor.model_name}
    found: list[Direction] = [
        unit(f"factor{i}", row, layers, w, "factor", facts) for i, row in rows
    ]
    return Directions(by_name(found), "", factor.model_name, generator.num_ws, width)
