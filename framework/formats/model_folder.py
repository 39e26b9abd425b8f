"""The model folder: `config.json`, safetensors for the weights, a card. Data, never code."""

import hashlib
import inspect
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from framework.errors import BrokenCheckpoint, UserError
from framework.files import sha256_file, write_text
from framework.formats.source_file import check_unfinished, read_table
from framework.models.editors.latent_transformer import COUNTS, LatentTransformer
from framework.models.encoders.weights import EncoderWeights
from framework.models.sketch import Undrawn, fill
from framework.models.stylegan2 import Discriminator, Generator
from framework.models.stylegan2.layers import channels_at
from framework.tensor_files import (
    DIGEST,
    contents_digest,
    opened_tensors,
    read_tensors,
    write_tensors,
)

FORMAT = "dragline-model"
FORMAT_VERSION = 1
_CONFIG, _CARD = "config.json", "README.md"
_MEAN_STYLE = "latent_avg"
_NETWORKS: dict[str, type[Generator] | type[Discriminator] | type[LatentTransformer]] = {
    "generator": Generator,
    "discriminator": Discriminator,
    "editor": LatentTransformer,
}
LARGEST_SIDE = 4096
_MOST_MAPPING_LAYERS, _MOST_COLOURS, _LARGEST_FACTOR = 1000, 1000, 1e30
_METADATA = {"format", "version", "network", "config"}
_NO_COUNTS = (
    "img_size", "low_precision", "conv_clamp", "w_avg_beta", "architecture", "label_fade",
)  # fmt: skip


def save_model_folder(
    folder: str | Path,
    generator: Generator,
    discriminator: Discriminator | None = None,
    provenance: dict[str, Any] | None = None,
    card: str = "",
    half: bool = False,
    encoder: EncoderWeights | None = None,
    editor: LatentTransformer | None = None,
) -> Path:
    """Write a model folder; each file is written whole, `config.json` with its digests last.

    Args:
        folder: The folder; it is created, and files of the same names are replaced.
        generator: The averaged generator.
        discriminator: Its discriminator, for fine-tuning and as a perceptual network.
        provenance: Origin of the weights: data, images seen, command. JSON values.
        card: Markdown of the model card.
        half: Whether to store weights in half precision.
        encoder: Its encoder, stored unchanged.
        editor: Its latent transformer.

    Returns:
        The folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    networks: dict[str, nn.Module] = {"generator": generator}
    if discriminator is not None:
        networks["discriminator"] = discriminator
    if editor is not None:
        networks["editor"] = editor
    description: dict[str, Any] = {"format": FORMAT, "version": FORMAT_VERSION}
    digests = {}

    def write(name: str, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        path = folder / f"{name}.safetensors"
        description[name] = config
        facts = {"format": FORMAT, "version": str(FORMAT_VERSION), "network": name}
        facts["config"] = json.dumps(config)
        write_tensors(path, tensors, facts)
        digests[path.name] = sha256_file(path)

    for name, network in networks.items():
        write(name, dict(network.config), _stored(network, half))  # type: ignore[arg-type]
    if encoder is not None:
        config = {"encoder_type": encoder.encoder_type, "opts": encoder.opts}
        write("encoder", config, _stored_encoder(encoder, half))
    description |= {"provenance": provenance or {}, DIGEST: digests}
    digests[_CONFIG] = _config_digest(description)
    if card:
        write_text(folder / _CARD, card)
    write_text(folder / _CONFIG, json.dumps(description, indent=2) + "\n")
    return folder


def _stored(network: nn.Module, half: bool) -> dict[str, Tensor]:
    """Return the state dict to write: contiguous, on the CPU, in half precision if `half`."""

    def convert(tensor: Tensor) -> Tensor:
        tensor = tensor.detach().to("cpu", copy=True).contiguous()
        return tensor.half() if half and tensor.ndim > 0 else tensor.float()

    return {name: convert(tensor) for name, tensor in network.state_dict().items()}


def _stored_encoder(encoder: EncoderWeights, half: bool) -> dict[str, Tensor]:
    """Return an encoder's tensors to write; statistics and counters keep their precision."""

    def convert(tensor: Tensor) -> Tensor:
        return tensor.half() if half and tensor.is_floating_point() and tensor.ndim > 1 else tensor

    tensors = {name: convert(tensor) for name, tensor in encoder.tensors.items()}
    return tensors if encoder.latent_avg is None else tensors | {_MEAN_STYLE: encoder.latent_avg}


