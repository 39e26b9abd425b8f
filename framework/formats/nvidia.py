"""Pickles of stylegan2-ada-pytorch and of stylegan3's StyleGAN2: networks and their arguments.

Each network and each module in it is `torch_utils.persistence._reconstruct_persistent_obj(meta)`:
source text, which is ignored here, a class name, and the module's `__dict__`.
"""

import re
from collections.abc import Iterator
from typing import Any

from framework.errors import BrokenCheckpoint, UserError
from framework.formats.architecture import flattened
from framework.formats.contents import Contents, TensorSource, plain
from framework.formats.state_dict import RawNetwork, assemble
from framework.formats.storages import StoredTensor
from framework.formats.symbols import StoredObject

NETWORKS = {"G_ema": "generator", "G": "training_generator", "D": "discriminator"}
_DEEPEST, _LONGEST_PREFIX = 32, 1024
_MOST_MODULES = _MOST_TENSORS = 10_000


def recognises(value: Any) -> bool:
    """Whether a file's value is a table of NVIDIA's networks, or one network alone."""
    if isinstance(value, StoredObject):
        return value.state is not None and "_modules" in value.state
    return isinstance(value, dict) and any(
        isinstance(value.get(name), StoredObject) for name in NETWORKS
    )


def read(value: Any, where: str) -> Contents:
    """Take the networks out of the pickle's value.

    Raises:
        UserError: If the networks are not StyleGAN2's.
        BrokenCheckpoint: If tensors are missing or contradict the stored arguments.
    """
    if isinstance(value, StoredObject):  # one network alone, as PTI saves its generator
        children = (value.state or {}).get("_modules") or {}
        value = {"D" if "b4" in children else "G_ema": value}
    contents = Contents("NVIDIA pickle", {})
    states = {n: value[n] for n in NETWORKS if isinstance(value.get(n), StoredObject)}
    networks = {NETWORKS[name]: _raw_network(network, where) for name, network in states.items()}
    assemble(contents, networks, where)
    if value.get("augment_pipe") is not None:
        contents.notes.append("The augmentation's state is left out.")
    contents.provenance = {"training_set": plain(value.get("training_set_kwargs"), where)}
    return contents


def _raw_network(network: StoredObject, where: str) -> RawNetwork:
    """Return a network's tensors and arguments, defaults as its modules have them."""
    assert network.state is not None
    claims = plain(network.state.get("_init_kwargs") or {}, where)
    if network.state.get("_init_args") not in (None, (), []):
        raise UserError(f"{where}: {network.class_name} was made with unnamed arguments")
    modules = dict(_modules(network, where))
    claims = claims if isinstance(claims, dict) else {}
    arguments = flattened(claims)
    defaults = {name: v for name, v in _as_built(modules).items() if name not in arguments}
    return RawNetwork(_tensors(modules, where), {**claims, **defaults}, network.class_name)


def _as_built(modules: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Read arguments from the modules: defaults differ between NVIDIA's two programs."""
    arguments: dict[str, Any] = {}
    blocks = [m for p, m in modules.items() if re.fullmatch(r"(?:synthesis\.)?b\d+\.", p)]
    halves = [m["use_fp16"] for m in blocks if type(m.get("use_fp16")) is bool]
    if halves:
        arguments["num_fp16_res"] = sum(halves)
    for prefix, module in modules.items():
        if prefix.endswith(".conv1.") and type(module.get("conv_clamp")) in (int, float):
            arguments["conv_clamp"] = module["conv_clamp"]
    beta = modules.get("mapping.", {}).get("w_avg_beta")
    if type(beta) in (int, float):
        arguments["w_avg_beta"] = beta
    statistics = modules.get("b4.mbstd.", {})
    if "group_size" in statistics:
        arguments["mbstd_group_size"] = plain(statistics["group_size"], "")
    return arguments


def _tensors(modules: dict[str, dict[str, Any]], where: str) -> dict[str, TensorSource]:
    """Return the state dict of a module tree: parameters and persistent buffers."""
    tensors: dict[str, TensorSource] = {}
    left = _MOST_TENSORS
    for prefix, state in modules.items():
        fleeting = state.get("_non_persistent_buffers_set") or set()
        if not isinstance(fleeting, set):
            raise BrokenCheckpoint(f"{where}: {prefix}_non_persistent_buffers_set is not a set")
        for group in ("_parameters", "_buffers"):
            members = state.get(group) or {}
            if not isinstance(members, dict):
                raise BrokenCheckpoint(f"{where}: {prefix}{group} is not a table")
            left -= len(members)
            if left < 0:
                raise BrokenCheckpoint(f"{where}: more than {_MOST_TENSORS} tensors")
            for name, tensor in members.items():
                if tensor is None or (group == "_buffers" and name in fleeting):
                    continue
                if not isinstance(tensor, StoredTensor):
                    raise BrokenCheckpoint(f"{where}: {prefix}{name} is not a tensor")
                tensors[f"{prefix}{name}"] = tensor
    return tensors


def _modules(network: StoredObject, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each module's prefix and state once."""
    waiting, visited = [("", network, 0)], set()
    while waiting:
        prefix, module, depth = waiting.pop()
        state = getattr(module, "state", None)
        endless = depth > _DEEPEST or len(prefix) > _LONGEST_PREFIX
        if not isinstance(state, dict) or endless or id(module) in visited:
            raise BrokenCheckpoint(f"{where}: its modules do not form a tree at {prefix[:60]!r}")
        visited.add(id(module))
        if len(visited) > _MOST_MODULES:
            raise BrokenCheckpoint(f"{where}: more than {_MOST_MODULES} modules")
        yield prefix, state
        children = state.get("_modules") or {}
        if not isinstance(children, dict):
            raise BrokenCheckpoint(f"{where}: {prefix}_modules is not a table")
        waiting += [
            (f"{prefix}{name}.", child, depth + 1)
            for name, child in children.items()
            if child is not None
        ]
