"""The architecture of a network from the shapes of its tensors, checked against what it claims.

What the shapes say wins: a file's arguments name a network's sizes in one program's words, and
programs that were changed for pictures that are not square use the words differently.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from framework.errors import BrokenCheckpoint, UserError
from framework.formats.contents import sample_of
from framework.formats.model_folder import LARGEST_SIDE
from framework.models.stylegan2.layers import RESAMPLE_TAPS, channels_at, pyramid

Shapes = Mapping[str, tuple[int, ...]]
WHOLE_BATCH = 1 << 20  # a group of the minibatch statistics that is larger than any batch
_MAPPING_RATE = 0.01
_W_AVG_BETA = 0.998


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
    flat = flattened(claims)
    resolutions = _resolutions(shapes, r"synthesis\.b(\d{1,6})\.conv1\.weight", where)
    design = _generator_design(shapes, resolutions, where)
    base = _shape(shapes, "synthesis.b4.const", 3, where)[1:]
    channels = {r: _width(shapes, f"synthesis.b{r}.conv1.weight", where) for r in resolutions}
    w_dim = _shape(shapes, "synthesis.b4.conv1.affine.weight", 2, where)[1]
    c_dim = _label_size(shapes, w_dim, where)
    channel_base, channel_max = _channel_rule(channels, flat, where)
    config = {
        "img_size": [side << (len(resolutions) - 1) for side in base],
        "z_dim": _z_dim(shapes, w_dim if c_dim else 0, where),
        "c_dim": c_dim,
        "w_dim": w_dim,
        "img_channels": _shape(shapes, f"synthesis.b{resolutions[-1]}.torgb.weight", 4, where)[0],
        "mapping_layers": _mapping_layers(shapes, w_dim, where),
        "channel_base": channel_base,
        "channel_max": channel_max,
        **_precision(flat, len(resolutions) - 1),
        "w_avg_beta": _number_or_none(flat, "w_avg_beta", _W_AVG_BETA) or _W_AVG_BETA,
        "architecture": design,
    }
    _check_sides(config["img_size"], base, resolutions, flat, where)
    _check_filters(shapes, where)
    _agree(flat, config, ("z_dim", "c_dim", "w_dim", "img_channels"), where)
    _agree(flat, {"num_layers": config["mapping_layers"], "architecture": design}, None, where)
    _only(claims, {"activation": "lrelu", "lr_multiplier": _MAPPING_RATE}, where)
    return config


def discriminator_config(shapes: Shapes, claims: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Arguments of `Discriminator` for tensors of these shapes; see `generator_config`.

    Its tensors hold only the area of the smallest block. The sides come from the claims
    (`const_size`, that of the generator beside it, or what its program wrote); without them a
    square is assumed.
    """
    flat = flattened(claims)
    resolutions = [4, *_resolutions(shapes, r"b(\d{1,6})\.conv0\.weight", where, 8)]
    design = _discriminator_design(shapes, resolutions, where)
    _only({"architecture": design}, {"architecture": ("resnet", "orig")}, where)
    conv = _shape(shapes, "b4.conv.weight", 4, where)
    channels = {r: _width(shapes, f"b{r}.conv0.weight", where) for r in resolutions[1:]}
    channels[4] = conv[0]
    c_dim = _label_size(shapes, channels[4], where)
    channel_base, channel_max = _channel_rule(channels, flat, where)
    base = _base_sides(shapes, flat, resolutions, where)
    config = {
        "img_size": [side << (len(resolutions) - 1) for side in base],
        "c_dim": c_dim,
        "img_channels": _shape(shapes, f"b{resolutions[-1]}.fromrgb.weight", 4, where)[1],
        "channel_base": channel_base,
        "channel_max": channel_max,
        "mbstd_group_size": _statistics_group(conv[1] - conv[0], flat, where),
        **_precision(flat, len(resolutions) - 1),
        "architecture": design,
    }
    _check_sides(config["img_size"], base, resolutions, flat, where)
    _check_last_layers(shapes, channels[4], c_dim, where)
    _check_filters(shapes, where)
    _agree(flat, config, ("c_dim", "img_channels", "architecture"), where)
    _only(claims, {"activation": "lrelu"}, where)
    if c_dim:
        config["mapping_layers"] = _mapping_layers(shapes, channels[4], where)
        _agree(flat, {"num_layers": config["mapping_layers"]}, None, where)
        if config["mapping_layers"]:
            _only(claims, {"lr_multiplier": _MAPPING_RATE}, where)
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


def _width(shapes: Shapes, name: str, where: str) -> int:
    """Feature maps that a 3x3 convolution gives."""
    shape = _shape(shapes, name, 4, where)
    if shape[2:] != (3, 3):
        raise UserError(f"{where}: {name} has kernels of {shape[2]}x{shape[3]}; only 3x3 are known")
    return shape[0]