def _config_digest(description: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the values in `config.json`, without this digest itself."""
    others = {name: digest for name, digest in description[DIGEST].items() if name != _CONFIG}
    text = json.dumps({**description, DIGEST: others}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def networks_in(folder: Path) -> list[str]:
    """List the networks in a model folder: those of `_NETWORKS`, and `encoder`."""
    description = _read_config(folder)
    return [n for n in (*_NETWORKS, "encoder") if f"{n}.safetensors" in description[DIGEST]]


def lone_network(file: Path) -> tuple[str, ...]:
    """Return the kind of network in a `.safetensors` file, if it is one of ours; else nothing.

    Raises:
        BrokenCheckpoint: If the file is ours and does not state the kind.
    """
    _check_regular(file)
    with opened_tensors(file) as tensors:
        metadata = tensors.metadata() or {}
    # Two signs, so that our file with one of them damaged is not taken for another program's.
    if metadata.get("format") != FORMAT and not {"network", "config"} <= metadata.keys():
        return ()
    if metadata.get("network") not in _NETWORKS:
        kind = str(metadata.get("network"))[:40]
        raise BrokenCheckpoint(f"{file}: holds {kind}, which does not open alone; give its folder")
    return (metadata["network"],)


def load_encoder_weights(folder: Path) -> EncoderWeights:
    """Load the encoder in a model folder; errors as in `load_network`."""
    description = _read_config(folder)
    file = _verified(folder, description, "encoder")
    tensors, _ = _read_tensors(file)
    config = description.get("encoder")
    opts = config.get("opts") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(opts, dict):
        raise BrokenCheckpoint(f"{file}: {_CONFIG} does not say what kind of encoder it is")
    check_finite(tensors, str(file))
    latent_avg = tensors.pop(_MEAN_STYLE, None)
    return EncoderWeights(str(config.get("encoder_type", "")), tensors, latent_avg, opts)


def load_network(path: Path, kind: str, device: str | torch.device = "cpu") -> Any:
    """Load network `kind` (`generator`, `discriminator`, `editor`) from a folder or a lone file.

    Returns:
        The network, float32, frozen, in evaluation mode, with a `digest` of its weights and, from a
        folder, its `provenance`.

    Raises:
        BrokenCheckpoint: If digests, shapes or values are wrong.
        UserError: If there is no such network.
    """
    provenance: dict[str, Any] = {}
    if path.is_dir():
        description = _read_config(path)
        provenance = description["provenance"]
        file = _verified(path, description, kind)
        config = description.get(kind) or {}  # empty is refused below
    else:
        file, config = path, None
    tensors, metadata = _read_tensors(file)
    if config is None:
        config = _lone_config(file, metadata, tensors, kind)
    network = build(kind, config, tensors, str(file))
    network.provenance = provenance  # type: ignore[assignment]
    return network.to(device)


def _verified(folder: Path, description: dict[str, Any], kind: str) -> Path:
    """Return the file of network `kind` in a folder, its digest compared."""
    file = folder / f"{kind}.safetensors"
    expected = description[DIGEST].get(file.name)
    if expected is None:
        raise UserError(f"{folder}: this model folder has no {kind}")
    if not file.is_file():
        raise BrokenCheckpoint(f"{file}: missing, {_CONFIG} names it")
    if sha256_file(file) != expected:
        check_unfinished(file)
        raise BrokenCheckpoint(f"{file}: its digest is not the one in {_CONFIG}; damaged")
    return file


def build(kind: str, config: dict[str, Any], tensors: dict[str, Tensor], where: str) -> nn.Module:
    """Build a network from its configuration and tensors, checked before memory is allocated.

    bfloat16 is how some CPUs train quickly. A model that was trained so opens in float32: it draws
    alike on every machine, and edits are exact.

    Raises:
        BrokenCheckpoint: If anything does not fit; `where` names the file.
    """
    _check_bounds(kind, config, sum(tensor.numel() for tensor in tensors.values()), where)
    if config.get("low_precision") == "bfloat16":
        config = {**config, "low_precision_blocks": 0}
    try:
        with Undrawn():
            network = _NETWORKS[kind](**config)
    except (TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise BrokenCheckpoint(f"{where}: its configuration is not a {kind}'s: {reason}") from error
    fill(network, tensors, where, "the configuration")
    check_finite(network.state_dict(), where)
    return network


def check_finite(tensors: dict[str, Tensor], where: str) -> None:
    """Refuse NaN and infinity; the message names the tensor."""
    for name, tensor in tensors.items():
        # A finite sum is the rule and costs one pass; only an infinite one needs another.
        if not tensor.sum().isfinite() and not tensor.isfinite().all():
            raise BrokenCheckpoint(f"{where}: {name} holds values that are not finite")


def _check_bounds(kind: str, config: Any, value_count: int, where: str) -> None:
    """Refuse a configuration that asks for much more memory than the file's number of values."""
    if not isinstance(config, dict):
        raise BrokenCheckpoint(f"{where}: its configuration is not a table")
    if kind == "editor":
        _check_editor(config, value_count, where)
        return
    sides = config.get("img_size")
    if not isinstance(sides, list) or len(sides) != 2 or not all(_is_count(s) for s in sides):
        raise BrokenCheckpoint(f"{where}: its configuration has no img_size [H, W]")
    arguments = inspect.signature(_NETWORKS[kind]).parameters
    described = {name: argument.default for name, argument in arguments.items()} | config
    sizes = {name: value for name, value in described.items() if name not in _NO_COUNTS}
    factors = (described.get("conv_clamp"), described.get("w_avg_beta"))
    if not all(map(_is_count, sizes.values())) or not all(map(_is_factor, factors)):
        raise BrokenCheckpoint(f"{where}: its configuration holds sizes that are not numbers")
    width = channels_at(4, sizes["channel_base"], sizes["channel_max"])
    features = sizes.get("w_dim", width)  # of the mapping network, of a discriminator as well
    layers, inputs = sizes["mapping_layers"], max(sizes.get("z_dim", 0), sizes["c_dim"])
    needed = 9 * width**2 + inputs * features
    if kind == "generator" or sizes["c_dim"]:
        needed += max(0, layers - 1) * features**2
    many = layers > _MOST_MAPPING_LAYERS or sizes["img_channels"] > _MOST_COLOURS
    if many or max(sides) > LARGEST_SIDE or needed > 2 * value_count:
        raise BrokenCheckpoint(f"{where}: its configuration asks for more than the file holds")


def _check_editor(config: dict[str, Any], value_count: int, where: str) -> None:
    sizes: list[Any] = [config.get(name) for name in COUNTS]
    if config.keys() != set(COUNTS) or not all(map(_is_count, sizes)):
        raise BrokenCheckpoint(f"{where}: its configuration is not that of an editor")
    width = config["width"]
    if min(sizes) < 1 or width % config["heads"]:
        raise BrokenCheckpoint(f"{where}: its configuration is not that of an editor")
    needed = width * (config["depth"] * (12 * width + 4 * config["hidden"]) + config["layers"])
    if needed + config["w_dim"] ** 2 + width * config["channels"] > value_count:
        raise BrokenCheckpoint(f"{where}: its configuration asks for more than the file holds")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_factor(value: Any) -> bool:
    """Whether a value is None or a number that is neither NaN nor endless."""
    return value is None or (isinstance(value, int | float) and abs(value) < _LARGEST_FACTOR)


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / _CONFIG
    if not path.is_file():
        raise UserError(f"{folder}: not a model folder (no {_CONFIG} in it)")
    try:
        description = read_table(path)
        is_ours = description["format"] == FORMAT
        version = int(description["version"])
        digests = description[DIGEST]
        if not isinstance(digests, dict) or not isinstance(description["provenance"], dict):
            raise TypeError
    except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError, OSError) as error:
        raise BrokenCheckpoint(f"{path}: not a description of a dragline model") from error
    if not is_ours or version > FORMAT_VERSION:
        kind = str(description["format"])[:40]
        raise BrokenCheckpoint(f"{path}: format {kind} {version} is not known")
    odd = [name for name in digests if name != _CONFIG and not name.endswith(".safetensors")]
    own = digests.get(_CONFIG)  # older folders have none
    if odd or own not in (None, _config_digest(description)):
        raise BrokenCheckpoint(
            f"{path}: its digest does not match its contents; damaged, or edited: then remove "
            f'"{_CONFIG}" from "{DIGEST}" in it'
        )
    files = [f"{name}.safetensors" for name in (*_NETWORKS, "encoder")]
    unnamed = [f for f in files if f not in digests and (folder / f).exists()]
    if unnamed:  # or the network would seem not to be there
        raise BrokenCheckpoint(f'{path}: "{DIGEST}" has no digest of {unnamed[0]}')
    return description


def _read_tensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    _check_regular(file)
    return read_tensors(file)


def _check_regular(file: Path) -> None:
    if not file.is_file():
        raise UserError(f"{file}: not a regular file; give the model's file")


def _lone_config(
    file: Path, metadata: dict[str, str], tensors: dict[str, Tensor], kind: str
) -> dict[str, Any]:
    """Read the configuration in a file's metadata, with the digest of the whole file compared."""
    if metadata.get("format") != FORMAT or metadata.get("network") != kind:
        raise UserError(f"{file}: holds no dragline {kind} (its metadata does not say so)")
    digest = metadata.get(DIGEST)  # older files have none
    odd = metadata.keys() - _METADATA - {DIGEST}
    if odd or digest not in (None, contents_digest(metadata, tensors)):
        raise BrokenCheckpoint(f"{file}: its digest does not match its contents; damaged")
    try:
        return json.loads(metadata["config"])
    except (ValueError, KeyError, RecursionError) as error:
        raise BrokenCheckpoint(f"{file}: its metadata holds no configuration") from error


def parameter_count(network: nn.Module) -> int:
    """Count the trained values in a network."""
    return sum(math.prod(p.shape) for p in network.parameters())
