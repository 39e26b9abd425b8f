"""Small models in the layout of NVIDIA's PyTorch programs and their forks, pickled as theirs."""

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from framework.models.stylegan2 import Discriminator, Generator
from tests.formats.tf_layout import stand_in_modules

STATISTICS = ("noise_const", "w_avg", "resample_filter")  # what the programs keep as buffers


def reconstruct(meta: dict[str, Any]) -> None:
    """Stands for `torch_utils.persistence._reconstruct_persistent_obj`."""


class Module:
    """A module as NVIDIA's `persistence` writes it: class name, state, source text."""

    def __init__(self, class_name: str = "Module", **state: Any) -> None:
        self.class_name = class_name
        self.state: dict[str, Any] = {
            "training": False,
            "_parameters": OrderedDict(),
            "_buffers": OrderedDict(),
            "_non_persistent_buffers_set": set(),
            "_modules": OrderedDict(),
            **state,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        meta = {"type": "class", "version": 6, "module_src": "raise SystemExit  # nobody may run"}
        return reconstruct, ({**meta, "class_name": self.class_name, "state": self.state},)

    def child(self, path: str) -> "Module":
        """The module at a dotted path below this one, made where there is none."""
        module = self
        for name in path.split(".") if path else []:
            module = module.state["_modules"].setdefault(name, Module())
        return module


def module_of(
    tensors: dict[str, Tensor], class_name: str, arguments: dict[str, Any] | None = None
) -> Module:
    """A tree of modules that hold these tensors, made with `arguments`."""
    root = Module(class_name, _init_args=(), _init_kwargs=arguments or {})
    for name, tensor in tensors.items():
        path, _, leaf = name.rpartition(".")
        group = "_buffers" if leaf in STATISTICS else "_parameters"
        held = tensor if group == "_buffers" else torch.nn.Parameter(tensor)
        root.child(path).state[group][leaf] = held
    return root


def made(kind: type, *sizes: Any, seed: int = 3, **options: Any) -> Any:
    """A network of ours with random numbers everywhere, where new ones have zeros, too."""
    torch.manual_seed(seed)
    usual = {"channel_base": 128, "channel_max": 12}
    if kind is Generator:
        usual |= {"z_dim": 6, "w_dim": 10, "mapping_layers": 2}
    network = kind(*sizes, **usual | options)
    for name, tensor in network.state_dict().items():
        if not name.endswith("resample_filter"):
            tensor.copy_(torch.randn(tensor.shape) * tensor.std(correction=0).clamp(0.1))
    return network.eval().requires_grad_(False)


def arguments_of(network: Generator | Discriminator, **more: Any) -> dict[str, Any]:
    """Constructor's arguments of stylegan2-ada-pytorch for a network of ours."""
    config = network.config
    picture = {"img_resolution": network_resolution(network), "img_channels": network.img_channels}
    width = {name: config[name] for name in ("channel_base", "channel_max")}
    if isinstance(network, Generator):
        sizes = {name: config[name] for name in ("z_dim", "c_dim", "w_dim")}
        mapping = {"num_layers": config["mapping_layers"]}
        nested = {"mapping_kwargs": mapping, "synthesis_kwargs": width}
        return {**sizes, **picture, **nested, **more}
    epilogue = {"mbstd_group_size": config["mbstd_group_size"]}
    return {"c_dim": network.c_dim, **picture, **width, "epilogue_kwargs": epilogue, **more}


def network_resolution(network: Generator | Discriminator) -> int:
    """The name of the largest block, which all the forks call the resolution."""
    holder = network.synthesis if isinstance(network, Generator) else network
    return max(holder.resolutions)


def as_module(network: Generator | Discriminator, **more: Any) -> Module:
    """A network of ours as NVIDIA's programs would hold it."""
    return module_of(network.state_dict(), type(network).__name__, arguments_of(network, **more))


def write(path: Path, value: Any, protocol: int = 4) -> Path:
    """Pickle a value that may hold modules."""
    with stand_in_modules(torch_utils__persistence___reconstruct_persistent_obj=reconstruct):
        path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


def torch_save(path: Path, value: Any, zipped: bool = True) -> Path:
    """The same through `torch.save`, in today's container or that of before 1.6."""
    with stand_in_modules(torch_utils__persistence___reconstruct_persistent_obj=reconstruct):
        torch.save(value, path, _use_new_zipfile_serialization=zipped)
    return path
