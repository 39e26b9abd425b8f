"""What a checkpoint holds, held against the networks that would go on with it, before any use.

A digest says that a file is as it was written, not that it was written by us. Compiled optimizers
take a tensor's size for granted: a state of another shape or type is memory that is not theirs.
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
        checkpoint: As it was read.
        name: What complaints call it, such as its path.
    """

    def __init__(self, checkpoint: dict[str, Any], name: str) -> None:
        self.held, self.name = checkpoint, name

    def refuse(self, where: str, complaint: str) -> None:
        """Raise the line that says what is wrong where."""
        raise BrokenCheckpoint(
            f"{self.name}: {where} {complaint}: not what a run saves; delete this checkpoint to go "
            "on from the one before, or give a new --run.dir"
        )

    def parts(self, data: str) -> None:
        """Check the parts by name and kind, the counters, and what it says of its own layout.

        Args:
            data: Name under which the data's own state lies, if there is one.
        """
        kept = self.held.keys() - {data, _MIGRATED}
        self._same_names("it", kept, _PARTS.keys())
        for name, kind in _PARTS.items():
            self._is(name, self.held[name], kind)
        for name in ("epoch", "global_step"):
            self.count(name, self.held[name])
        if not _VERSION.fullmatch(self.held["pytorch-lightning_version"]):
            self.refuse("pytorch-lightning_version", "is no version")
        layout = self.held["dragline"].get(LAYOUT)
        if layout is not None and _MIGRATED not in self.held and layout != layout_of(self.held):
            self.refuse("something in it", "is missing, added, or of another kind or shape")
        for name in ("callbacks", "lr_schedulers"):
            if self.held[name]:
                self.refuse(name, "holds something")

    def seen_images(self, batch_size: int) -> int:
        """The images seen, a number of whole batches."""
        where, seen = "seen_images", self.held["dragline"].get("seen_images")
        self.count(where, seen)
        if seen == 0 or seen % batch_size:
            self.refuse(where, f"is {seen}, no number of whole batches of {batch_size}")
        return seen

    def half_lives(self) -> list[float]:
        """The half-lives of the averages, as far as it names them."""
        listed = self.held["dragline"].get("ema_kimg", [])
        self._is("ema_kimg", listed, list)
        for value in listed:
            if type(value) not in (int, float) or not 0 <= value < math.inf:
                self.refuse("ema_kimg", f"holds {_shown(value)}")
        return listed

    def counts(self, where: str, held: Any, wanted: Any) -> None:
        """Check nested tables of counters against those of today, which have the same names."""
        if isinstance(wanted, dict):
            self._is(where, held, dict)
            self._same_names(where, held.keys(), wanted.keys())
            for name, value in wanted.items():
                self.counts(f"{where}/{name}", held[name], value)
        elif isinstance(wanted, bool):
            self._is(where, held, bool)
        else:
            self.count(where, held)

    def count(self, where: str, value: Any) -> None:
        """Check a whole number that can be."""
        self._is(where, value, int)
        if not 0 <= value <= _LARGEST:
            self.refuse(where, f"is {value}")

    def tensors(self, where: str, held: Any) -> None:
        """Check a table of plain tensors by name."""
        self._is(where, held, dict)
        for name, value in held.items():
            self._is(f"a name in {where}", name, str)
            self.plain_tensor(f"{where}/{name}", value)

    def same_tensors(self, where: str, held: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
        """Check names, shapes, kinds and values of a state dict."""
        self._same_names(where, held.keys(), wanted.keys())
        for name, tensor in wanted.items():
            self.fits(f"{where}/{name}", held[name], tensor)

    def others(self, where: str, names: Set[str], passing: tuple[str, ...]) -> None:
        """Check that what is not used is of modules that settings may have turned off."""
        for name in sorted(names):
            if not name.startswith(passing):
                self.refuse(where, f"holds {_shown(name)}")

    def optimizers(
        self, held: list[Any], fresh: Sequence[torch.optim.Optimizer], steps: int
    ) -> None:
        """Check every Adam's state; see `optimizer`."""
        if len(held) != len(fresh):
            self.refuse("optimizer_states", f"holds {len(held)}, not {len(fresh)}")
        for index, (state, optimizer) in enumerate(zip(held, fresh, strict=True)):
            self.optimizer(f"optimizer_states/{index}", state, optimizer, steps)

    def optimizer(self, where: str, held: Any, fresh: torch.optim.Optimizer, steps: int) -> None:
        """Check an Adam's state against its parameters.

        Args:
            where: Its place in the checkpoint.
            held: State dict of an optimizer.
            fresh: One that was just made for the same network.
            steps: The most that it can have taken.
        """
        self._is(where, held, dict)
        self._same_names(where, held.keys(), {"state", "param_groups"})
        self._group(f"{where}/param_groups", held["param_groups"], fresh)
        parameters = fresh.param_groups[0]["params"]
        self._is(f"{where}/state", held["state"], dict)
        for index, state in held["state"].items():
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

    def _group(self, where: str, held: Any, fresh: torch.optim.Optimizer) -> None:
        """Check the settings of an Adam; those of today take their place."""
        (wanted,) = fresh.state_dict()["param_groups"]
        self._is(where, held, list)
        if len(held) != 1:
            self.refuse(where, f"holds {len(held)} groups")
        self._is(where, held[0], dict)
        self._same_names(where, held[0].keys() | (wanted.keys() - _ADAM), wanted.keys())
        for name, value in held[0].items():
            self._setting(f"{where}/0/{name}", value, wanted[name])

    def _setting(self, where: str, held: Any, wanted: Any) -> None:
        """Check one setting: another number is fine where it is a number."""
        if isinstance(wanted, tuple):
            self._is(where, held, tuple)
            if len(held) != len(wanted):
                self.refuse(where, f"holds {len(held)} values")
            for old, new in zip(held, wanted, strict=True):
                self._setting(where, old, new)
        elif type(wanted) is float:
            if type(held) not in (int, float) or not 0 <= held < math.inf:
                self.refuse(where, f"is {_shown(held)}")
        elif repr(held) != repr(wanted):  # equal plain values; tensors would compare to tensors
            self.refuse(where, f"is {_shown(held)}, not {_shown(wanted)}")

    def fits(self, where: str, held: Any, wanted: Tensor) -> None:
        """Check a tensor's kind, shape and values; whole numbers and flags have no wrong ones."""
        self.plain_tensor(where, held)
        if (held.dtype, held.shape) != (wanted.dtype, wanted.shape):
            self.refuse(where, f"is {_kind(held)}, not {_kind(wanted)}")
        if not held.isfinite().all():
            self.refuse(where, "is not finite")

    def plain_tensor(self, where: str, value: Any) -> None:
        """Check that it is a tensor of its own memory, with nothing special about it."""
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

    def _same_names(self, where: str, held: Any, wanted: Any) -> None:
        missing, added = sorted(wanted - held, key=str), sorted(held - wanted, key=str)
        if missing:
            self.refuse(where, f"lacks {_shown(missing[0])}")
        if added:
            self.refuse(where, f"holds {_shown(added[0])}")


_WORDS: dict[type, str] = {
    int: "a whole number", bool: "yes or no", str: "a text", dict: "a table", list: "a list",
    tuple: "a pair",
}  # fmt: skip


def layout_of(checkpoint: dict[str, Any]) -> str:
    """Digest of the names, kinds and shapes of all that a checkpoint holds, whatever the values."""
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
    """Whether every element has a place of its own, and no place is without one."""
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
