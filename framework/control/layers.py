"""The layers of W+ by what they draw, and latents mixed by layer: TediGAN's control mechanism.

Xia et al. 2021 (TediGAN, 3.3) keep the layers of one code and take the others from another. In
large models, which layers draw what follows from their resolutions (Karras et al. 2019, 3.1), so
the map is read from the network and there for any size. Small models need not keep to it: a map
that was measured (`framework.control.analysis`) takes its place.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from framework.errors import BrokenCheckpoint, UserError
from framework.models.stylegan2 import Generator

GROUPS = ("pose", "shape", "colour", "detail")
FILE = "layers.json"
_LARGEST_FILE = 1 << 20
_LARGEST_POSE, _LARGEST_SHAPE, _SMALLEST_DETAIL = 8, 32, 128  # resolutions, in pixels
_ALL = "all"


@dataclass(frozen=True)
class LayerMap:
    """The layers of a generator's `ws`, by resolution or as measured.

    Args:
        resolutions: Nominal resolution of the block that each of the `num_ws` layers modulates,
            smallest first; the last is that of the last colour layer.
        measured: Group of each layer, of `GROUPS`, where that was measured; empty for the groups
            that follow from the resolutions.
    """

    resolutions: tuple[int, ...]
    measured: tuple[str, ...] = ()

    @classmethod
    def of(cls, generator: Generator) -> "LayerMap":
        """Read the map of a generator: a layer belongs to the convolution that it modulates."""
        synthesis = generator.synthesis
        blocks = zip(synthesis.resolutions, synthesis.blocks, strict=True)
        convolutions = [size for size, block in blocks for _ in range(block.num_conv)]
        return cls((*convolutions, synthesis.resolutions[-1]))

    @classmethod
    def read(cls, file: str | Path, generator: Generator, model: str) -> "LayerMap":
        """Read the measured map of a generator from the file that `edit.py layers` writes.

        Args:
            file: The file.
            generator: The generator.
            model: The user's name of it.

        Raises:
            UserError: If it is another generator's: then naming the command that makes it anew.
            BrokenCheckpoint: If it is no such file.
        """
        file, by_resolution = Path(file), cls.of(generator)
        try:
            if file.stat().st_size > _LARGEST_FILE:
                raise ValueError("too long")
            facts = json.loads(file.read_text("utf-8"))
            digest, groups = str(facts["generator_digest"]), facts["map"]["measured"]
            names = {int(i): str(name) for name in groups for i in groups[name]}
        except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
            raise BrokenCheckpoint(f"{file}: cannot be read as layers ({error})") from None
        if digest != generator.digest:
            raise UserError(
                f"{file}: layers of another model (digest {digest[:8]}; this one's is"
                f" {generator.digest[:8]}); python edit.py layers --model {model} --out DIR"
                " measures them anew"
            )
        if sorted(names) != [*range(by_resolution.num_ws)] or not set(names.values()) <= {*GROUPS}:
            raise BrokenCheckpoint(f"{file}: its groups are not all layers of this model")
        return cls(by_resolution.resolutions, tuple(names[i] for i in sorted(names)))

    @property
    def num_ws(self) -> int:
        """The number of layers."""
        return len(self.resolutions)

    def group(self, name: str) -> tuple[int, ...]:
        """Return the layers of a group, counted from 0, the coarsest; there may be none.

        Unless measured, `pose` are those of 4 and 8 px, `shape` of 16 and 32 px, `colour` the
        larger ones and the last colour layer, `detail` the last block if it is of 128 px or more
        (those are no longer `colour`); `all` is every one.
        """
        if name == _ALL:
            return tuple(range(self.num_ws))
        return tuple(i for i in range(self.num_ws) if self._name(i) == name)

    @property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """The groups that have layers; each layer is in one."""
        groups = {name: self.group(name) for name in GROUPS}
        return {name: layers for name, layers in groups.items() if layers}

    def named(self, layers: Sequence[int]) -> str:
        """Return the name of a set of layers: of a group, or numbers such as 0-2,5."""
        layers = tuple(sorted(layers))
        for name in (_ALL, *GROUPS):
            if layers == self.group(name):
                return name
        return numbers(layers)

    def form(self, layer: int) -> str:
        """Return the group of a layer that draws form: `pose` up to 8 px, `shape` above."""
        return "pose" if self.resolutions[layer] <= _LARGEST_POSE else "shape"

    def parse(self, text: str) -> tuple[int, ...]:
        """Read layers such as "colour", "pose,shape", "0-2,5" or "all".

        Raises:
            UserError: If a word is neither a group nor layers of this model.
        """
        layers: set[int] = set()
        for word in text.split(","):
            group = self.group(word.strip())
            layers.update(group or self._numbers(word.strip(), text))
        return tuple(sorted(layers))

    def to_dict(self) -> dict[str, Any]:
        """Return the map as JSON values."""
        by_resolution = LayerMap(self.resolutions)
        return {
            "resolutions": list(self.resolutions),
            "by_resolution": {name: list(own) for name, own in by_resolution.groups.items()},
            "measured": {name: list(own) for name, own in self.groups.items()},
        }

    def _name(self, layer: int) -> str:
        if self.measured:
            return self.measured[layer]
        resolution, is_last = self.resolutions[layer], layer == self.num_ws - 1
        if resolution >= _SMALLEST_DETAIL and resolution == self.resolutions[-1]:
            return "detail"
        if resolution > _LARGEST_SHAPE or is_last:
            return "colour"
        return self.form(layer)

    def _numbers(self, word: str, text: str) -> range:
        first, dash, last = (part.strip() for part in word.partition("-"))
        ends = [first, last if dash else first]
        if all(end.isascii() and end.isdecimal() and len(end) < 4 for end in ends):
            numbers = range(int(ends[0]), int(ends[1]) + 1)
            if numbers and numbers[-1] < self.num_ws:
                return numbers
        names = ", ".join([*self.groups, _ALL])
        raise UserError(f"{text!r}: give {names}, or layers from 0 to {self.num_ws - 1} as 0-2,5")


def mix(content: Tensor, style: Tensor, layers: Sequence[int]) -> Tensor:
    """Return latents with another picture's styles in some layers (Karras et al. 2019, 3.1).

    Args:
        content: Latents (N, num_ws, w_dim).
        style: The other picture's, likewise; N may be 1.
        layers: The layers that take the other's styles, counted from 0, the coarsest.

    Raises:
        UserError: If there are no such layers.
    """
    wrong = [layer for layer in layers if not 0 <= layer < content.shape[1]]
    if wrong or not layers:
        given = f"{min(layers)} to {max(layers)}" if layers else "none"
        raise UserError(f"{given}: this model has layers 0 to {content.shape[1] - 1}", "layers")
    result = content.clone()
    result[:, list(layers)] = style[:, list(layers)].to(content)
    return result


def resample(ws: Tensor, touched: Sequence[int], fresh: Tensor) -> Tensor:
    """Return variants of latents: the layers that nothing touched are drawn anew (TediGAN, 3.3).

    Args:
        ws: Latents (1, num_ws, w_dim) that something, such as a text, decided in some layers.
        touched: Those layers; they stay as they are.
        fresh: Latents of other pictures, (N, num_ws, w_dim).

    Returns:
        Latents (N, num_ws, w_dim).
    """
    untouched = sorted(set(range(ws.shape[1])) - set(touched))
    variants = ws.expand(len(fresh), -1, -1)
    return mix(variants, fresh, untouched) if untouched else variants.clone()


def numbers(layers: Sequence[int]) -> str:
    """Return rising numbers as text, such as 0-2,5."""
    ends = ((run[0], run[-1]) for run in _runs(layers))
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ends)


def _runs(layers: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield every unbroken run of rising numbers."""
    start = 0
    for i in range(1, len(layers) + 1):
        if i == len(layers) or layers[i] != layers[i - 1] + 1:
            yield layers[start:i]
            start = i
