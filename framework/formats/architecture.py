"""The architecture of a network from the shapes of its tensors, checked against what it claims."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from framework.errors import BrokenCheckpoint, UserError
from framework.formats.contents import sample_of
from framework.models.stylegan2.layers import channels_at, pyramid

Shapes = Mapping[str, tuple[int, ...]]
_MAPPING_RATE = 0.01


def generator_config(shapes: Shapes, claims: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Arguments of `Generator` for tensors of these shapes.

    Args:
        shapes: By NVIDIA's names.
        claims: What the file says of itself, by NVIDIA's argument names, nested or flat. Sizes
            must agree with the shapes; the rest (precision, clamping) is taken from here.
        where: The file, for complaints.

    Raises:
        BrokenCheckpoint: If shapes are missing, do not fit together or contradict the claims.
        UserError: If it is a design that this project does not have.
    """
    claims = flattened(claims)
    resolutions = _resolutions(shapes, r"synthesis\.b(\d+)\.conv1\.weight", where)
    const = _shape(shapes, "synthesis.b4.const", 3, where)
    img_size = [side << (len(resolutions) - 1) for side in const[1:]]
    channels = {r: _shape(shapes, f"synthesis.b{r}.conv1.weight", 4, where)[0] for r in resolutions}
    w_dim = _shape(shapes, "synthesis.b4.conv1.affine.weight", 2, where)[1]
    labelled = "mapping.embed.weight" in shapes
    c_dim = _shape(shapes, "mapping.embed.weight", 2, where)[1] if labelled else 0
    first = _shape(shapes, "mapping.fc0.weight", 2, where)[1]
    base, most = _channel_rule(channels, claims, where)
    config = {
        "img_size": img_size,
        "z_dim": first - (w_dim if labelled else 0),
        "c_dim": c_dim,
        "w_dim": w_dim,
        "img_channels": _shape(shapes, "synthesis.b4.torgb.weight", 4, where)[0],
        "mapping_layers": sum(bool(re.fullmatch(r"mapping\.fc\d+\.weight", n)) for n in shapes),
        "channel_base": base,
        "channel_max": most,
        "low_precision_blocks": _count(claims, "num_fp16_res", 0, len(resolutions) - 1),
        "low_precision": "float16",
        "conv_clamp": _number_or_none(claims, "conv_clamp"),
        "w_avg_beta": _number_or_none(claims, "w_avg_beta", 0.998) or 0.998,
    }
    _check_size(img_size, const[1:], where)
    _agree(config, claims, ("z_dim", "c_dim", "w_dim", "img_channels"), where)
    _only(claims, {"architecture": "skip", "activation": "lrelu", "lr_multiplier": _MAPPING_RATE,
                   "layer_features": w_dim, "embed_features": w_dim}, where)  # fmt: skip
    if claims.get("num_layers") not in (None, config["mapping_layers"]):
        raise _contradiction("num_layers", claims["num_layers"], config["mapping_layers"], where)
    return config


