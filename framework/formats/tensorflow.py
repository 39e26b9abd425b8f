"""Pickles of NVIDIA's TensorFlow programs, stylegan2 and stylegan2-ada, read without TensorFlow.

A file is a tuple of three `dnnlib.tflib.network.Network` states, (G, D, Gs): the generator as it
was trained, the discriminator, the averaged generator. A generator keeps its variables in two
components, `mapping` and `synthesis`. Names and layouts: training/networks_stylegan2.py of
github.com/NVlabs/stylegan2 and training/networks.py of github.com/NVlabs/stylegan2-ada.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from framework.errors import BrokenCheckpoint, UserError
from framework.formats.contents import Contents, TensorSource, plain, sample_of
from framework.formats.state_dict import RawNetwork, assemble
from framework.formats.storages import StoredTensor
from framework.formats.symbols import NumpyArray, StoredObject

NETWORKS = ("training_generator", "discriminator", "generator")
MINIBATCH_GROUP = 4  # of stylegan2's discriminator; stylegan2-ada's files state it
W_AVG_BETA = 0.995
DISCRIMINATOR_MAPPING_RATE = 0.1
_CLASSES = {"Network", "tfutil.Network"}
_IGNORED = {"lod"}  # progress of growing, without effect in these designs
_COMPONENTS = {"mapping", "synthesis"}
_MOST_VARIABLES, _LONGEST_NAME = 10_000, 256


class _Layer(NamedTuple):
    """The names of a layer's variables; transposed convolutions are stored turned by 180°."""

    theirs: str
    ours: str
    turned: bool = False


_GENERATOR_LAYERS = (
    _Layer(r"mapping/LabelEmbed", "mapping.embed"),
    _Layer(r"mapping/Dense(\d+)", r"mapping.fc\1"),
    _Layer(r"synthesis/4x4/Const", "synthesis.b4"),
    _Layer(r"synthesis/4x4/Conv", "synthesis.b4.conv1"),
    _Layer(r"synthesis/(\d+)x\1/Conv0_up", r"synthesis.b\1.conv0", turned=True),
    _Layer(r"synthesis/(\d+)x\1/Conv1", r"synthesis.b\1.conv1"),
    _Layer(r"synthesis/(\d+)x\1/ToRGB", r"synthesis.b\1.torgb"),
    _Layer(r"synthesis/(\d+)x\1/Skip", r"synthesis.b\1.skip", turned=True),
)
_DISCRIMINATOR_LAYERS = (
    _Layer(r"LabelEmbed", "mapping.embed"),
    _Layer(r"Mapping(\d+)", r"mapping.fc\1"),
    _Layer(r"(\d+)x\1/FromRGB", r"b\1.fromrgb"),
    _Layer(r"(\d+)x\1/Conv0", r"b\1.conv0"),
    _Layer(r"(\d+)x\1/Conv1_down", r"b\1.conv1"),
    _Layer(r"(\d+)x\1/Skip", r"b\1.skip"),
    _Layer(r"4x4/Conv", "b4.conv"),
    _Layer(r"4x4/Dense0", "b4.fc"),
    _Layer(r"Output", "b4.out"),
)
_VARIABLES = {
    "weight": "weight",
    "bias": "bias",
    "const": "const",
    "noise_strength": "noise_strength",
    "mod_weight": "affine.weight",
    "mod_bias": "affine.bias",
}
_ARGUMENTS = {
    "latent_size": "z_dim",
    "dlatent_size": "w_dim",
    "label_size": "c_dim",
    "resolution": "img_resolution",
    "num_channels": "img_channels",
    "fmap_max": "channel_max",
    "num_fp16_res": "num_fp16_res",
    "conv_clamp": "conv_clamp",
    "architecture": "architecture",
    "nonlinearity": "activation",
    "resample_kernel": "resample_filter",
    "use_noise": "use_noise",
    "dlatent_avg_beta": "w_avg_beta",
    "mbstd_group_size": "mbstd_group_size",
}
_MAPPING_ARGUMENTS = {
    "mapping_layers": "num_layers",
    "mapping_lrmul": "lr_multiplier",
    "mapping_nonlinearity": "activation",
}


