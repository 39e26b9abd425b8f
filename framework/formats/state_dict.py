"""Networks under NVIDIA's names from any container, checked, with missing constants filled in.

These names are the field's common language, so state dicts with them are saved bare, in other
programs' checkpoints and in safetensors files; pickles of NVIDIA's programs lead here, too.
"""

import re
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch

from framework.errors import BrokenCheckpoint, UserError
from framework.formats.architecture import discriminator_config, flattened, generator_config
from framework.formats.contents import Contents, NetworkParts, TensorSource, sample_of
from framework.formats.other_designs import design_among
from framework.formats.storages import StoredTensor
from framework.models.stylegan2.layers import RESAMPLE_TAPS
from framework.ops.upfirdn2d import setup_filter

Tensors = Mapping[str, TensorSource]
_GENERATOR_SIGN, _DISCRIMINATOR_SIGN = "synthesis.b4.const", "b4.out.weight"
_GENERATOR_NAMES = re.compile(r"(?:mapping|synthesis)\..*")
_DISCRIMINATOR_NAMES = re.compile(r"(?:mapping|b\d+)\..*")
_WRAPPERS = re.compile(r"(?:(?<=\.)|^)(?:module|_orig_mod)\.")  # data parallel, torch.compile
_AVERAGED = re.compile(r"ema|avg|average", re.IGNORECASE)
_MOST_NAMES, _DEEPEST = 20_000, 4


class RawNetwork(NamedTuple):
    """A network as stored: its tensors under NVIDIA's names, its claims and its class."""

    tensors: Tensors
    claims: Mapping[str, Any]
    class_name: str = "unknown"


def recognises(value: Any) -> bool:
    """Whether a file's value holds, at some depth, tensors under NVIDIA's names."""
    return any(name.endswith((_GENERATOR_SIGN, _DISCRIMINATOR_SIGN)) for name, _ in _named(value))


def read(value: Any, where: str) -> Contents:
    """Take the networks out of tensors under NVIDIA's names.

    Raises:
        UserError: If there are several generators, or those of another design.
        BrokenCheckpoint: If tensors are missing.
    """
    tensors = dict(_named(value))
    contents = Contents("state dict", {})
    networks, used_names = {}, set()
    for role, prefix, pattern in _roles(tensors, where):
        names = [
            name for name in tensors if name.startswith(prefix) and pattern.match(name, len(prefix))
        ]
        used_names |= set(names)
        networks[role] = RawNetwork({name[len(prefix) :]: tensors[name] for name in names}, {})
    assemble(contents, networks, where)
    contents.notes.append("The file has no arguments: nothing is clamped or in low precision.")
    if others := [name for name in tensors if name not in used_names]:
        contents.notes.append(
            f"Other tensors are left out: {len(others)}, such as {others[0][:60]}."
        )
    return contents


def _named(value: Any) -> Iterator[tuple[str, TensorSource]]:
    """Yield every tensor in nested tables by its dotted name, without wrappers' prefixes."""
    waiting, visited = deque([("", value, 0)]), 0
    while waiting:
        prefix, table, depth = waiting.popleft()
        if not isinstance(table, dict) or depth > _DEEPEST:
            continue
        for key, item in table.items():
            visited += 1
            if visited > _MOST_NAMES:
                return
            name = f"{prefix}{key}"
            if isinstance(item, StoredTensor | torch.Tensor):
                yield _WRAPPERS.sub("", name), item
            else:
                waiting.append((f"{name}.", item, depth + 1))


def _roles(tensors: Tensors, where: str) -> Iterator[tuple[str, str, re.Pattern[str]]]:
    """Yield (role, prefix of its names, pattern of the rest) of each network in the tensors."""
    generators = _prefixes(tensors, _GENERATOR_SIGN)
    averaged = [prefix for prefix in generators if _AVERAGED.search(prefix)]
    trained = [prefix for prefix in generators if not _AVERAGED.search(prefix)]
    discriminators = _prefixes(tensors, _DISCRIMINATOR_SIGN)
    if any(prefix.endswith("backbone.") for prefix in generators):
        raise UserError(f"{where}: this is an EG3D generator; only StyleGAN2 is supported")
    if max(map(len, (averaged, trained, discriminators))) > 1:
        prefixes = ", ".join(repr(p[:40]) for p in [*generators, *discriminators][:6])
        raise UserError(
            f"{where}: several networks of a kind, named {prefixes}; save one of them alone"
        )
    for prefix in averaged or trained:
        yield "generator", prefix, _GENERATOR_NAMES
    for prefix in trained if averaged else []:
        yield "training_generator", prefix, _GENERATOR_NAMES
    for prefix in discriminators:
        yield "discriminator", prefix, _DISCRIMINATOR_NAMES


def _prefixes(tensors: Tensors, sign: str) -> list[str]:
    """List the prefixes before the sign of a network, as whole parts of a name."""
    prefixes = (name[: -len(sign)] for name in tensors if name.endswith(sign))
    return [prefix for prefix in prefixes if prefix == "" or prefix.endswith(".")]