def _generator_design(shapes: Shapes, resolutions: Sequence[int], where: str) -> str:
    """`skip` adds up colours of all blocks; `resnet` has shortcuts; `orig` has neither."""
    colours = [f"synthesis.b{r}.torgb.weight" in shapes for r in resolutions]
    shortcuts = sum(f"synthesis.b{r}.skip.weight" in shapes for r in resolutions)
    if shortcuts not in (0, len(resolutions) - 1) or any(colours[:-1]) != all(colours[:-1]):
        raise BrokenCheckpoint(f"{where}: only some of its blocks have a skip or torgb; damaged")
    if shortcuts and any(colours[:-1]):
        raise UserError(f"{where}: shortcuts and colours in every block; no design that is known")
    return "resnet" if shortcuts else "skip" if all(colours) else "orig"


def _discriminator_design(shapes: Shapes, resolutions: Sequence[int], where: str) -> str:
    """`resnet` has shortcuts; `skip` reads the picture in all sizes; `orig` does neither."""
    if any(f"b{r}.fromrgb.weight" in shapes for r in resolutions[:-1]):
        return "skip"
    shortcuts = sum(f"b{r}.skip.weight" in shapes for r in resolutions)
    if shortcuts not in (0, len(resolutions) - 1):
        raise BrokenCheckpoint(f"{where}: only some of its blocks have a skip.weight; damaged")
    return "resnet" if shortcuts else "orig"


def _z_dim(shapes: Shapes, label_features: int, where: str) -> int:
    """The length of z, which may be 0 where labels are embedded in `label_features` numbers."""
    inputs = _shape(shapes, "mapping.fc0.weight", 2, where)[1]
    if inputs < label_features:
        raise BrokenCheckpoint(f"{where}: mapping.fc0.weight takes {inputs} numbers and no label's")
    return inputs - label_features


def _label_size(shapes: Shapes, features: int, where: str) -> int:
    """Length of labels, 0 without; they must be embedded in `features` numbers."""
    if "mapping.embed.weight" not in shapes:
        return 0
    embedded, c_dim = _shape(shapes, "mapping.embed.weight", 2, where)
    if embedded != features:
        raise UserError(
            f"{where}: labels embedded in {embedded} numbers; only {features} are known"
        )
    return c_dim


def _mapping_layers(shapes: Shapes, features: int, where: str) -> int:
    """How many mapping layers there are; each must give as many numbers as w has."""
    names = [name for name in shapes if re.fullmatch(r"mapping\.fc\d+\.weight", name)]
    for name in names:
        width = _shape(shapes, name, 2, where)[0]
        if width != features:
            raise UserError(f"{where}: {name} gives {width} numbers; only {features} are known")
    return len(names)


