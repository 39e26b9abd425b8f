"""Encoders built from their weights and turned back into them: our own, e4e's and pSp's."""

import re
from typing import Any

import torch
from torch import Tensor

from framework.errors import BrokenCheckpoint, UserError
from framework.models.encoders.dragline import COUNTS, HEAD_SIDE, Encoder
from framework.models.encoders.irse50 import (
    INPUT_SIDE,
    Encoder4Editing,
    GradualStyleEncoder,
    IRSE50Encoder,
)
from framework.models.encoders.style_encoder import NORMS, StyleEncoder
from framework.models.encoders.weights import EncoderWeights
from framework.models.sketch import Undrawn, fill
from framework.models.stylegan2 import Generator
from framework.models.stylegan2.layers import channels_at, pyramid

OWN = "dragline"
PUBLISHED: dict[str, type[IRSE50Encoder]] = {
    "Encoder4Editing": Encoder4Editing,
    "GradualStyleEncoder": GradualStyleEncoder,
}
_CARS_SIZE = (192, 256)  # input of e4e's networks for cars: the middle of square pictures
_LARGEST_SIDE, _MOST_CHANNELS, _MOST_BLOCKS = 4096, 1000, 64
_HEAD = re.compile(r"styles\.(\d+)\.linear\.weight")


def build_encoder(
    weights: EncoderWeights, generator: Generator, encoder_type: str = ""
) -> StyleEncoder:
    """Build the encoder of a generator; everything is checked before memory is allocated.

    Args:
        weights: Finite weights, from `open_model(...).encoder()`.
        generator: The generator whose styles the encoder gives.
        encoder_type: Kind of the encoder, where its file does not say.

    Returns:
        The encoder, float32, frozen, in evaluation mode, on the generator's device.

    Raises:
        UserError: If the encoder is another generator's, or of an unknown kind.
        BrokenCheckpoint: If the weights do not fit the kind that the file states.
    """
    kind = weights.encoder_type or encoder_type
    if kind == OWN:
        config = _own_config(weights, generator)
        family: type[StyleEncoder] = Encoder
    elif kind in PUBLISHED:
        config = _published_config(weights, generator)
        family = PUBLISHED[kind]
    elif kind:
        choices = ", ".join([OWN, *PUBLISHED])
        raise UserError(f"encoder: unknown kind {kind[:60]}; the kinds are {choices}")
    else:
        raise UserError(
            "encoder: its file does not say which kind it is, and its tensors alone cannot tell; "
            f"give encoder_type, {' or '.join(PUBLISHED)}"
        )
    tensors = dict(weights.tensors)
    if kind in PUBLISHED:
        tensors["latent_avg"] = _mean_style(weights, generator)
    encoder = _filled(family, config, tensors)
    return encoder.to(next(generator.parameters()).device)


def encoder_weights(encoder: StyleEncoder) -> EncoderWeights:
    """Copy an encoder's weights to the CPU, in the form that `save_model_folder` takes."""
    tensors = {
        name: tensor.detach().to("cpu", copy=True).contiguous()
        for name, tensor in encoder.state_dict().items()
    }
    latent_avg = tensors.pop("latent_avg", None)
    kinds = {family: kind for kind, family in PUBLISHED.items()}
    return EncoderWeights(
        kinds.get(type(encoder), OWN),  # type: ignore[arg-type]
        tensors,
        latent_avg,
        dict(encoder.config),
    )


def _filled(
    family: type[StyleEncoder], config: dict[str, Any], tensors: dict[str, Tensor]
) -> StyleEncoder:
    """Build the network of a checked configuration with its tensors, every shape compared."""
    try:
        with Undrawn():
            encoder = family(**config)
    except UserError as error:
        raise BrokenCheckpoint(f"encoder: its configuration is invalid: {error}") from error
    fill(encoder, tensors, "encoder", f"a {family.__name__}")
    return encoder


def _check_generator(num_ws: int, w_dim: int, generator: Generator) -> None:
    if (num_ws, w_dim) != (generator.num_ws, generator.w_dim):
        raise UserError(
            f"encoder: gives {num_ws} styles of length {w_dim}, the generator takes "
            f"{generator.num_ws} of {generator.w_dim}; it belongs to another generator"
        )