def assemble(contents: Contents, networks: Mapping[str, RawNetwork], where: str) -> None:
    """Add networks to `contents` by role; a discriminator of another design is left out, noted."""
    const_size = None
    for role in ("generator", "training_generator"):
        if role in networks:
            contents.networks[role] = generator_parts(networks[role], contents, where)
            const_size = contents.networks[role].tensors[_GENERATOR_SIGN].shape[1:]
    if "discriminator" in networks:
        try:
            parts = discriminator_parts(networks["discriminator"], const_size, where)
        except UserError as error:
            if isinstance(error, BrokenCheckpoint) or not contents.networks:
                raise
            reason = str(error).removeprefix(f"{where}: ")
            contents.notes.append(f"The discriminator is left out: {reason}.")
        else:
            contents.networks["discriminator"] = parts
    if "generator" not in contents.networks and "training_generator" in contents.networks:
        contents.networks["generator"] = contents.networks["training_generator"]
        contents.notes.append("The file has no averaged generator; the trained one is used.")


def generator_parts(network: RawNetwork, contents: Contents, where: str) -> NetworkParts:
    """Complete a generator: optional parts are filled in and noted in `contents`.

    Raises:
        UserError: If the design is another.
        BrokenCheckpoint: If tensors are missing or contradict the claims.
    """
    _refuse_other_designs(network, where)
    tensors = dict(network.tensors)
    claims = flattened(network.claims)
    config = generator_config(_shapes(tensors), network.claims, where)
    if "mapping.w_avg" not in tensors:
        contents.needs_w_avg = True
        contents.notes.append("The file has no w_avg; the mean of 10,000 mapped z is used.")
        tensors["mapping.w_avg"] = torch.zeros(config["w_dim"])
    if _without_noise(tensors, claims, where):
        contents.notes.append("The generator has no noise; its strength is set to 0.")
        tensors |= _silence(tensors)
    _add_filters(tensors, _generator_filters(tensors), claims, where)
    return NetworkParts(config, tensors)


def discriminator_parts(
    network: RawNetwork, const_size: tuple[int, ...] | None, where: str
) -> NetworkParts:
    """Complete a discriminator; errors as in `generator_parts`.

    Args:
        network: The discriminator's tensors and claims.
        const_size: (h, w) of the smallest block of the generator beside it, if there is one.
        where: The file, for messages.
    """
    tensors = dict(network.tensors)
    if _DISCRIMINATOR_SIGN not in tensors:
        raise UserError(f"{where}: {network.class_name[:60]} is not a StyleGAN2 discriminator")
    claims = {**network.claims, "const_size": const_size}
    config = discriminator_config(_shapes(tensors), claims, where)
    _add_filters(tensors, _discriminator_filters(tensors), flattened(claims), where)
    return NetworkParts(config, tensors)


def _shapes(tensors: Tensors) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _without_noise(tensors: Tensors, claims: Mapping[str, Any], where: str) -> bool:
    """Whether a generator was made without noise; one that lacks only some is damaged."""
    if any(name.endswith((".noise_const", ".noise_strength")) for name in tensors):
        return False
    if claims.get("use_noise"):
        raise BrokenCheckpoint(f"{where}: it says use_noise and has no noise_const; damaged")
    return True


def _silence(tensors: Tensors) -> dict[str, TensorSource]:
    """Make noise of strength 0 for every layer."""
    base = tensors[_GENERATOR_SIGN].shape[1:]
    silence: dict[str, TensorSource] = {}
    for name in tensors:
        if match := re.fullmatch(r"(synthesis\.b(\d+)\.conv\d)\.weight", name):
            sides = [side * int(match[2]) // 4 for side in base]
            silence[f"{match[1]}.noise_const"] = torch.zeros(*sides)
            silence[f"{match[1]}.noise_strength"] = torch.zeros([])
    return silence


def _generator_filters(tensors: Tensors) -> Iterator[str]:
    """Yield blocks and layers that have a resampling filter."""
    for name in tensors:
        if match := re.fullmatch(r"((synthesis\.b\d+)\.(?:conv\d|skip))\.weight", name):
            yield from match.groups()


def _discriminator_filters(tensors: Tensors) -> Iterator[str]:
    for name in tensors:
        if match := re.fullmatch(r"((b\d+)\.(?:fromrgb|conv\d|skip|conv))\.weight", name):
            yield match[1]
            if match[2] != "b4":
                yield match[2]


def _add_filters(
    tensors: dict[str, TensorSource], places: Iterator[str], claims: Mapping[str, Any], where: str
) -> None:
    """Add the usual resampling filter, a constant, where a file has none."""
    missing = {f"{place}.resample_filter" for place in places} - tensors.keys()
    taps = claims.get("resample_filter")
    if missing and taps is not None and taps != list(RESAMPLE_TAPS):
        usual = list(RESAMPLE_TAPS)
        raise UserError(f"{where}: resampling with {str(taps)[:40]}; only {usual} is supported")
    tensors |= {name: setup_filter(RESAMPLE_TAPS) for name in missing}


def _refuse_other_designs(network: RawNetwork, where: str) -> None:
    """Refuse other designs of generator in the same container, by name."""
    names = network.tensors
    foreign = ("mapping.embed_proj.", "synthesis.input.", "backbone.", "renderer.", "decoder.")
    if _GENERATOR_SIGN in names and not any(name.startswith(foreign) for name in names):
        return
    if design := design_among(list(names)):
        raise UserError(f"{where}: this is {design}; only StyleGAN2 is supported")
    name, sample = network.class_name[:60], sample_of(names)
    raise UserError(f"{where}: {name} is not a StyleGAN2 generator; it holds {sample}")