def _channel_rule(
    channels: Mapping[int, int], claims: Mapping[str, Any], where: str
) -> tuple[int, int]:
    """(channel_base, channel_max) that give these feature maps: the claimed ones if they do.

    Otherwise the smallest base that does. Each block bounds it from below; the widest of all may
    be cut off at the maximum, and is then as wide as the next one would allow.
    """
    most = max(channels.values())
    candidates = [
        (claims.get("channel_base"), claims.get("channel_max", most)),
        (max(count * r for r, count in channels.items()), most),
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


def _statistics_group(maps: int, claims: Mapping[str, Any], where: str) -> int:
    """Samples a group of the minibatch's statistics, of which the last block takes `maps` maps."""
    if maps not in (0, 1):
        raise UserError(f"{where}: {maps} statistics maps in its last block; only 1 is known")
    claimed = claims.get("mbstd_num_channels")
    if claimed is not None and claimed != maps:
        raise _contradiction("mbstd_num_channels", claimed, maps, where)
    if maps and claims.get("mbstd_group_size", 4) is None:
        return WHOLE_BATCH
    return maps and max(1, _count(claims, "mbstd_group_size", 4, WHOLE_BATCH))


def _precision(claims: Mapping[str, Any], most_blocks: int) -> dict[str, Any]:
    return {
        "low_precision_blocks": _count(claims, "num_fp16_res", 0, most_blocks),
        "low_precision": "float16",
        "conv_clamp": _number_or_none(claims, "conv_clamp"),
    }


def _base_sides(
    shapes: Shapes, claims: Mapping[str, Any], resolutions: Sequence[int], where: str
) -> tuple[int, int]:
    """(h, w) of the smallest block of a discriminator, of which its tensors know only h * w."""
    maps = _shape(shapes, "b4.conv.weight", 4, where)[0]
    inputs = _shape(shapes, "b4.fc.weight", 2, where)[1]
    area, rest = divmod(inputs, maps)
    if rest:
        raise BrokenCheckpoint(f"{where}: b4.fc.weight takes {inputs} numbers of {maps} maps")
    sides = [(h, area // h) for h in range(1, area + 1) if area % h == 0]
    for claimed in _claimed_base_sides(claims, len(resolutions) - 1):
        if claimed not in sides:
            raise _contradiction("a smallest block of", claimed, f"{area} pixels in it", where)
        return claimed
    if claims.get("square") is False:
        sides = [(h, w) for h, w in sides if h == 2 * w]
    else:
        sides = [(h, w) for h, w in sides if h == w]
    if not sides and claims.get("square"):
        raise _contradiction("square", True, f"{area} pixels in the smallest block", where)
    if not sides:
        raise UserError(f"{where}: its smallest block has {area} pixels, and nothing in the file "
                        "says in how many rows")  # fmt: skip
    return sides[0]


def _claimed_base_sides(claims: Mapping[str, Any], levels: int) -> Iterator[tuple[int, int]]:
    """(h, w) of the smallest block by what a file says: of the generator, of itself."""
    for name, shift in (("const_size", 0), ("init_res", 0), ("img_size", levels)):
        match claims.get(name):
            case [int(height), int(width)]:
                yield height >> shift, width >> shift


def _check_sides(
    img_size: list[int],
    base: Sequence[int],
    resolutions: Sequence[int],
    claims: Mapping[str, Any],
    where: str,
) -> None:
    """Compare the picture's sides with what `Generator` can have and with what the file says.

    `img_resolution` is the name of the largest block, 4 * 2^k, in NVIDIA's program, in that of
    StyleGAN-Human (`square=False` for twice as high as wide) and in eps696's (`init_res` for the
    smallest block); others may mean a side or both.
    """
    if max(img_size) > LARGEST_SIDE:
        raise UserError(
            f"{where}: {img_size[1]}x{img_size[0]} pictures; {LARGEST_SIDE} is the most"
        )
    try:
        fits = pyramid(img_size)[0] == tuple(base)
    except UserError:
        fits = False
    if not fits:
        raise UserError(f"{where}: {img_size[1]}x{img_size[0]} pictures from a smallest block of "
                        f"{base[1]}x{base[0]}; its longer side must be 4 to 7")  # fmt: skip
    either_way = (img_size, img_size[::-1])
    possible = {
        "img_resolution": (resolutions[-1], *img_size, *either_way),
        "img_size": (img_size,),
        "init_res": (list(base),),
        "square": (img_size[0] == img_size[1],),
    }
    for name, values in possible.items():
        claimed = claims.get(name)
        if claimed is not None and claimed not in values:
            raise _contradiction(name, claimed, f"{img_size[1]}x{img_size[0]} pictures", where)


def _check_filters(shapes: Shapes, where: str) -> None:
    taps = len(RESAMPLE_TAPS)
    for name, shape in shapes.items():
        if name.endswith("resample_filter") and shape != (taps, taps):
            raise UserError(f"{where}: {name} has shape {shape}; only {taps}x{taps} is known")


def _check_last_layers(shapes: Shapes, features: int, c_dim: int, where: str) -> None:
    hidden = _shape(shapes, "b4.fc.weight", 2, where)[0]
    if hidden != features:
        raise UserError(
            f"{where}: its last hidden layer is {hidden} wide; only {features} is known"
        )
    outputs = _shape(shapes, "b4.out.weight", 2, where)[0]
    expected = features if c_dim else 1
    if outputs != expected:
        raise UserError(f"{where}: its last layer gives {outputs} numbers and not {expected}; "
                        "labels that enter it in such a way are not supported")  # fmt: skip


def _agree(
    claims: Mapping[str, Any], found: Mapping[str, Any], names: Iterable[str] | None, where: str
) -> None:
    """Compare claims with what the tensors say, by these names or all that were found."""
    for name in found if names is None else names:
        if claims.get(name) is not None and claims[name] != found[name]:
            raise _contradiction(name, claims[name], found[name], where)


def _contradiction(name: str, claimed: Any, found: Any, where: str) -> BrokenCheckpoint:
    return BrokenCheckpoint(
        f"{where}: it says {name} {str(claimed)[:40]} and its tensors {found}; damaged or edited"
    )


def _only(claims: Mapping[str, Any], supported: Mapping[str, Any], where: str) -> None:
    """Refuse arguments of other values than the supported, at any depth."""
    for name, value in claims.items():
        if isinstance(value, Mapping):
            _only(value, supported, where)
        elif name in supported and value is not None:
            allowed = supported[name] if isinstance(supported[name], tuple) else (supported[name],)
            if value not in allowed:
                known = " and ".join(map(str, allowed))
                raise UserError(f"{where}: {name} {str(value)[:40]}; only {known} is supported")


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
