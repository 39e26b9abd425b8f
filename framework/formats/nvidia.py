"""Pickles of stylegan2-ada-pytorch and of stylegan3's StyleGAN2: networks and their arguments.

Each network and each module in it is `torch_utils.persistence._reconstruct_persistent_obj(meta)`:
source text, which is not looked at here, a class name, and the module's `__dict__`.
"""

from collections.abc import Iterator
from typing import Any

from framework.errors import BrokenCheckpoint, UserError
from framework.formats.architecture import discriminator_config, generator_config
from framework.formats.contents import Contents, NetworkParts, TensorSource, plain, sample_of
from framework.formats.storages import StoredTensor
from framework.formats.symbols import StoredObject

NETWORKS = {"G_ema": "generator", "G": "training_generator", "D": "discriminator"}
_DEEPEST, _MOST_MODULES = 32, 10_000


def recognises(value: Any) -> bool:
    """Whether a file's value is a table of NVIDIA's networks, or one network alone."""
    if isinstance(value, StoredObject):
        return value.state is not None and "_modules" in value.state
    return isinstance(value, dict) and any(
        isinstance(value.get(name), StoredObject) for name in NETWORKS
    )


def read(value: Any, where: str) -> Contents:
    """Take the networks out of what the pickle unfolded to.

    Raises:
        UserError: If they are another kind of network than StyleGAN2's.
        BrokenCheckpoint: If tensors are missing or contradict the stored arguments.
    """
    if isinstance(value, StoredObject):  # one generator alone, as PTI saves it
        value = {"G_ema": value}
    held = {name: value[name] for name in NETWORKS if isinstance(value.get(name), StoredObject)}
    contents = Contents("NVIDIA pickle", {})
    generators = {name: held[name] for name in ("G_ema", "G") if name in held}
    const_size = None
    for name, network in generators.items():
        tensors, claims = _tensors(network, where), _claims(network, where)
        _refuse_other_designs(network, tensors, where)
        shapes = {key: tensor.shape for key, tensor in tensors.items()}
        config = generator_config(shapes, claims, where)
        const_size = shapes["synthesis.b4.const"][1:]
        contents.networks[NETWORKS[name]] = NetworkParts(config, tensors)
    if "D" in held:
        _add_discriminator(contents, held["D"], const_size, where)
    if "generator" not in contents.networks and "training_generator" in contents.networks:
        contents.networks["generator"] = contents.networks["training_generator"]
        contents.notes.append("The file has no averaged generator; the trained one is used.")
    if value.get("augment_pipe") is not None:
        contents.notes.append("The augmentation's state is left out.")
    contents.provenance = {"training_set": plain(value.get("training_set_kwargs"), where)}
    return contents


def _add_discriminator(
    contents: Contents, network: StoredObject, const_size: tuple[int, ...] | None, where: str
) -> None:
    """Add D where it is one of ours; a generator is of use without."""
    tensors, claims = _tensors(network, where), _claims(network, where)
    try:
        shapes = {key: tensor.shape for key, tensor in tensors.items()}
        config = discriminator_config(shapes, claims | {"const_size": const_size}, where)
    except UserError as error:
        ours_but_broken = isinstance(error, BrokenCheckpoint) and "b4.out.weight" in tensors
        if ours_but_broken or not contents.networks:
            raise
        contents.notes.append(f"The discriminator is left out: {str(error).removeprefix(where)}.")
    else:
        contents.networks["discriminator"] = NetworkParts(config, tensors)


def _claims(network: StoredObject, where: str) -> dict[str, Any]:
    assert network.state is not None
    claims = plain(network.state.get("_init_kwargs") or {}, where)
    if network.state.get("_init_args") not in (None, (), []):
        raise UserError(f"{where}: {network.class_name} was made with unnamed arguments")
    return claims if isinstance(claims, dict) else {}


def _tensors(network: StoredObject, where: str) -> dict[str, TensorSource]:
    """State dict of a module tree: parameters and the buffers that count as state."""
    tensors: dict[str, TensorSource] = {}
    for prefix, state in _modules(network, where):
        fleeting = state.get("_non_persistent_buffers_set") or ()
        for group in ("_parameters", "_buffers"):
            members = state.get(group) or {}
            if not isinstance(members, dict):
                raise BrokenCheckpoint(f"{where}: {prefix}{group} is no table")
            for name, tensor in members.items():
                if tensor is None or (group == "_buffers" and name in fleeting):
                    continue
                if not isinstance(tensor, StoredTensor):
                    raise BrokenCheckpoint(f"{where}: {prefix}{name} is no tensor")
                tensors[f"{prefix}{name}"] = tensor
    return tensors


def _modules(network: StoredObject, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each module's prefix and state, each module once."""
    waiting, seen = [("", network, 0)], set()
    while waiting:
        prefix, module, depth = waiting.pop()
        state = getattr(module, "state", None)
        if not isinstance(state, dict) or depth > _DEEPEST or id(module) in seen:
            raise BrokenCheckpoint(f"{where}: its modules do not form a tree at {prefix[:60]!r}")
        seen.add(id(module))
        if len(seen) > _MOST_MODULES:
            raise BrokenCheckpoint(f"{where}: more than {_MOST_MODULES} modules")
        yield prefix, state
        children = state.get("_modules") or {}
        if not isinstance(children, dict):
            raise BrokenCheckpoint(f"{where}: {prefix}_modules is no table")
        waiting += [
            (f"{prefix}{name}.", child, depth + 1)
            for name, child in children.items()
            if child is not None
        ]


def _refuse_other_designs(network: StoredObject, tensors: dict, where: str) -> None:
    """Name the generators that come in the same wrapping and are not StyleGAN2's."""
    if any(name.startswith("synthesis.input.") for name in tensors):
        design = "StyleGAN3"
    elif any(name.startswith(("backbone.", "renderer.", "decoder.")) for name in tensors):
        design = "EG3D"
    elif "synthesis.b4.const" not in tensors:
        design = f"{network.class_name} (it holds {sample_of(tensors)})"
    else:
        return
    raise UserError(f"{where}: this is a {design} generator; only StyleGAN2 is supported")
