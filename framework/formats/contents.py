"""The contents of a model file, under our names and not yet built."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from framework.errors import BrokenCheckpoint
from framework.formats.storages import StoredTensor

_LARGEST_PLAIN = 10_000
_LONGEST_PLAIN = 1 << 20
_DEEPEST_PLAIN = 32


TensorSource = StoredTensor | Tensor


@dataclass
class NetworkParts:
    """A network of a file: arguments of `Generator` or `Discriminator`, and its state dict.

    Tensors are under NVIDIA's names, most of them still in the file.
    """

    config: dict[str, Any]
    tensors: dict[str, TensorSource]

    def read(self, where: str, file_bytes: int) -> dict[str, Tensor]:
        """Copy the tensors out of the file; floating-point numbers become float32.

        Raises:
            BrokenCheckpoint: If the tensors claim more than the file can hold.
        """
        tensors = [t for t in self.tensors.values() if isinstance(t, StoredTensor)]
        if sum(tensor.nbytes for tensor in tensors) > file_bytes:
            raise BrokenCheckpoint(
                f"{where}: its tensors claim more bytes than the file has; fetch it again"
            )

        def copy(tensor: TensorSource) -> Tensor:
            tensor = tensor.read() if isinstance(tensor, StoredTensor) else tensor
            return tensor.float() if tensor.is_floating_point() else tensor

        return {name: copy(tensor) for name, tensor in self.tensors.items()}


@dataclass
class EncoderParts:
    """An encoder of pSp's or e4e's family, passed on unchanged.

    Attributes:
        encoder_type: Its name in `opts`, such as `Encoder4Editing`.
        tensors: State dict under its own names, without the prefix `encoder.`.
        latent_avg: Mean style, shape (w_dim,) or (num_ws, w_dim); None where the file has none.
        opts: Its training options, plain values.
    """

    encoder_type: str
    tensors: dict[str, StoredTensor]
    latent_avg: StoredTensor | None
    opts: dict[str, Any]


@dataclass
class Contents:
    """The contents of a model file.

    Attributes:
        dialect: Name of the program that writes such files.
        networks: Networks by role: `generator` (averaged, for use), `training_generator`
            (as trained), `discriminator`.
        notes: Notes on what was left out, computed or assumed, a sentence each.
        provenance: Facts about the training run that the file states; JSON values.
        encoder: The encoder beside the generator, in files that have one.
        needs_w_avg: Whether the mean style must be computed from the mapping network.
    """

    dialect: str
    networks: dict[str, NetworkParts]
    notes: list[str] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)
    encoder: EncoderParts | None = None
    needs_w_avg: bool = False


def plain(value: Any, where: str) -> Any:
    """Copy numbers, texts, lists and tables out of a file's values; anything else becomes None.

    Raises:
        BrokenCheckpoint: If there are more of them than any model's options.
    """
    left, letters_left = _LARGEST_PLAIN, _LONGEST_PLAIN

    def copy(value: Any, depth: int) -> Any:
        nonlocal left, letters_left
        left -= 1
        letters_left -= len(value) if isinstance(value, str) else 0
        if left < 0 or letters_left < 0 or depth > _DEEPEST_PLAIN:
            raise BrokenCheckpoint(f"{where}: its options unfold without end; fetch it again")
        if isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, dict):
            return {key: copy(item, depth + 1) for key, item in value.items() if type(key) is str}
        if isinstance(value, list | tuple):
            return [copy(item, depth + 1) for item in value]
        return None

    return copy(value, 0)


def without_prefixes(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Drop the prefixes that wrappers add: `module.` (DDP), `_orig_mod.` (compile)."""
    wrappers = re.compile(r"^(?:module\.|_orig_mod\.)+")
    if tensors and all(wrappers.match(name) for name in tensors):
        return {wrappers.sub("", name): tensor for name, tensor in tensors.items()}
    return dict(tensors)


def sample_of(names: Mapping[str, Any]) -> str:
    """Return a few names for a message."""
    return ", ".join(str(name)[:60] for name in list(names)[:5]) or "nothing"
