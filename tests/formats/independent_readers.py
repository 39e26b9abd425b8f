"""Readers of exported files that share nothing with the project: written from the layouts alone.

For NVIDIA's pickles a stand-in for the two packages that such a file refers to, used with Python's
own `pickle`, as the programs do; and a reader that takes only the tensors, by their names, and
draws with plain torch functions. For rosinality's files the same by that program's names.
"""

import io
import math
import pickle
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from uuid import uuid4

import torch
import torch.nn.functional as F
from torch import Tensor

LRELU_GAIN = math.sqrt(2)


class EasyDict(dict):
    """A dictionary whose items are attributes, too."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


@contextmanager
def nvidia_packages(decorates: bool = True) -> Iterator[None]:
    """`torch_utils.persistence` and `dnnlib.util` as far as files need them, for a while.

    Args:
        decorates: Whether the package offers `persistent_class`, with which the source of a file
            can make its classes storable. Without it objects are only read.
    """
    names = ("torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util")
    modules = {name: ModuleType(name) for name in names}
    modules["dnnlib.util"].EasyDict = EasyDict
    sources: dict[str, str] = {}
    _fill(modules["torch_utils.persistence"], sources, decorates)
    assert not modules.keys() & sys.modules.keys()
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in (*modules, *sources):
            del sys.modules[name]


def _fill(persistence: ModuleType, sources: dict[str, str], decorates: bool) -> None:
    """Fill the package; `sources` gets the text of each module it makes, by the module's name."""
    storable: set[type] = set()

    def persistent_class(cls: type) -> type:
        if cls in storable:
            return cls

        class Storable(cls):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                self._init_args, self._init_kwargs = args, kwargs

            @property
            def init_args(self) -> tuple:
                return self._init_args

            @property
            def init_kwargs(self) -> EasyDict:
                return EasyDict(self._init_kwargs)

            def __reduce__(self) -> tuple:
                meta = {
                    "type": "class",
                    "version": 6,
                    "module_src": sources[cls.__module__],
                    "class_name": cls.__name__,
                    "state": dict(vars(self)),
                }
                return reconstruct, (meta,)

        Storable.__name__ = cls.__name__
        storable.add(Storable)
        return Storable

    def module_of(source: str) -> ModuleType:
        for name, known in sources.items():
            if known == source:
                return sys.modules[name]
        module = ModuleType(f"_from_a_file_{uuid4().hex}")
        sys.modules[module.__name__], sources[module.__name__] = module, source
        exec(source, vars(module))
        return module

    def reconstruct(meta: dict[str, Any]) -> Any:
        assert (meta["type"], meta["version"]) == ("class", 6)
        cls = vars(module_of(meta["module_src"]))[meta["class_name"]]
        cls = persistent_class(cls) if decorates else cls
        made = cls.__new__(cls)
        made.__setstate__(EasyDict(meta["state"]))
        return made

    reconstruct.__module__ = persistence.__name__
    reconstruct.__qualname__ = reconstruct.__name__ = "_reconstruct_persistent_obj"
    persistence._reconstruct_persistent_obj = reconstruct
    if decorates:
        persistence.persistent_class = persistent_class


def load_network_pkl(data: bytes) -> dict[str, Any]:
    """What the programs' loaders do: unpickle, then look that the three networks are modules.

    To be called within `nvidia_packages`.
    """
    networks = pickle.loads(data)
    for name in ("G", "D", "G_ema"):
        assert isinstance(networks[name], torch.nn.Module), name
    assert isinstance(networks["training_set_kwargs"], dict | None)
    assert isinstance(networks["augment_pipe"], torch.nn.Module | None)
    return networks


class _TensorsOnly(pickle.Unpickler):
    """Takes the state of each object for the object and looks at no source."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "_reconstruct_persistent_obj":
            return lambda meta: meta["state"]
        assert module.split(".")[0] in ("torch", "collections"), f"{module}.{name}"
        return super().find_class(module, name)


def nvidia_tensors(data: bytes, network: str) -> "Tensors":
    """Parameters and buffers of one network of a file, by their dotted names."""
    tensors: dict[str, Tensor] = {}

    def collect(state: Mapping[str, Any], prefix: str) -> None:
        tensors.update({prefix + n: t for n, t in state["_parameters"].items() if t is not None})
        tensors.update({prefix + name: t for name, t in state["_buffers"].items()})
        for name, module in state["_modules"].items():
            collect(module, f"{prefix}{name}.")

    collect(_TensorsOnly(io.BytesIO(data)).load()[network], "")
    return Tensors(tensors)


class Tensors:
    """Tensors by name that remember which of them were asked for."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = {name: tensor.detach() for name, tensor in tensors.items()}
        self.unused = set(tensors)

    def __getitem__(self, name: str) -> Tensor:
        self.unused.discard(name)
        return self._tensors[name]

    def __contains__(self, name: str) -> bool:
        return name in self._tensors