def _own_config(weights: EncoderWeights, generator: Generator) -> dict[str, Any]:
    """Return the arguments of our own encoder, within bounds that its tensors set."""
    config = dict(weights.opts)
    counts = [config.get(name) for name in COUNTS]
    size, residual = config.get("img_size"), config.get("residual")
    names = {*COUNTS, "img_size", "norm", "residual"}
    if (
        config.keys() != names
        or not all(map(_is_count, counts))
        or not isinstance(size, list | tuple)
        or len(size) != 2
        or not all(map(_is_count, size))
        or config["norm"] not in NORMS
        or not isinstance(residual, bool)
    ):
        raise BrokenCheckpoint("encoder: its configuration is not that of a dragline encoder")
    _check_generator(config["num_ws"], config["w_dim"], generator)
    many = config["in_channels"] > _MOST_CHANNELS or config["blocks"] > _MOST_BLOCKS
    value_count = sum(tensor.numel() for tensor in weights.tensors.values())
    if many or max(size) > _LARGEST_SIDE or _least_values(config) > value_count:
        raise BrokenCheckpoint("encoder: its configuration asks for more than its file holds")
    return config


def _least_values(config: dict[str, Any]) -> int:
    """Count the weights in the largest tensors of a configuration of ours: a close lower bound."""
    try:
        resolutions = pyramid(config["img_size"])[1][:-1]
    except UserError as error:
        raise BrokenCheckpoint(f"encoder: its configuration is invalid: {error}") from error
    widths = [channels_at(r, config["channel_base"], config["channel_max"]) for r in resolutions]
    trunk = 9 * (2 * config["blocks"] - 1) * sum(width**2 for width in widths)
    stem = 36 * config["in_channels"] * widths[-1]
    maps, features = config["map_channels"], config["head_features"]
    heads = 9 * maps**2 + HEAD_SIDE**2 * maps * features
    return trunk + stem + heads + features * config["num_ws"] * config["w_dim"]


def _published_config(weights: EncoderWeights, generator: Generator) -> dict[str, Any]:
    """Read the arguments of e4e's or pSp's encoder from the shapes of its tensors."""
    heads = [name for name in weights.tensors if _HEAD.fullmatch(name)]
    stem = weights.tensors.get("input_layer.0.weight")
    if not heads or stem is None or stem.ndim != 4:
        raise BrokenCheckpoint("encoder: lacks input_layer.0.weight or styles, so it is no IR-SE50")
    width, input_channels = int(stem.shape[0]), int(stem.shape[1])
    w_dim = int(weights.tensors[heads[0]].shape[-1]) if weights.tensors[heads[0]].ndim else 0
    _check_generator(len(heads), w_dim, generator)
    residual = weights.opts.get("residual") is True
    value_count = sum(tensor.numel() for tensor in weights.tensors.values())
    least = 9 * 5 * (8 * width) ** 2 + len(heads) * 28 * w_dim**2
    if least > value_count or input_channels > _MOST_CHANNELS or (residual and input_channels % 2):
        raise BrokenCheckpoint("encoder: its tensors do not fit each other; damaged")
    return {
        "num_ws": len(heads),
        "w_dim": w_dim,
        "in_channels": input_channels // 2 if residual else input_channels,
        "img_size": _input_size(weights.opts),
        "width": width,
        "norm": "batch" if "input_layer.1.running_mean" in weights.tensors else "group",
        "residual": residual,
    }


def _input_size(opts: dict[str, Any]) -> tuple[int, int]:
    """Return the input size: stated if the encoder was trained here, else its program's."""
    size = opts.get("img_size")
    if isinstance(size, list | tuple) and len(size) == 2 and all(map(_is_count, size)):
        return size[0], size[1]
    cars = str(opts.get("dataset_type", "")).startswith("cars")
    return _CARS_SIZE if cars else (INPUT_SIDE, INPUT_SIDE)


def _mean_style(weights: EncoderWeights, generator: Generator) -> Tensor:
    """Return the style that a published encoder's outputs are added to, (num_ws, w_dim)."""
    shape = (generator.num_ws, generator.w_dim)
    mean = weights.latent_avg
    if mean is None:  # then its programs add the generator's own, if the options say so
        adds_mean = weights.opts.get("start_from_latent_avg") is True and generator.z_dim > 0
        mean = generator.mapping.w_avg.cpu() if adds_mean else torch.zeros(shape)
        return mean.expand(shape).clone()
    if mean.shape[-1:] != shape[1:] or mean.numel() not in (shape[1], shape[0] * shape[1]):
        raise BrokenCheckpoint(
            f"encoder: latent_avg is {tuple(mean.shape)}, neither {shape} nor {shape[1:]}"
        )
    return mean.reshape(-1, shape[1]).expand(shape).clone()


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
