"""Files of rosinality's stylegan2-pytorch: the same networks under other names.

Names and shapes: model.py and convert_weight.py of github.com/rosinality/stylegan2-pytorch. Nothing
is transposed, flipped or rescaled, only axes of length one differ; the kernels of blur and
upsampling are constants there.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from framework.errors import BrokenCheckpoint, UserError
from framework.formats.contents import Contents, plain, without_prefixes
from framework.formats.state_dict import RawNetwork, assemble
from framework.formats.storages import StoredTensor
from framework.models.stylegan2.layers import RESAMPLE_TAPS
from framework.ops.upfirdn2d import setup_filter

NETWORKS = {"g_ema": "generator", "g": "training_generator", "d": "discriminator"}
MINIBATCH_GROUP = 4  # fixed in its discriminator
UPSAMPLING_GAIN = 4  # gain of its upsampling kernels, which keeps the mean
_GENERATOR_SIGN, _DISCRIMINATOR_SIGN = "conv1.conv.modulation.weight", "final_linear.1.weight"
_KERNEL = re.compile(r"(.*)\.kernel")
_MOST_LAYERS, _MOST_LEVELS = 100, 10
_LARGEST_DRAWN = 1024


class Name(NamedTuple):
    """A tensor's two names; theirs has this many more axes of length one on each side."""

    ours: str
    theirs: str
    leading: int = 0
    trailing: int = 0


def generator_names(mapping_layers: int, levels: int) -> Iterator[Name]:
    """Yield every learned or stored tensor of a generator with `levels` blocks above the first."""
    for i in range(mapping_layers):
        for kind in ("weight", "bias"):
            yield Name(f"mapping.fc{i}.{kind}", f"style.{i + 1}.{kind}")
    yield Name("synthesis.b4.const", "input.input", 1)
    yield from _layer("synthesis.b4.conv1", "conv1", 0)
    yield from _colours("synthesis.b4.torgb", "to_rgb1")
    for j in range(levels):
        block = f"synthesis.b{8 << j}"
        yield from _layer(f"{block}.conv0", f"convs.{2 * j}", 2 * j + 1)
        yield from _layer(f"{block}.conv1", f"convs.{2 * j + 1}", 2 * j + 2)
        yield from _colours(f"{block}.torgb", f"to_rgbs.{j}")


def _layer(ours: str, theirs: str, noise: int) -> Iterator[Name]:
    yield Name(f"{ours}.weight", f"{theirs}.conv.weight", 1)
    yield Name(f"{ours}.bias", f"{theirs}.activate.bias")
    yield Name(f"{ours}.noise_strength", f"{theirs}.noise.weight", 1)
    yield Name(f"{ours}.noise_const", f"noises.noise_{noise}", 2)
    yield from _affine(ours, theirs)


def _colours(ours: str, theirs: str) -> Iterator[Name]:
    yield Name(f"{ours}.weight", f"{theirs}.conv.weight", 1)
    yield Name(f"{ours}.bias", f"{theirs}.bias", 1, 2)
    yield from _affine(ours, theirs)


def _affine(ours: str, theirs: str) -> Iterator[Name]:
    for kind in ("weight", "bias"):
        yield Name(f"{ours}.affine.{kind}", f"{theirs}.conv.modulation.{kind}")


def discriminator_names(levels: int) -> Iterator[Name]:
    """Yield every learned tensor of a discriminator with `levels` blocks above the last."""
    top = 4 << levels
    yield Name(f"b{top}.fromrgb.weight", "convs.0.0.weight")
    yield Name(f"b{top}.fromrgb.bias", "convs.0.1.bias")
    for j in range(levels):
        ours, theirs = f"b{top >> j}", f"convs.{j + 1}"
        yield Name(f"{ours}.conv0.weight", f"{theirs}.conv1.0.weight")
        yield Name(f"{ours}.conv0.bias", f"{theirs}.conv1.1.bias")
        yield Name(f"{ours}.conv1.weight", f"{theirs}.conv2.1.weight")
        yield Name(f"{ours}.conv1.bias", f"{theirs}.conv2.2.bias")
        yield Name(f"{ours}.skip.weight", f"{theirs}.skip.1.weight")
    yield Name("b4.conv.weight", "final_conv.0.weight")
    yield Name("b4.conv.bias", "final_conv.1.bias")
    for i, ours in enumerate(("b4.fc", "b4.out")):
        for kind in ("weight", "bias"):
            yield Name(f"{ours}.{kind}", f"final_linear.{i}.{kind}")


