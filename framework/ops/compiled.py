"""The choice of operations that run compiled (C++ on CPUs, CUDA on GPUs) or as torch's own."""

import sys
from collections.abc import Sequence
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from framework.errors import UserError

Mode = Literal["auto", "torch", "compiled"]
OPS: dict[str, tuple[str, ...]] = {  # device type -> operations that are written for it
    "cpu": ("upfirdn2d", "bias_act", "modulate_act", "nearest_patches"),
    "cuda": ("upfirdn2d", "bias_act"),
}
# `auto` compiles what was measured to be faster (benchmarks/README.md); CUDA was not measured.
FASTER: dict[str, tuple[str, ...]] = {"cpu": ("upfirdn2d", "modulate_act", "nearest_patches")}
# Result sample (i, j) of `upfirdn2d` is the sum over (a, b) of gain * kernel[a, b], the kernel
# turned around if `flip`, times source sample ((i * down + a - top) / up, (j * down + b - left) /
# up), where those are whole numbers inside the picture. The caller gives the result's size.
SCHEMAS = {
    "upfirdn2d": "(Tensor x, Tensor kernel, int up, int down, int top, int left, int height, "
    "int width, bool flip, float gain) -> Tensor",
    "bias_act": "(Tensor x, Tensor? bias, float slope, float gain, float limit) -> Tensor",
    "bias_act_forward": "(Tensor dx, Tensor? dbias, Tensor y, float slope, float gain, float limit)"
    " -> Tensor",
    "bias_act_backward": "(Tensor grad, Tensor y, float slope, float gain, float limit)"
    " -> (Tensor, Tensor)",
    "modulate_act": "(Tensor x, Tensor scale, Tensor? noise, Tensor? bias, float slope, "
    "float limit) -> Tensor",
    "modulate_act_forward": "(Tensor dx, Tensor dscale, Tensor dnoise, Tensor dbias, Tensor x, "
    "Tensor scale, Tensor? y, float slope, float limit) -> Tensor",
    "modulate_act_backward": "(Tensor grad, Tensor x, Tensor scale, Tensor? y, float slope, "
    "float limit) -> (Tensor, Tensor, Tensor, Tensor)",
    "nearest_patches": "(Tensor target, Tensor source, Tensor active, Tensor allowed, Tensor start,"
    " int side, int iterations, int seed) -> (Tensor, Tensor)",
}

_active: dict[str, tuple[str, ...]] = {}  # device type -> operations that run compiled
_loaded: set[str] = set()


def use_ops(mode: Mode, device: torch.device | str = "cpu") -> tuple[str, ...]:
    """Choose how this process computes the operations on a device; without a call, as torch's own.

    The first choice of a compiled operation on a machine builds it, with a line on stderr, in half
    a minute for a CPU and two for a GPU; later ones find it in the user's cache folder.

    Args:
        mode: `torch`; `compiled` for all; `auto` for those measured to be faster on such a device,
            or torch's own, with a line on stderr, where compiling fails.
        device: A device of the type that is meant.

    Returns:
        The operations that now run compiled on the device.

    Raises:
        UserError: If `mode` is `compiled` and compiling fails.
    """
    if mode not in ("auto", "torch", "compiled"):
        raise UserError(f"ops {mode!r}: auto, torch or compiled")
    kind = torch.device(device).type
    operations = {"auto": FASTER, "torch": {}, "compiled": OPS}[mode].get(kind, ())
    problem = _load(kind) if operations or mode == "compiled" else None
    if problem and mode == "compiled":
        raise UserError(f"ops compiled: {problem}; ops auto or torch goes without")
    if problem:
        print(f"note: no compiled operations: {problem}; torch's own are used", file=sys.stderr)
        operations = ()
    _active[kind] = operations
    return operations


def use_if_built(op: str) -> None:
    """Let one operation run compiled on CPUs if it has been built; all others stay as they are.

    For programs that cannot wait for a compiler, or whose other numbers must not change.
    """
    if prospects("cpu") == "built" and _load("cpu") is None:
        _active["cpu"] = tuple({*_active.get("cpu", ()), op})


def runs_compiled(op: str, x: Tensor) -> bool:
    """Whether `op` runs compiled on `x`."""
    return op in _active.get(x.device.type, ())