def discriminator_config(shapes: Shapes, claims: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Arguments of `Discriminator` for tensors of these shapes; see `generator_config`."""
    claims = flattened(claims)
    resolutions = [4, *_resolutions(shapes, r"b(\d+)\.conv0\.weight", where, 8)]
    channels = {r: _shape(shapes, f"b{r}.conv0.weight", 4, where)[0] for r in resolutions[1:]}
    conv = _shape(shapes, "b4.conv.weight", 4, where)
    channels[4] = conv[0]
    if conv[1] != conv[0] + 1:
        raise UserError(f"{where}: {conv[1] - conv[0]} statistics maps in its last block, not 1")
    labelled = "mapping.embed.weight" in shapes
    base, most = _channel_rule(channels, claims, where)
    side = _base_side(shapes, claims, resolutions, where)
    img_size = [s << (len(resolutions) - 1) for s in side]
    config = {
        "img_size": img_size,
        "c_dim": _shape(shapes, "mapping.embed.weight", 2, where)[1] if labelled else 0,
        "img_channels": _shape(shapes, f"b{resolutions[-1]}.fromrgb.weight", 4, where)[1],
        "channel_base": base,
        "channel_max": most,
        "mbstd_group_size": _count(claims, "mbstd_group_size", 4, 1 << 20) or 1,
        "low_precision_blocks": _count(claims, "num_fp16_res", 0, len(resolutions) - 1),
        "low_precision": "float16",
        "conv_clamp": _number_or_none(claims, "conv_clamp"),
    }
    layers = sum(bool(re.fullmatch(r"mapping\.fc\d+\.weight", name)) for name in shapes)
    if labelled:
        config["mapping_layers"] = layers
    _check_size(img_size, side, where)
    _agree(config, claims, ("c_dim", "img_channels"), where)
    _only(claims, {"architecture": "resnet", "activation": "lrelu", "lr_multiplier": _MAPPING_RATE,
                   "mbstd_num_channels": 1, "cmap_dim": channels[4]}, where)  # fmt: skip
    return config


def flattened(claims: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments with the nested groups of stylegan2-ada-pytorch (`mapping_kwargs` …) laid flat."""
    flat: dict[str, Any] = {}
    for name, value in claims.items():
        if name.endswith("_kwargs") and isinstance(value, Mapping):
            flat |= flattened(value)
    return flat | {name: v for name, v in claims.items() if not isinstance(v, Mapping)}


def _resolutions(shapes: Shapes, pattern: str, where: str, first: int = 4) -> list[int]:
    found = sorted(int(m[1]) for name in shapes if (m := re.fullmatch(pattern, name)))
    if not found or found != [first << level for level in range(len(found))]:
        raise BrokenCheckpoint(
            f"{where}: its blocks {found[:12]} are not a StyleGAN2's; it holds {sample_of(shapes)}"
        )
    return found


def _shape(shapes: Shapes, name: str, dimensions: int, where: str) -> tuple[int, ...]:
    shape = shapes.get(name)
    if shape is None or len(shape) != dimensions or 0 in shape:
        held = "missing" if shape is None else f"of shape {shape}"
        raise BrokenCheckpoint(f"{where}: {name} is {held}; not a whole StyleGAN2")
    return shape


def _channel_rule(
    channels: Mapping[int, int], claims: Mapping[str, Any], where: str
) -> tuple[int, int]:
    """(channel_base, channel_max) that give these feature maps: the claimed ones if they do."""
    most = max(channels.values())
    narrow = [count * r for r, count in channels.items() if count < most]
    candidates = [
        (claims.get("channel_base"), claims.get("channel_max", most)),
        (max([*narrow, *(most * r for r, count in channels.items() if count == most)]), most),
    ]
    for base, limit in candidates:
        if type(base) is int and type(limit) is int and all(
            channels_at(r, base, limit) == count for r, count in channels.items()
        ):  # fmt: skip
            return base, limit
    raise UserError(
        f"{where}: feature maps {list(channels.values())} follow no min(base / resolution, max); "
        "such a network is not supported"
    )


def _base_side(
    shapes: Shapes, claims: Mapping[str, Any], resolutions: Iterable[int], where: str
) -> tuple[int, int]:
    """(h, w) of the smallest block of a discriminator, of which the file knows only h * w."""
    maps, inputs = _shape(shapes, "b4.conv.weight", 4, where)[0], shapes["b4.fc.weight"][1]
    area = inputs // maps
    claimed = claims.get("img_size") or claims.get("const_size")
    sides = [(h, area // h) for h in range(1, 8) if area % h == 0 and area // h < 8]
    if isinstance(claimed, list | tuple):
        sides = [side for side in sides if list(side) == list(claimed)]
    sides.sort(key=lambda side: (side != (4, 4), side[0] < side[1]))
    if not sides or maps * area != inputs:
        raise BrokenCheckpoint(f"{where}: b4.fc.weight takes {inputs} numbers of {maps} maps")
    return sides[0]


def _check_size(img_size: list[int], base: Iterable[int], where: str) -> None:
    try:
        fits = pyramid(img_size)[0] == tuple(base)
    except UserError:
        fits = False
    if not fits:
        raise UserError(f"{where}: {img_size[1]}x{img_size[0]} pictures from a smallest block of "
                        f"{tuple(base)[::-1]}; its longer side must be 4 to 7")  # fmt: skip


def _agree(config: dict, claims: Mapping[str, Any], names: Iterable[str], where: str) -> None:
    for name in names:
        if claims.get(name) is not None and claims[name] != config[name]:
            raise _contradiction(name, claims[name], config[name], where)
    claimed = claims.get("img_resolution")
    if claimed is not None and claimed not in config["img_size"]:
        raise _contradiction("img_resolution", claimed, config["img_size"], where)


def _contradiction(name: str, claimed: Any, found: Any, where: str) -> BrokenCheckpoint:
    return BrokenCheckpoint(
        f"{where}: it says {name} {str(claimed)[:40]} and its tensors {found}; damaged or edited"
    )


def _only(claims: Mapping[str, Any], supported: Mapping[str, Any], where: str) -> None:
    for name, value in supported.items():
        if claims.get(name) is not None and claims[name] != value:
            raise UserError(
                f"{where}: {name} {str(claims[name])[:40]!r}; only {value!r} is supported"
            )


def _count(claims: Mapping[str, Any], name: str, default: int, most: int) -> int:
    value = claims.get(name)
    return min(value, most) if type(value) is int and value >= 0 else default


def _number_or_none(
    claims: Mapping[str, Any], name: str, default: float | None = None
) -> float | None:
    value = claims.get(name, default)
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 < value < float("inf"):
        return default
    return float(value)
