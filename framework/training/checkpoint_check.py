"""Comparing a checkpoint with the networks that would go on with it, before any use.

A digest says that a file is unchanged, not who wrote it. Compiled optimizers take a tensor's size
for granted: with a state of another shape or type they would use memory that is not theirs.
"""

import hashlib
import math
import re
from collections.abc import Iterator, Sequence, Set
from typing import Any

import torch
from torch import Tensor

from framework.errors import BrokenCheckpoint

LAYOUT = "layout"
_PARTS: dict[str, type] = {
    "epoch": int,
    "global_step": int,
    "pytorch-lightning_version": str,
    "state_dict": dict,
    "loops": dict,
    "callbacks": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
    "dragline": dict,
}
_MIGRATED = "legacy_pytorch-lightning_version"  # added by Lightning to what another version wrote
_LARGEST = 10**15
_VERSION = re.compile(r"2\.\d{1,3}\.\d{1,3}[\w.+]{0,20}")
# What Adam's settings are called by every torch that this project runs on; later ones may add.
_ADAM = {
    "lr", "betas", "eps", "weight_decay", "amsgrad", "maximize", "foreach", "capturable",
    "differentiable", "fused", "decoupled_weight_decay", "params",
}  # fmt: skip


class CheckpointCheck:
    """Compares the parts of one checkpoint with freshly built ones.

    Args:
        checkpoint: The checkpoint as it was read.
        name: The checkpoint's name in complaints, such as its path.
    """

    def __init__(self, checkpoint: dict[str, Any], name: str) -> None:
        self.checkpoint, self.name = checkpoint, name

    def refuse(self, where: str, complaint: str) -> None:
        """Raise an error of one line that says what is wrong where."""
        raise BrokenCheckpoint(
            f"{self.name}: {where} {complaint}: not what a run saves; delete this checkpoint to go "
            "on from the one before, or give a new --run.dir"
        )

    def parts(self, data: str) -> None:
        """Check the parts by name and kind, the counters, and the digest of the layout.

        Args:
            data: Name of the data's own state, if there is one.
        """
        names = self.checkpoint.keys() - {data, _MIGRATED}
        self._same_names("it", names, _PARTS.keys())
        for name, kind in _PARTS.items():
            self._is(name, self.checkpoint[name], kind)
        for name in ("epoch", "global_step"):
            self.count(name, self.checkpoint[name])
        if not _VERSION.fullmatch(self.checkpoint["pytorch-lightning_version"]):
            self.refuse("pytorch-lightning_version", "is no version")
        layout = self.checkpoint["dragline"].get(LAYOUT)
        if (
            layout is not None
            and _MIGRATED not in self.checkpoint
            and layout != layout_of(self.checkpoint)
        ):
            self.refuse("something in it", "is missing, added, or of another kind or shape")
        for name in ("callbacks", "lr_schedulers"):
            if self.checkpoint[name]:
                self.refuse(name, "holds something")

    def seen_images(self, batch_size: int) -> int:
        """Return the number of images seen; it must be one of whole batches."""
        where, seen_images = "seen_images", self.checkpoint["dragline"].get("seen_images")
        self.count(where, seen_images)
        if seen_images == 0 or seen_images % batch_size:
            self.refuse(where, f"is {seen_images}, no number of whole batches of {batch_size}")
        return seen_images

    def half_lives(self) -> list[float]:
        """Return the half-lives of the averages; older checkpoints do not name them."""
        listed = self.checkpoint["dragline"].get("ema_kimg", [])
        self._is("ema_kimg", listed, list)
        for value in listed:
            if type(value) not in (int, float) or not 0 <= value < math.inf:
                self.refuse("ema_kimg", f"holds {_shown(value)}")
        return listed

    def counts(self, where: str, actual: Any, expected: Any) -> None:
        """Check nested tables of counters against a fresh trainer's, which have the same names."""
        if isinstance(expected, dict):
            self._is(where, actual, dict)
            self._same_names(where, actual.keys(), expected.keys())
            for name, value in expected.items():
                self.counts(f"{where}/{name}", actual[name], value)
        elif isinstance(expected, bool):
            self._is(where, actual, bool)
        else:
            self.count(where, actual)

    def count(self, where: str, value: Any) -> None:
        """Check a whole number and its range."""
        self._is(where, value, int)
        if not 0 <= value <= _LARGEST:
            self.refuse(where, f"is {value}")

    def tensors(self, where: str, actual: Any) -> None:
        """Check a table of plain tensors by name."""
        self._is(where, actual, dict)
        for name, value in actual.items():
            self._is(f"a name in {where}", name, str)
            self.plain_tensor(f"{where}/{name}", value)

    def same_tensors(
        self, where: str, actual: dict[str, Tensor], expected: dict[str, Tensor]
    ) -> None:
        """Check names, shapes, kinds and values of a state dict."""
        self._same_names(where, actual.keys(), expected.keys())
        for name, tensor in expected.items():
            self.fits(f"{where}/{name}", actual[name], tensor)

    def others(self, where: str, names: Set[str], passing: tuple[str, ...]) -> None:
        """Check that unused names belong to modules that settings may have turned off."""
        for name in sorted(names):
            if not name.startswith(passing):
                self.refuse(where, f"holds {_shown(name)}")

    def optimizers(
        self, actual: list[Any], fresh: Sequence[torch.optim.Optimizer], steps: int
    ) -> None:
        """Check every Adam's state; see `optimizer`."""
        if len(actual) != len(fresh):
            self.refuse("optimizer_states", f"holds {len(actual)}, not {len(fresh)}")
        for index, (state, optimizer) in enumerate(zip(actual, fresh, strict=True)):
            self.optimizer(f"optimizer_states/{index}", state, optimizer, steps)

    def optimizer(self, where: str, actual: Any, fresh: torch.optim.Optimizer, steps: int) -> None:
        """Check an Adam's state against its parameters.

        Args:
            where: Place of the state in the checkpoint.
            actual: State dict of an optimizer.
            fresh: A new optimizer of the same network.
            steps: The largest possible number of steps.
        """
        self._is(where, actual, dict)
        self._same_names(where, actual.keys(), {"state", "param_groups"})
        self._group(f"{where}/param_groups", actual["param_groups"], fresh)
        parameters = fresh.param_groups[0]["params"]
        self._is(f"{where}/state", actual["state"], dict)
        for index, state in actual["state"].items():
            at = f"{where}/state/{_shown(index)}"
            if type(index) is not int or not 0 <= index < len(parameters):
                self.refuse(at, "is of no parameter")
            self._is(at, state, dict)
            self._same_names(at, state.keys(), {"step", "exp_avg", "exp_avg_sq"})
            self.fits(f"{at}/step", state["step"], torch.zeros(()))
            if not 1 <= state["step"].item() <= steps or state["step"].item() % 1:
                self.refuse(f"{at}/step", f"is {state['step'].item():g}")
            for name in ("exp_avg", "exp_avg_sq"):
                self.fits(f"{at}/{name}", state[name], parameters[index])
            if state["exp_avg_sq"].lt(0).any():
                self.refuse(f"{at}/exp_avg_sq", "has negative squares")

    def _group(self, where: str, actual: Any, fresh: torch.optim.Optimizer) -> None:
        """Check the settings of an Adam; the run's own settings replace them."""
        (expected,) = fresh.state_dict()["param_groups"]
        self._is(where, actual, list)
        if len(actual) != 1:
            self.refuse(where, f"holds {len(actual)} groups")
        self._is(where, actual[0], dict)
        self._same_names(where, actual[0].keys() | (expected.keys() - _ADAM), expected.keys())
        for name, value in actual[0].items():
            self._setting(f"{where}/0/{name}", value, expected[name])

    def _setting(self, where: str, actual: Any, expected: Any) -> None:
        """Check one setting: a number may have changed, all else must be equal."""
        if isinstance(expected, tuple):
            self._is(where, actual, tuple)
            if len(actual) != len(expected):
                self.refuse(where, f"holds {len(actual)} values")
            for old, new in zip(actual, expected, strict=True):
                self._setting(where, old, new)
        elif type(expected) is float:
            if type(actual) not in (int, float) or not 0 <= actual < math.inf:
                self.refuse(where, f"is {_shown(actual)}")
        elif repr(actual) != repr(expected):  # equal plain values; tensors would compare to tensors
            self.refuse(where, f"is {_shown(actual)}, not {_shown(expected)}")

    def fits(self, where: str, actual: Any, expected: Tensor) -> None:
        """Check a tensor's kind and shape, and that its values are finite."""
        self.plain_tensor(where, actual)
        if (actual.dtype, actual.shape) != (expected.dtype, expected.shape):
            self.refuse(where, f"is {_kind(actual)}, not {_kind(expected)}")
        if not actual.isfinite().all():
            self.refuse(where, "is not finite")

    def plain_tensor(self, where: str, value: Any) -> None:
        """Check that a value is a plain tensor with memory of its own."""
        if type(value) is not Tensor:
            self.refuse(where, f"is {_shown(value)}, not a tensor")
        if value.layout is not torch.strided or value.is_quantized or value.device.type != "cpu":
            self.refuse(where, f"is {_kind(value)} of a special sort")
        if value.requires_grad or value.is_conj() or value.is_neg():
            self.refuse(where, f"is {_kind(value)} of a special sort")
        if not _is_dense(value):
            self.refuse(where, f"is {_kind(value)} with places that share memory")

    def _is(self, where: str, value: Any, kind: type) -> None:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.refuse(where, f"is {_shown(value)}, not {_WORDS[kind]}")

    def _same_names(self, where: str, actual: Any, expected: Any) -> None:
        missing, added = sorted(expected - actual, key=str), sorted(actual - expected, key=str)
        if missing:
            self.refuse(where, f"lacks {_shown(missing[0])}")
        if added:
            self.refuse(where, f"holds {_shown(added[0])}")