def recognises(value: Any) -> bool:
    """Whether a file's value is the three networks, or one of them alone."""
    networks = value if isinstance(value, tuple) and len(value) == len(NETWORKS) else (value,)
    return all(isinstance(n, StoredObject) and n.class_name in _CLASSES for n in networks)


def read(value: Any, where: str) -> Contents:
    """Take the networks out of the pickle's value.

    Raises:
        UserError: If the networks are not StyleGAN2's.
        BrokenCheckpoint: If variables are missing or contradict the stored arguments.
    """
    if isinstance(value, StoredObject):
        is_generator = bool(_components(value, where))
        value = {"generator" if is_generator else "discriminator": value}
    else:
        value = dict(zip(NETWORKS, value, strict=True))
    networks = {role: _raw_network(network, role, where) for role, network in value.items()}
    contents = Contents("TensorFlow pickle", {})
    assemble(contents, networks, where)
    arguments = {role: _state(n, where).get("static_kwargs") for role, n in value.items()}
    contents.provenance = {"arguments": plain(arguments, where)}
    return contents


def _state(network: StoredObject, where: str) -> dict[str, Any]:
    state = network.state
    if state is None or not isinstance(state.get("variables"), list):
        raise BrokenCheckpoint(f"{where}: a TensorFlow network without variables; damaged")
    return state


def _raw_network(network: StoredObject, role: str, where: str) -> RawNetwork:
    """Return a network's variables in our layout under our names, and its arguments."""
    variables = dict(islice(_variables(network, where), _MOST_VARIABLES))
    _refuse_other_designs(network, variables, where)
    generator = role != "discriminator"
    layers = _GENERATOR_LAYERS if generator else _DISCRIMINATOR_LAYERS
    tensors = {}
    for name, variable in variables.items():
        if name.rpartition("/")[2] not in _IGNORED:
            ours, tensor = _translated(name, variable, layers, where)
            tensors[ours] = tensor
    arguments = plain(_state(network, where).get("static_kwargs") or {}, where)
    claims = _claims(arguments if isinstance(arguments, dict) else {}, generator, where)
    return RawNetwork(tensors, claims, str(plain(_state(network, where).get("name"), where)))


def _variables(network: StoredObject, where: str) -> Iterator[tuple[str, TensorSource]]:
    """Yield every variable by name, with a component's name before those of components."""
    yield from _own_variables(network, "", where)
    components = _components(network, where)
    if odd := components.keys() - _COMPONENTS:
        raise UserError(f"{where}: a network of {str(min(map(str, odd)))[:60]}; only StyleGAN2's "
                        "mapping and synthesis are known")  # fmt: skip
    for name, component in components.items():
        if not isinstance(component, StoredObject) or _components(component, where):
            raise BrokenCheckpoint(f"{where}: {name} is not a network of its own; damaged")
        yield from _own_variables(component, f"{name}/", where)


def _components(network: StoredObject, where: str) -> dict[Any, Any]:
    components = _state(network, where).get("components") or {}
    if not isinstance(components, dict):
        raise BrokenCheckpoint(f"{where}: its components are not a table; damaged")
    return components


def _own_variables(
    network: StoredObject, prefix: str, where: str
) -> Iterator[tuple[str, TensorSource]]:
    for pair in _state(network, where)["variables"]:
        match pair:
            case (str(name), _) if len(name) > _LONGEST_NAME:
                raise BrokenCheckpoint(f"{where}: {name[:60]} is too long for a name; damaged")
            case (str(name), NumpyArray(tensor=StoredTensor() as tensor)):
                yield prefix + name, tensor
            case (str(name), float() | int() as number):  # TensorFlow's form of 0-d arrays
                yield prefix + name, torch.tensor(float(number))
            case _:
                raise BrokenCheckpoint(f"{where}: {prefix}variables holds no arrays; damaged")


def _translated(
    name: str, variable: TensorSource, layers: tuple[_Layer, ...], where: str
) -> tuple[str, TensorSource]:
    """Return a variable's name here, and the variable in our layout."""
    if name == "dlatent_avg":
        return "mapping.w_avg", variable
    if match := re.fullmatch(r"synthesis/noise(\d{1,2})", name):
        return f"{_noise_layer(int(match[1]))}.noise_const", _inner(variable, 2, name, where)
    scope, _, kind = name.rpartition("/")
    for layer in layers:
        match = re.fullmatch(layer.theirs, scope)
        if match and kind in _VARIABLES:
            ours = f"{match.expand(layer.ours)}.{_VARIABLES[kind]}"
            return ours, _turned(kind, variable, layer.turned, name, where)
    raise UserError(f"{where}: {name[:60]} belongs to no StyleGAN2 that is known here")