# Plain arithmetic, in the definitions' own order: nothing is fused, samples come one by one.


def lrelu(x: Tensor, bias: Tensor | None = None) -> Tensor:
    if bias is not None:
        x = x + bias.reshape(1, -1, 1, 1)
    return F.leaky_relu(x, 0.2) * LRELU_GAIN


def unit_mean_square(x: Tensor) -> Tensor:
    return x / (x.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()


def linear(x: Tensor, weight: Tensor, bias: Tensor, rate: float = 1.0) -> Tensor:
    return F.linear(x, weight * (rate / math.sqrt(weight.shape[1])), bias * rate)


def filtered(x: Tensor, kernel: Tensor, padding: int) -> Tensor:
    """Each channel convolved with the kernel."""
    n, c, h, w = x.shape
    x = F.conv2d(x.reshape(n * c, 1, h, w), kernel.flip(0, 1)[None, None], padding=padding)
    return x.reshape(n, c, *x.shape[2:])


def with_zeros(x: Tensor, trailing: int) -> Tensor:
    """Zeros between the samples, and `trailing` of them at the end of both axes."""
    n, c, h, w = x.shape
    spread = x.new_zeros(n, c, 2 * h - 1 + trailing, 2 * w - 1 + trailing)
    spread[:, :, : 2 * h - 1 : 2, : 2 * w - 1 : 2] = x
    return spread


def doubled(img: Tensor, kernel: Tensor) -> Tensor:
    """Upsampled picture; the kernel's sum is 4."""
    n, c, _, _ = img.shape
    spread = F.pad(with_zeros(img, 1), (2, 1, 2, 1))
    return F.conv2d(
        spread.reshape(n * c, 1, *spread.shape[2:]), kernel.flip(0, 1)[None, None]
    ).reshape(n, c, *(2 * side for side in img.shape[2:]))


def modulated(
    x: Tensor, weight: Tensor, style: Tensor, kernel: Tensor | None = None, demodulate: bool = True
) -> Tensor:
    """Each sample convolved with weights of its own; upsampled first if there is a kernel."""
    pictures = []
    for sample, s in zip(x, style, strict=True):
        w = weight * s[None, :, None, None]
        if demodulate:
            w = w / (w.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if kernel is None:
            pictures.append(F.conv2d(sample[None], w, padding=w.shape[-1] // 2))
        else:
            full = F.conv2d(with_zeros(sample[None], 0), w.flip(2, 3), padding=2)
            pictures.append(filtered(full, kernel, 1))
    return torch.cat(pictures)


def with_statistics(x: Tensor, group: int) -> Tensor:
    """The minibatch's standard deviation as one map more; `group` divides the batch."""
    y = x.reshape(group, -1, *x.shape[1:])
    y = (y.var(dim=0, correction=0) + 1e-8).sqrt().mean(dim=(1, 2, 3)).repeat(group)
    return torch.cat([x, y[:, None, None, None].expand_as(x[:, :1])], dim=1)


def nvidia_w(t: Tensors, z: Tensor, psi: float = 1.0) -> Tensor:
    """Mapping network under NVIDIA's names."""
    x, i = unit_mean_square(z), 0
    while f"mapping.fc{i}.weight" in t:
        name = f"mapping.fc{i}"
        x, i = lrelu(linear(x, t[f"{name}.weight"], t[f"{name}.bias"], 0.01)), i + 1
    return t["mapping.w_avg"] + psi * (x - t["mapping.w_avg"])


def nvidia_picture(t: Tensors, w: Tensor) -> Tensor:
    """Synthesis network under NVIDIA's names, constant noise, one w for all layers."""

    def style(name: str) -> Tensor:
        return linear(w, t[f"{name}.affine.weight"], t[f"{name}.affine.bias"])

    def layer(x: Tensor, name: str, kernel: Tensor | None = None) -> Tensor:
        x = modulated(x, t[f"{name}.weight"], style(name), kernel)
        x = x + t[f"{name}.noise_const"] * t[f"{name}.noise_strength"]
        return lrelu(x, t[f"{name}.bias"])

    def shortcut(x: Tensor, name: str) -> Tensor:
        weight = t[f"{name}.weight"]
        larger = doubled(x, t[f"{name}.resample_filter"] * 4)
        return F.conv2d(larger, weight / math.sqrt(weight.shape[1]))

    x = t["synthesis.b4.const"].expand(len(w), -1, -1, -1)
    img, r = torch.zeros(1), 4
    while f"synthesis.b{r}.conv1.weight" in t:
        block, below = f"synthesis.b{r}", x
        if r > 4:
            x = layer(x, f"{block}.conv0", t[f"{block}.conv0.resample_filter"] * 4)
            img = doubled(img, t[f"{block}.resample_filter"] * 4) if img.ndim > 1 else img
        x = layer(x, f"{block}.conv1")
        if f"{block}.skip.weight" in t:  # architecture resnet
            x = (x + shortcut(below, f"{block}.skip")) / math.sqrt(2)
        if f"{block}.torgb.weight" not in t:  # resnet and orig, below the last block
            r *= 2
            continue
        weight = t[f"{block}.torgb.weight"]
        colours = style(f"{block}.torgb") / math.sqrt(weight.shape[1])
        rgb = modulated(x, weight, colours, demodulate=False)
        img, r = img + rgb + t[f"{block}.torgb.bias"].reshape(1, -1, 1, 1), 2 * r
    return img


def rosinality_w(t: Tensors, z: Tensor, latent_avg: Tensor, psi: float = 1.0) -> Tensor:
    """`style` of rosinality's generator, then its truncation."""
    x, i = unit_mean_square(z), 1
    while f"style.{i}.weight" in t:
        x, i = lrelu(linear(x, t[f"style.{i}.weight"], t[f"style.{i}.bias"], 0.01)), i + 1
    return latent_avg + psi * (x - latent_avg)


def rosinality_picture(t: Tensors, w: Tensor) -> Tensor:
    """The rest of rosinality's generator, with the noise that it stores."""

    def convolved(x: Tensor, name: str, kernel: Tensor | None, demodulate: bool) -> Tensor:
        weight = t[f"{name}.conv.weight"][0]
        mod = f"{name}.conv.modulation"
        style = linear(w, t[f"{mod}.weight"], t[f"{mod}.bias"])
        scale = 1 / math.sqrt(weight[0].numel())
        return modulated(x, weight * scale, style, kernel, demodulate)

    def layer(x: Tensor, name: str, noise: int, kernel: Tensor | None = None) -> Tensor:
        x = convolved(x, name, kernel, True)
        x = x + t[f"noises.noise_{noise}"] * t[f"{name}.noise.weight"]
        return lrelu(x, t[f"{name}.activate.bias"])

    def colours(x: Tensor, name: str) -> Tensor:
        return convolved(x, name, None, False) + t[f"{name}.bias"]

    x = layer(t["input.input"].expand(len(w), -1, -1, -1), "conv1", 0)
    img, j = colours(x, "to_rgb1"), 0
    while f"to_rgbs.{j}.bias" in t:
        x = layer(x, f"convs.{2 * j}", 2 * j + 1, t[f"convs.{2 * j}.conv.blur.kernel"])
        x = layer(x, f"convs.{2 * j + 1}", 2 * j + 2)
        img = doubled(img, t[f"to_rgbs.{j}.upsample.kernel"]) + colours(x, f"to_rgbs.{j}")
        j += 1
    return img


def rosinality_logits(t: Tensors, img: Tensor) -> Tensor:
    """Rosinality's discriminator; the batch is one group of four or less."""

    def convolved(x: Tensor, name: str, **options: int) -> Tensor:
        weight = t[f"{name}.weight"]
        return F.conv2d(x, weight / math.sqrt(weight[0].numel()), **options)

    x, j = lrelu(convolved(img, "convs.0.0"), t["convs.0.1.bias"]), 1
    while f"convs.{j}.conv1.0.weight" in t:
        name = f"convs.{j}"
        skip = filtered(x, t[f"{name}.skip.0.kernel"], 1)
        skip = convolved(skip, f"{name}.skip.1", stride=2)
        x = lrelu(convolved(x, f"{name}.conv1.0", padding=1), t[f"{name}.conv1.1.bias"])
        x = convolved(filtered(x, t[f"{name}.conv2.0.kernel"], 2), f"{name}.conv2.1", stride=2)
        x, j = (lrelu(x, t[f"{name}.conv2.2.bias"]) + skip) / math.sqrt(2), j + 1
    x = with_statistics(x, min(len(x), 4))
    x = lrelu(convolved(x, "final_conv.0", padding=1), t["final_conv.1.bias"]).flatten(1)
    x = lrelu(linear(x, t["final_linear.0.weight"], t["final_linear.0.bias"]))
    return linear(x, t["final_linear.1.weight"], t["final_linear.1.bias"])