def prospects(device: torch.device | str = "cpu") -> str:
    """Say what `use_ops("compiled", device)` would find; nothing is built or loaded."""
    kind = torch.device(device).type
    if problem := _unwritten(kind):
        return problem
    from framework.ops import build

    try:
        return "built" if build.cached_library(kind, build.cache_folder()) else "built on first use"
    except build.BuildError as error:
        return str(error)


def _unwritten(kind: str) -> str | None:
    if kind in ("cpu", "cuda") and sys.platform != "win32":
        return None
    return f"there are none for {kind} on {sys.platform}"


def _load(kind: str) -> str | None:
    """Load a device type's library, built if need be; return a line that says why if it fails."""
    if kind in _loaded:
        return None
    if problem := _unwritten(kind):
        return problem
    from framework.ops import build  # not on Windows, which has no fcntl

    try:
        folder = build.cache_folder()
        if not build.cached_library(kind, folder):
            print(f"note: compiling operations for {kind}, once: a minute or two", file=sys.stderr)
        path = build.library(kind, folder)
        _declare()
        torch.ops.load_library(path)
    except (build.BuildError, OSError, RuntimeError) as error:
        return str(error).splitlines()[0]
    _loaded.add(kind)
    return None


@cache
def _declare() -> None:
    """Tell torch the operations' signatures, and torch.compile their shapes."""
    for name, schema in SCHEMAS.items():
        torch.library.define(f"dragline::{name}", schema)
    for name, fake in FAKES.items():
        torch.library.register_fake(f"dragline::{name}", fake)


def _fake_upfirdn2d(
    x: Tensor,
    kernel: Tensor,
    up: int,
    down: int,
    top: int,
    left: int,
    height: int,
    width: int,
    flip: bool,
    gain: float,
) -> Tensor:
    return _new(x, (*x.shape[:2], height, width))


def _fake_bias_act(
    x: Tensor, bias: Tensor | None, slope: float, gain: float, limit: float
) -> Tensor:
    return _new(x, x.shape)


def _fake_bias_act_forward(
    dx: Tensor, dbias: Tensor | None, y: Tensor, slope: float, gain: float, limit: float
) -> Tensor:
    return _new(y, y.shape)


def _fake_bias_act_backward(
    grad: Tensor, y: Tensor, slope: float, gain: float, limit: float
) -> tuple[Tensor, Tensor]:
    return _new(y, y.shape), y.new_empty(y.shape[1])


def _fake_modulate_act(
    x: Tensor,
    scale: Tensor,
    noise: Tensor | None,
    bias: Tensor | None,
    slope: float,
    limit: float,
) -> Tensor:
    return _new(x, x.shape)


def _fake_modulate_act_forward(
    dx: Tensor,
    dscale: Tensor,
    dnoise: Tensor,
    dbias: Tensor,
    x: Tensor,
    scale: Tensor,
    y: Tensor | None,
    slope: float,
    limit: float,
) -> Tensor:
    return _new(x, x.shape)


def _fake_modulate_act_backward(
    grad: Tensor, x: Tensor, scale: Tensor, y: Tensor | None, slope: float, limit: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    maps = scale.new_empty(x.shape[0], 1, *x.shape[2:])
    return _new(x, x.shape), scale.new_empty(scale.shape), maps, scale.new_empty(x.shape[1])


def _fake_nearest_patches(
    target: Tensor,
    source: Tensor,
    active: Tensor,
    allowed: Tensor,
    start: Tensor,
    side: int,
    iterations: int,
    seed: int,
) -> tuple[Tensor, Tensor]:
    return start.new_empty(start.shape), target.new_empty(active.shape)


def _new(like: Tensor, shape: Sequence[int]) -> Tensor:
    """A dense tensor in the layout of `like`, as the compiled operations make them."""
    last = like.ndim == 4 and not like.is_contiguous()
    last = last and like.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout)


FAKES = {
    "upfirdn2d": _fake_upfirdn2d,
    "bias_act": _fake_bias_act,
    "bias_act_forward": _fake_bias_act_forward,
    "bias_act_backward": _fake_bias_act_backward,
    "modulate_act": _fake_modulate_act,
    "modulate_act_forward": _fake_modulate_act_forward,
    "modulate_act_backward": _fake_modulate_act_backward,
    "nearest_patches": _fake_nearest_patches,
}
