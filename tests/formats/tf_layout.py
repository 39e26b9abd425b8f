"""Small models in the layout of NVIDIA's TensorFlow programs, pickled as those programs pickle.

Names, shapes and the order of axes are written down here from the programs' documentation and
their network definitions, not from the reader that is tested with them.
"""

import pickle
import re
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

Variables = list[tuple[str, np.ndarray]]
SIZES: dict[str, Any] = {
    "resolution": 16,
    "num_channels": 3,
    "label_size": 0,
    "fmap_base": 64,  # 12, 12 and 8 feature maps at 4, 8 and 16 px
    "fmap_max": 12,
}
LATENTS: dict[str, Any] = {"latent_size": 8, "dlatent_size": 10, "mapping_layers": 3}


class Network:
    """Stands for `dnnlib.tflib.network.Network`: its state is what that class's would be."""

    def __init__(
        self,
        name: str,
        variables: Variables,
        arguments: dict[str, Any],
        components: dict[str, "Network"] | None = None,
        version: int = 4,
    ) -> None:
        self.version = version
        self.name = name
        self.static_kwargs = dict(arguments)
        self.components = dict(components or {})
        self.build_module_src = "raise SystemExit  # source text, which nobody may run"
        self.build_func_name = f"{name}_main"
        self.variables = variables


@contextmanager
def stand_in_modules(**classes: Any) -> Iterator[None]:
    """Let classes and functions pickle under other names, spelled package__module__name."""
    before = dict(sys.modules)
    spelled = {c: (c.__module__, c.__qualname__) for c in classes.values()}
    try:
        for dotted, cls in classes.items():
            *parts, name = re.split("__(?=[a-zA-Z_])", dotted)
            for end in range(1, len(parts) + 1):
                module = ".".join(parts[:end])
                sys.modules.setdefault(module, types.ModuleType(module))
            setattr(sys.modules[".".join(parts)], name, cls)
            cls.__module__, cls.__qualname__ = ".".join(parts), name
        yield
    finally:
        for cls, (module, name) in spelled.items():
            cls.__module__, cls.__qualname__ = module, name
        for module in sys.modules.keys() - before.keys():
            del sys.modules[module]


def write(path: Path, value: Any, protocol: int = 4, under: str = "dnnlib__tflib__network") -> Path:
    """Pickle networks, their class under the name that it has in `under`."""
    with stand_in_modules(**{f"{under}__Network": Network}):
        path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


def feature_maps(stage: int, sizes: dict[str, Any]) -> int:
    """Feature maps of a stage; stage log2(r) - 1 belongs to resolution r."""
    return int(np.clip(int(sizes["fmap_base"] / 2.0**stage), 1, sizes["fmap_max"]))


def stages(sizes: dict[str, Any]) -> range:
    """log2 of the resolutions above the smallest."""
    return range(3, int(np.log2(sizes["resolution"])) + 1)


class Drawn:
    """Random variables: float32, and scalars as TensorFlow hands them out."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.RandomState(seed)
        self.variables: Variables = []

    def add(self, name: str, *shape: int, scale: float = 1.0) -> None:
        values = self.rng.randn(*shape) if shape else self.rng.randn()
        self.variables.append((name, np.float32(values * scale)))


def generator(sizes: dict[str, Any], seed: int = 0, **arguments: Any) -> Network:
    """A random generator of `G_main`, `G_mapping` and `G_synthesis_stylegan2`."""
    args = {**LATENTS, **sizes, **arguments}
    w_dim = args["dlatent_size"]
    main, mapping, synthesis = Drawn(seed), Drawn(seed + 1), Drawn(seed + 2)
    main.add("lod", scale=0)
    main.add("dlatent_avg", w_dim)
    width = args["latent_size"]
    if args["label_size"]:
        embedded = args.get("label_fmaps", width)
        mapping.add("LabelEmbed/weight", args["label_size"], embedded)
        mapping.add("LabelEmbed/bias", embedded)
        width += embedded
    for i in range(args["mapping_layers"]):
        mapping.add(f"Dense{i}/weight", width, w_dim, scale=100)
        mapping.add(f"Dense{i}/bias", w_dim, scale=100)
        width = w_dim

    def layer(scope: str, kernel: int, inputs: int, outputs: int, noise: bool) -> None:
        synthesis.add(f"{scope}/weight", kernel, kernel, inputs, outputs)
        synthesis.add(f"{scope}/mod_weight", w_dim, inputs)
        synthesis.add(f"{scope}/mod_bias", inputs, scale=0.5)
        if noise and args.get("use_noise", True):
            synthesis.add(f"{scope}/noise_strength")
        synthesis.add(f"{scope}/bias", outputs)

    if args.get("use_noise", True):
        for index in range(2 * len(stages(args)) + 1):
            synthesis.add(f"noise{index}", 1, 1, *[2 ** ((index + 5) // 2)] * 2)
    below, colours = feature_maps(1, args), args["num_channels"]
    synthesis.add("4x4/Const/const", 1, below, 4, 4)
    layer("4x4/Conv", 3, below, below, noise=True)
    design, top = args.get("architecture", "skip"), stages(args)[-1]
    if design == "skip":
        layer("4x4/ToRGB", 1, below, colours, noise=False)
    for stage in stages(args):
        scope, maps = f"{2**stage}x{2**stage}", feature_maps(stage - 1, args)
        layer(f"{scope}/Conv0_up", 3, below, maps, noise=True)
        layer(f"{scope}/Conv1", 3, maps, maps, noise=True)
        if design == "resnet":
            synthesis.add(f"{scope}/Skip/weight", 1, 1, below, maps)
        if design == "skip" or stage == top:
            layer(f"{scope}/ToRGB", 1, maps, colours, noise=False)
        below = maps
    components = {
        "synthesis": Network("G_synthesis", synthesis.variables, args),
        "mapping": Network("G_mapping", mapping.variables, args),
    }
    return Network("G", main.variables, {**sizes, **LATENTS, **arguments}, components)


def discriminator(sizes: dict[str, Any], seed: int = 0, **arguments: Any) -> Network:
    """A random discriminator of `D_stylegan2` or, with labels, of stylegan2-ada's `D_main`."""
    args, drawn = {**sizes, **arguments}, Drawn(seed)
    top, last = stages(args)[-1], feature_maps(1, args)
    if args["label_size"]:
        drawn.add("LabelEmbed/weight", args["label_size"], feature_maps(0, args))
        drawn.add("LabelEmbed/bias", feature_maps(0, args))

    def layer(scope: str, *shape: int, bias: bool = True) -> None:
        drawn.add(f"{scope}/weight", *shape)
        if bias:
            drawn.add(f"{scope}/bias", shape[-1])

    layer(f"{2**top}x{2**top}/FromRGB", 1, 1, args["num_channels"], feature_maps(top - 1, args))
    for stage in reversed(stages(args)):
        scope = f"{2**stage}x{2**stage}"
        maps, fewer = feature_maps(stage - 1, args), feature_maps(stage - 2, args)
        layer(f"{scope}/Conv0", 3, 3, maps, maps)
        layer(f"{scope}/Conv1_down", 3, 3, maps, fewer)
        if args.get("architecture", "resnet") == "resnet":
            layer(f"{scope}/Skip", 1, 1, maps, fewer, bias=False)
    statistics = 0 if args.get("mbstd_group_size", 4) == 0 else 1
    layer("4x4/Conv", 3, 3, last + statistics, last)
    layer("4x4/Dense0", last * 16, feature_maps(0, args))
    layer("Output", feature_maps(0, args), feature_maps(0, args) if args["label_size"] else 1)
    return Network("D", drawn.variables, {**sizes, **arguments})