def recognises(value: Any) -> bool:
    """Whether a file's value is a rosinality checkpoint, or the state dict of one network."""
    if not isinstance(value, dict):
        return False
    return any(_is_state(value.get(name)) for name in NETWORKS) or _is_state(value)


def _is_state(value: Any) -> bool:
    signs = (_GENERATOR_SIGN, _DISCRIMINATOR_SIGN)
    return isinstance(value, dict) and any(sign in without_prefixes(value) for sign in signs)


def read(value: dict[str, Any], where: str) -> Contents:
    """Take the networks out of a training file, a converted file or a bare state dict.

    Raises:
        BrokenCheckpoint: If tensors are missing, left over or do not fit together.
    """
    if _is_state(value):
        bare = without_prefixes(value)
        value = {"g_ema" if _GENERATOR_SIGN in bare else "d": bare}
    contents, networks = Contents("rosinality", {}), {}
    for name, role in NETWORKS.items():
        if isinstance(value.get(name), dict):
            state = without_prefixes(value[name])
            networks[role] = (
                discriminator(state, where)
                if name == "d"
                else generator(state, value.get("latent_avg"), contents, where)
            )
    assemble(contents, networks, where)
    if "g_optim" in value:
        contents.notes.append("The optimisers' state is left out.")
    if isinstance(value.get("args"), dict):
        contents.provenance["args"] = plain(value["args"], where)
    return contents


def generator(
    state: Mapping[str, Any], latent_avg: Any, contents: Contents, where: str
) -> RawNetwork:
    """Rename a generator's state dict; missing parts are noted in `contents`."""
    layers = _count(state, r"style\.\d+\.weight", _MOST_LAYERS, where)
    levels = _count(state, r"to_rgbs\.\d+\.bias", _MOST_LEVELS, where)
    tensors: dict[str, Any] = {}
    names = list(generator_names(layers, levels))
    if not any(name.startswith("noises.") for name in state):
        contents.notes.append("The file has no constant noise; it is drawn from seed 0.")
        tensors |= _drawn_noise(state, names, where)
    tensors |= _renamed(state, [n for n in names if n.ours not in tensors], where)
    affine = tensors["synthesis.b4.conv1.affine.weight"].shape
    if len(affine) != 2:
        raise BrokenCheckpoint(f"{where}: {_GENERATOR_SIGN} has shape {affine}")
    w_dim = affine[1]
    if isinstance(latent_avg, StoredTensor):
        tensors["mapping.w_avg"] = _mean_style(latent_avg, w_dim, contents, where)
    else:
        contents.needs_w_avg = True
        contents.notes.append("The file has no latent_avg; the mean of 10,000 mapped z is used.")
        tensors["mapping.w_avg"] = torch.zeros(w_dim)
    places = ["synthesis.b4", "synthesis.b4.conv1"]
    kernel_names: dict[str, str] = {}
    for j in range(levels):
        block = f"synthesis.b{8 << j}"
        places += [block, f"{block}.conv0", f"{block}.conv1"]
        kernel_names[block] = f"to_rgbs.{j}.upsample.kernel"
        kernel_names[f"{block}.conv0"] = f"convs.{2 * j}.conv.blur.kernel"
    return RawNetwork(tensors | _filters(state, places, kernel_names, UPSAMPLING_GAIN, where), {})


def discriminator(state: Mapping[str, Any], where: str) -> RawNetwork:
    """Rename a discriminator's state dict."""
    levels = _count(state, r"convs\.\d+\.skip\.1\.weight", _MOST_LEVELS, where)
    tensors = _renamed(state, list(discriminator_names(levels)), where)
    places, kernel_names = ["b4.conv", f"b{4 << levels}.fromrgb"], {}
    for j in range(levels):
        block = f"b{4 << (levels - j)}"
        places += [block, *(f"{block}.{layer}" for layer in ("conv0", "conv1", "skip"))]
        kernel_names[f"{block}.conv1"] = f"convs.{j + 1}.conv2.0.kernel"
        kernel_names[f"{block}.skip"] = f"convs.{j + 1}.skip.0.kernel"
    tensors |= _filters(state, places, kernel_names, 1, where)
    return RawNetwork(tensors, {"mbstd_group_size": MINIBATCH_GROUP})


