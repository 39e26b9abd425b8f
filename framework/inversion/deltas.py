"""Differences of weights that tuning makes, and a generator with such changes."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from framework.errors import BrokenCheckpoint, UserError
from framework.models.frozen import gradients
from framework.models.stylegan2 import Generator

PREFIX = "delta."  # prefix of the tensors' names in a file


@dataclass(frozen=True, eq=False)
class WeightDeltas:
    """Differences to add to a generator's weights, by their names in its state dict.

    Args:
        full: Differences in the shapes of the weights.
        low_rank: Factors A (O, r) and B (r, K) of differences of weights (O, ...), K numbers in
            each row.
    """

    full: Mapping[str, Tensor] = field(default_factory=dict)
    low_rank: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The changed weights, sorted."""
        return sorted({*self.full, *self.low_rank})

    def dense(self, name: str, like: Tensor) -> Tensor:
        """Return the difference of one weight, float32, in the shape and on the device of `like`.

        Raises:
            UserError: If the shapes do not fit.
        """
        if name in self.full:
            delta = self.full[name].to(like.device, torch.float32)
        else:
            a, b = (factor.to(like.device, torch.float32) for factor in self.low_rank[name])
            # Product by product: a matrix product's order of summation depends on the machine.
            delta = sum(a[:, i, None] * b[i] for i in range(a.shape[1]))
            assert isinstance(delta, Tensor)
        rows = len(like) if like.ndim else 1
        shape = like.shape if name in self.full else (rows, like.numel() // rows)
        if delta.shape != shape:
            raise UserError(
                f"change of {name} {tuple(delta.shape)}: this model's weight is "
                f"{tuple(like.shape)}; it belongs to another model"
            )
        return delta.reshape(like.shape)

    def half(self) -> "WeightDeltas":
        """Convert to half precision, as in files: half the size, the same everywhere."""
        return self._each(lambda tensor: tensor.half())

    def detach(self) -> "WeightDeltas":
        """Copy every tensor, without a graph."""
        return self._each(lambda tensor: tensor.detach().clone())

    def compressed(self, rank: int) -> "WeightDeltas":
        """Return the nearest changes of this rank, at least 1, if they are smaller (truncated SVD).

        Differences of one dimension stay unchanged.
        """
        full, low_rank = dict(self.full), dict(self.low_rank)
        for name, delta in self.full.items():
            matrix = delta.float().flatten(1) if delta.ndim > 1 else None
            if matrix is None or rank * sum(matrix.shape) >= matrix.numel():
                continue
            u, s, v = torch.linalg.svd(matrix, full_matrices=False)
            root = s[:rank].sqrt()  # shared by both factors: none is too small for half
            low_rank[name] = (u[:, :rank] * root, root[:, None] * v[:rank])
            del full[name]
        return WeightDeltas(full, low_rank)

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by their names in a file: `delta.NAME`, or `delta.NAME.A` and `.B`."""
        result = {PREFIX + name: delta for name, delta in self.full.items()}
        for name, (a, b) in self.low_rank.items():
            result |= {f"{PREFIX}{name}.A": a, f"{PREFIX}{name}.B": b}
        return result

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "WeightDeltas | None":
        """Read the result of `tensors`; None if these tensors contain no changes.

        Raises:
            BrokenCheckpoint: If factors do not come in pairs that can be multiplied, or values are
                not finite.
        """
        changes = {n.removeprefix(PREFIX): t for n, t in tensors.items() if n.startswith(PREFIX)}
        full, low_rank = {}, {}
        for name, tensor in changes.items():
            if not tensor.is_floating_point() or not tensor.isfinite().all():
                raise BrokenCheckpoint(f"{PREFIX}{name}: holds values that are not finite numbers")
            stem = name[:-2]
            if not name.endswith((".A", ".B")):
                full[name] = tensor
            elif not _multiply(changes.get(f"{stem}.A"), changes.get(f"{stem}.B")):
                raise BrokenCheckpoint(f"{PREFIX}{stem}: its factors A and B do not fit each other")
            else:
                low_rank[stem] = (changes[f"{stem}.A"], changes[f"{stem}.B"])
        return cls(full, low_rank) if full or low_rank else None

    def _each(self, change: Callable[[Tensor], Tensor]) -> "WeightDeltas":
        full = {name: change(delta) for name, delta in self.full.items()}
        pairs = self.low_rank.items()
        return WeightDeltas(full, {name: (change(a), change(b)) for name, (a, b) in pairs})


def _multiply(a: Tensor | None, b: Tensor | None) -> bool:
    """Whether both factors exist and can be multiplied."""
    if a is None or b is None or a.ndim != 2 or b.ndim != 2:
        return False
    return a.shape[1] == b.shape[0] > 0


def personal(
    generator: Generator,
    noise: Mapping[str, Tensor] | None = None,
    deltas: WeightDeltas | None = None,
) -> Generator:
    """Make a generator with its own noise maps and changes of weights.

    Args:
        generator: The shared generator; only read.
        noise: Noise maps of one picture by buffer name, as large as the buffers; None for the
            generator's own.
        deltas: Changes of weights; None for no change.

    Returns:
        A frozen generator that shares all other tensors with `generator` and has its own digest, or
        `generator` itself if there is nothing to change.

    Raises:
        UserError: If a name or a shape is not the generator's.
    """
    noise = noise or {}
    if not noise and (deltas is None or not deltas.names):
        return generator
    state = generator.state_dict(keep_vars=True)
    changed: dict[str, Tensor] = {}
    with gradients(False):
        for name in deltas.names if deltas is not None else []:
            base = _tensor_of(state, name, "change of").detach()
            assert deltas is not None
            changed[name] = (base.float() + deltas.dense(name, base)).to(base.dtype)
        for name, maps in noise.items():
            base = _tensor_of(state, name, "noise map")
            if maps.numel() != base.numel() or maps.shape[-2:] != base.shape[-2:]:
                raise UserError(
                    f"noise map {name} {tuple(maps.shape)}: this model's is {tuple(base.shape)}; it"
                    " belongs to another model, or to several pictures"
                )
            changed[name] = maps.detach().reshape(base.shape).to(base, copy=True)
        return _replaced(shell(generator), changed)


def shell(generator: Generator) -> Generator:
    """Make frozen new modules around the same memory; the generator does not see changes."""
    memo: dict[int, Tensor] = {id(buffer): buffer for buffer in generator.buffers()}
    for parameter in generator.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach(), requires_grad=False)
    copied = copy.deepcopy(generator, dict(memo))
    copied.__dict__.pop("digest", None)
    return copied


def _tensor_of(state: Mapping[str, Tensor], name: str, what: str) -> Tensor:
    if name not in state:
        raise UserError(f"{what} {name}: this model has no such tensor; it belongs to another")
    return state[name]


def _replaced(generator: Generator, tensors: Mapping[str, Tensor]) -> Generator:
    """Return the generator with some of its parameters and buffers exchanged."""
    for name, tensor in tensors.items():
        owner, _, leaf = name.rpartition(".")
        module = generator.get_submodule(owner)
        is_weight = leaf in module._parameters
        setattr(module, leaf, nn.Parameter(tensor, requires_grad=False) if is_weight else tensor)
    return generator