def from_ours(state: dict[str, Tensor], w_avg: bool) -> dict[str, np.ndarray]:
    """Our state dict under TensorFlow's names and with its axes; generators have a `w_avg`."""
    theirs = {}
    for name, tensor in state.items():
        if not name.endswith("resample_filter"):
            key, turned = (_generator_name if w_avg else _discriminator_name)(name)
            theirs[key] = _their_axes(key, tensor.numpy(), turned)
    return theirs


def _generator_name(name: str) -> tuple[str, bool]:
    """TensorFlow's name of a tensor, and whether its kernels are stored turned by 180 degrees."""
    if name == "mapping.w_avg":
        return "dlatent_avg", False
    parts = name.split(".")
    leaf = parts[-1] if parts[-2] != "affine" else f"mod_{parts[-1]}"
    if parts[0] == "mapping":
        return f"mapping/{parts[1].replace('fc', 'Dense')}/{leaf}", False
    res, layer = int(parts[1][1:]), parts[2]
    if leaf == "noise_const":
        first = {"conv0": 5, "conv1": 4}[layer]
        return f"synthesis/noise{2 * int(np.log2(res)) - first}", False
    spelled = {"conv0": "Conv0_up", "conv1": "Conv1", "torgb": "ToRGB", "const": "Const"}[layer]
    if res == 4 and layer == "conv1":
        spelled = "Conv"
    return f"synthesis/{res}x{res}/{spelled}/{leaf}", layer == "conv0"


def _discriminator_name(name: str) -> tuple[str, bool]:
    block, layer, leaf = name.split(".")
    if name.startswith("b4."):
        return {"conv": "4x4/Conv", "fc": "4x4/Dense0", "out": "Output"}[layer] + f"/{leaf}", False
    spelled = {"fromrgb": "FromRGB", "conv0": "Conv0", "conv1": "Conv1_down", "skip": "Skip"}[layer]
    return f"{block[1:]}x{block[1:]}/{spelled}/{leaf}", False


def _their_axes(key: str, array: np.ndarray, turned: bool) -> np.ndarray:
    leaf = key.rpartition("/")[2]
    if leaf == "mod_bias":
        return array - np.float32(1)
    if leaf == "const" or (leaf.startswith("noise") and leaf != "noise_strength"):
        return array.reshape((1,) * (4 - array.ndim) + array.shape)
    if array.ndim == 4:
        array = np.ascontiguousarray(np.moveaxis(array, (2, 3), (0, 1)).swapaxes(2, 3))
        return np.rot90(array, 2) if turned else array
    return array.T if array.ndim == 2 else array


def network_of(arrays: dict[str, np.ndarray], arguments: dict[str, Any]) -> Network:
    """A network of variables, those with a component's name before them in it."""
    parts: dict[str, Variables] = {"": [], "mapping": [], "synthesis": []}
    for name, array in arrays.items():
        first, _, rest = name.partition("/")
        owner, local = (first, rest) if first in parts else ("", name)
        parts[owner].append((local, array[()] if array.ndim == 0 else array))
    inner = {n: Network(n, parts[n], arguments) for n in ("mapping", "synthesis") if parts[n]}
    return Network("network", parts[""], arguments, inner)
