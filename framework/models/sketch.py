"""Networks without values, to be filled or only to be measured."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from framework.errors import BrokenCheckpoint


class Undrawn(TorchFunctionMode):
    """A mode that skips drawing initial weights, which are about to be replaced: seconds.

    Their memory is never touched.
    """

    _DRAWING = frozenset({"kaiming_uniform_", "kaiming_normal_", "uniform_", "normal_"})

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Allocate instead of drawing; call everything else unchanged."""
        if function is torch.randn:
            function = torch.empty
        elif getattr(function, "__name__", "") in self._DRAWING:
            return args[0] if args else (kwargs or {}).get("tensor")
        return function(*args, **(kwargs or {}))


def fill(network: nn.Module, tensors: Mapping[str, Tensor], where: str, what: str) -> None:
    """Give a network the tensors of a file, in float32, and freeze it in evaluation mode.

    Args:
        network: A network without values.
        tensors: Its state; counters may be whole numbers, nothing else.
        where: The file, for messages.
        what: The source of the names and shapes that must be there, for messages.

    Raises:
        BrokenCheckpoint: If names, shapes or kinds are not the network's.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    actual = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    odd = [name for name in expected | actual if expected.get(name) != actual.get(name)]
    if odd:
        raise BrokenCheckpoint(
            f"{where}: {len(odd)} tensors do not fit {what}, such as "
            + ", ".join(f"{n[:80]} {actual.get(n, 'missing')}" for n in odd[:3])
        )
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() and not name.endswith("num_batches_tracked"):
            raise BrokenCheckpoint(f"{where}: {name} holds {tensor.dtype}, which are not weights")
    state = {n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}
    network.load_state_dict(state, assign=True)
    network.eval().requires_grad_(False)


@contextmanager
def sketching() -> Iterator[None]:
    """Build networks that have shapes and take no memory, within the context.

    The networks are on the device "meta", and undrawn: torch draws there in Python, and the first
    time imports its compiler and SymPy, which takes as long as importing torch.
    """
    with torch.device("meta"), Undrawn():
        yield