_WORDS: dict[type, str] = {
    int: "a whole number", bool: "yes or no", str: "a text", dict: "a table", list: "a list",
    tuple: "a pair",
}  # fmt: skip


def layout_of(checkpoint: dict[str, Any]) -> str:
    """Return a digest of the names, kinds and shapes in a checkpoint, whatever the values."""
    about = {k: v for k, v in checkpoint["dragline"].items() if k != LAYOUT}
    digest = hashlib.sha256()
    for line in _lines("", {**checkpoint, "dragline": about}):
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()


def _lines(where: str, value: Any) -> Iterator[str]:
    if isinstance(value, Tensor):
        yield f"{where} {_kind(value)}"
        return
    yield f"{where} {type(value).__name__}"
    if isinstance(value, dict):
        for name in sorted(value, key=repr):
            yield from _lines(f"{where}/{name!r}", value[name])
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _lines(f"{where}/{index}", item)


def _is_dense(value: Tensor) -> bool:
    """Return whether the elements fill the memory between them, each with a place of its own."""
    expected = 1
    for stride, size in sorted(zip(value.stride(), value.shape, strict=True)):
        if size == 1:
            continue
        if stride != expected:
            return False
        expected *= size
    return True


def _kind(value: Tensor) -> str:
    return f"a tensor {str(value.dtype).removeprefix('torch.')} {list(value.shape)}"


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return _kind(value)
    plain = value is None or isinstance(value, int | float | str)
    return repr(value)[:40] if plain else type(value).__name__