def _noise_layer(index: int) -> str:
    """Return the layer of the `index`-th noise: 0 the first, then two for each block."""
    if index == 0:
        return "synthesis.b4.conv1"
    level, second = divmod(index - 1, 2)
    return f"synthesis.b{8 << level}.conv{second}"


def _turned(kind: str, variable: TensorSource, turned: bool, name: str, where: str) -> TensorSource:
    """Reorder a layer's axes to ours: (in, out) and (h, w, in, out) to (out, in …)."""
    if kind == "mod_bias":
        return _then(variable, lambda bias: bias + 1, variable.shape)  # theirs begins at 0
    if kind == "const":
        return _inner(variable, 1, name, where)
    if kind not in ("weight", "mod_weight"):
        return variable
    if len(variable.shape) == 2:
        return _then(variable, torch.t, variable.shape[::-1])
    if len(variable.shape) != 4:
        raise BrokenCheckpoint(f"{where}: {name[:60]} has shape {tuple(variable.shape)}; damaged")
    height, width, inputs, outputs = variable.shape

    def step(weight: Tensor) -> Tensor:
        weight = weight.permute(3, 2, 0, 1)
        return weight.flip(2, 3) if turned else weight

    return _then(variable, step, (outputs, inputs, height, width))


def _inner(variable: TensorSource, leading: int, name: str, where: str) -> TensorSource:
    """Drop a variable's first axes of length one."""
    shape = tuple(variable.shape)
    if shape[:leading] != (1,) * leading:
        raise BrokenCheckpoint(f"{where}: {name[:60]} has shape {shape}; damaged")
    return _then(variable, lambda tensor: tensor.reshape(shape[leading:]), shape[leading:])


def _then(variable: TensorSource, step: Any, shape: tuple[int, ...]) -> TensorSource:
    return variable.then(step, shape) if isinstance(variable, StoredTensor) else step(variable)


def _claims(arguments: Mapping[str, Any], generator: bool, where: str) -> dict[str, Any]:
    """Return a network's arguments under the names of NVIDIA's PyTorch programs."""
    if not arguments.get("normalize_latents", True):
        raise UserError(f"{where}: its latents are not normalised; only such are supported")
    claims = {ours: arguments[name] for name, ours in _ARGUMENTS.items() if name in arguments}
    mapping = {o: arguments[name] for name, o in _MAPPING_ARGUMENTS.items() if name in arguments}
    if type(arguments.get("fmap_base")) is int:
        claims["channel_base"] = 2 * arguments["fmap_base"]
    if "resample_kernel" in arguments and arguments["resample_kernel"] is None:
        claims["resample_filter"] = [1, 1]  # a box
    if generator:
        claims.setdefault("w_avg_beta", W_AVG_BETA)
    else:
        claims.setdefault("mbstd_group_size", MINIBATCH_GROUP)
        mapping.setdefault("lr_multiplier", DISCRIMINATOR_MAPPING_RATE)
    return {**claims, "mapping_kwargs": mapping}


def _refuse_other_designs(network: StoredObject, variables: Mapping[str, Any], where: str) -> None:
    """Refuse other designs of network in the same container, by name."""
    if network.class_name == "tfutil.Network":
        design = "ProGAN"
    elif any("/StyleMod/" in name for name in variables):
        design = "StyleGAN (the first one)"
    elif any(name.endswith("LabelConcat/weight") for name in variables):
        design = "StyleGAN2 with labels beside z (LabelConcat)"
    elif any(re.search(r"(?:ToRGB|FromRGB)_lod\d", name) for name in variables):
        design = "progressively grown StyleGAN2 (configurations B to D) or ProGAN"
    elif not any(re.match(r"synthesis/4x4/|4x4/Conv/", name) for name in variables):
        design = f"TensorFlow model (it holds {sample_of(variables)})"
    else:
        return
    raise UserError(f"{where}: this is a {design}; only StyleGAN2 of configurations E and F is "
                    "supported")  # fmt: skip