def _count(state: Mapping[str, Any], pattern: str, most: int, where: str) -> int:
    """Count the names that match a pattern."""
    count = sum(bool(re.fullmatch(pattern, name)) for name in state)
    if count > most:
        raise BrokenCheckpoint(f"{where}: {count} names like {pattern}; no StyleGAN2 has as many")
    return count


def _renamed(state: Mapping[str, Any], names: list[Name], where: str) -> dict[str, Any]:
    """Rename a state, which must be complete, with nothing left over but known constants."""
    renamed = {}
    for ours, theirs, leading, trailing in names:
        tensor = state.get(theirs)
        if not isinstance(tensor, StoredTensor):
            raise BrokenCheckpoint(f"{where}: {theirs} is missing; not a whole rosinality network")
        shape = tensor.shape
        inner = shape[leading : len(shape) - trailing]
        if shape != (1,) * leading + inner + (1,) * trailing:
            raise BrokenCheckpoint(f"{where}: {theirs} has shape {shape}")
        renamed[ours] = tensor.reshape(*inner)
    left_over = state.keys() - {name.theirs for name in names}
    for name in sorted(map(str, left_over)):
        if not _KERNEL.fullmatch(name):
            raise BrokenCheckpoint(f"{where}: {name[:60]} belongs to no StyleGAN2")
    return renamed


def _filters(
    state: Mapping[str, Any],
    places: list[str],
    kernel_names: Mapping[str, str],
    gain: int,
    where: str,
) -> dict[str, Tensor]:
    """Return the resampling filter of every place that has one; theirs where it is stored.

    `kernel_names` are their names of kernels by our place; the kernels, of this gain, may be
    missing from their state dict.
    """
    theirs = {
        ours: _filter(state[n], gain, n, where) for ours, n in kernel_names.items() if n in state
    }
    usual = next(iter(theirs.values()), setup_filter(RESAMPLE_TAPS))  # one filter for all
    return {f"{place}.resample_filter": theirs.get(place, usual).clone() for place in places}


def _filter(kernel: Any, gain: int, name: str, where: str) -> Tensor:
    """Divide one of their kernels by its gain; the usual one is recognised with any gain."""
    usual = setup_filter(RESAMPLE_TAPS)
    if not isinstance(kernel, StoredTensor) or kernel.shape != tuple(usual.shape):
        shape = getattr(kernel, "shape", "none")
        raise UserError(f"{where}: {name[:60]} has shape {shape}; only filters of 4x4 are known")
    values = kernel.read().float()
    return usual if torch.allclose(values / values.sum(), usual, atol=1e-6) else values / gain


def _drawn_noise(state: Mapping[str, Any], names: list[Name], where: str) -> dict[str, Tensor]:
    """Draw constant noise for files without it, of each layer's size."""
    const = state.get("input.input")
    if not isinstance(const, StoredTensor) or len(const.shape) != 4:
        raise BrokenCheckpoint(f"{where}: input.input is missing; not a whole rosinality network")
    rng = torch.Generator().manual_seed(0)
    noise = {}
    for name in names:
        if match := re.fullmatch(r"synthesis\.b(\d+)\.conv\d\.noise_const", name.ours):
            height, width = (side * int(match[1]) // 4 for side in const.shape[2:])
            if max(height, width) > _LARGEST_DRAWN:
                raise BrokenCheckpoint(f"{where}: noise is missing, for {width}x{height} pictures")
            noise[name.ours] = torch.randn(height, width, generator=rng)
    return noise


def _mean_style(latent: StoredTensor, w_dim: int, contents: Contents, where: str) -> Any:
    """Make `w_avg` from (w_dim,), (1, w_dim) or one row for each layer."""
    if latent.shape == (w_dim,):
        return latent
    if len(latent.shape) == 3 and latent.shape[0] == 1:
        latent = latent.reshape(*latent.shape[1:])
    if len(latent.shape) != 2 or latent.shape[1] != w_dim or latent.shape[0] == 0:
        raise BrokenCheckpoint(f"{where}: latent_avg has shape {latent.shape}, w has {w_dim}")
    rows = latent.read().float()
    if not torch.equal(rows, rows[:1].expand_as(rows)):
        contents.notes.append("latent_avg differs from layer to layer; w_avg is the mean of them.")
        return rows.mean(dim=0)
    return rows[0]
