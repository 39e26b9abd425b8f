"""The architecture of a network from the shapes of its tensors, checked against its claims.

The shapes win: a file's arguments name a network's sizes in one program's words, and programs that
were changed for pictures that are not square use the words differently.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from framework.errors import BrokenCheckpoint, UserError
from framework.formats.contents import sample_of
from framework.formats.model_folder import LARGEST_SIDE
from framework.models.stylegan2.layers import RESAMPLE_TAPS, channels_at, pyramid

Shapes = Mapping[str, tuple[int, ...]]
WHOLE_BATCH = 1 << 20  # group size of the minibatch statistics, larger than any batch
_MAPPING_RATE = 0.01
_W_AVG_BETA = 0.998


def generator_config(shapes: Shapes, claims: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the arguments of `Generator` for tensors of these shapes.

    Args:
        shapes: Shapes by NVIDIA's names.
        claims: The file's own arguments, by NVIDIA's names, nested or flat. Sizes must agree with
            the shapes; the rest (precision, clamping) is taken from here.
        where: The file, for messages.

    Raises:
        BrokenCheckpoint: If shapes are missing, do not fit together or contradict the claims.
        UserError: If the design is not supported.
    """
    net = _Tensors(shapes, claims, where)
    resolutions = net.resolutions(r"synthesis\.b(\d{1,6})\.conv1\.weight")
    design = net.generator_design(resolutions)
    base = net.shape("synthesis.b4.const", 3)[1:]
    channels = {r: net.width(f"synthesis.b{r}.conv1.weight") for r in resolutions}
    w_dim = net.shape("synthesis.b4.conv1.affine.weight", 2)[1]
    c_dim = net.label_size(w_dim)
    channel_base, channel_max = net.channel_rule(channels)
    config = {
        "img_size": [side << (len(resolutions) - 1) for side in base],
        "z_dim": net.z_dim(w_dim if c_dim else 0),
        "c_dim": c_dim,
        "w_dim": w_dim,
        "img_channels": net.shape(f"synthesis.b{resolutions[-1]}.torgb.weight", 4)[0],
        "mapping_layers": net.mapping_layers(w_dim),
        "channel_base": channel_base,
        "channel_max": channel_max,
        **net.precision(len(resolutions) - 1),
        "w_avg_beta": net.number("w_avg_beta", _W_AVG_BETA) or _W_AVG_BETA,
        "architecture": design,
    }
    net.check_sides(config["img_size"], base, resolutions)
    net.check_filters()
    net.agree(config, ("z_dim", "c_dim", "w_dim", "img_channels"))
    net.agree({"num_layers": config["mapping_layers"], "architecture": design})
    _only(claims, {"activation": "lrelu", "lr_multiplier": _MAPPING_RATE}, where)
    return config


def discriminator_config(shapes: Shapes, claims: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the arguments of `Discriminator` for tensors of these shapes; see `generator_config`.

    Its tensors give only the area of the smallest block. The sides come from the claims
    (`const_size`, that of the generator beside it, or its program's own); without them a square is
    assumed.
    """
    net = _Tensors(shapes, claims, where)
    resolutions = [4, *net.resolutions(r"b(\d{1,6})\.conv0\.weight", 8)]
    design = net.discriminator_design(resolutions)
    _only({"architecture": design}, {"architecture": ("resnet", "orig")}, where)
    conv = net.shape("b4.conv.weight", 4)
    channels = {r: net.width(f"b{r}.conv0.weight") for r in resolutions[1:]}
    channels[4] = conv[0]
    c_dim = net.label_size(channels[4])
    channel_base, channel_max = net.channel_rule(channels)
    base = net.base_sides(resolutions)
    config = {
        "img_size": [side << (len(resolutions) - 1) for side in base],
        "c_dim": c_dim,
        "img_channels": net.shape(f"b{resolutions[-1]}.fromrgb.weight", 4)[1],
        "channel_base": channel_base,
        "channel_max": channel_max,
        "mbstd_group_size": net.statistics_group(conv[1] - conv[0]),
        **net.precision(len(resolutions) - 1),
        "architecture": design,
    }
    net.check_sides(config["img_size"], base, resolutions)
    net.check_last_layers(channels[4], c_dim)
    net.check_filters()
    net.agree(config, ("c_dim", "img_channels", "architecture"))
    _only(claims, {"activation": "lrelu"}, where)
    if c_dim:
        config["mapping_layers"] = net.mapping_layers(channels[4])
        net.agree({"num_layers": config["mapping_layers"]})
        if config["mapping_layers"]:
            _only(claims, {"lr_multiplier": _MAPPING_RATE}, where)
    return config


def flattened(claims: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten the nested groups of stylegan2-ada-pytorch's arguments (`mapping_kwargs` …)."""
    flat: dict[str, Any] = {}
    for name, value in claims.items():
        if name.endswith("_kwargs") and isinstance(value, Mapping):
            flat |= flattened(value)
    return flat | {name: v for name, v in claims.items() if not isinstance(v, Mapping)}


def _only(claims: Mapping[str, Any], supported: Mapping[str, Any], where: str) -> None:
    """Refuse arguments with unsupported values, at any depth."""
    for name, value in claims.items():
        if isinstance(value, Mapping):
            _only(value, supported, where)
        elif name in supported and value is not None:
            allowed = supported[name] if isinstance(supported[name], tuple) else (supported[name],)
            if value not in allowed:
                values = " and ".join(map(str, allowed))
                raise UserError(f"{where}: {name} {str(value)[:40]}; only {values} is supported")


class _Tensors:
    """A network's shapes by name, and its file's claims."""

    def __init__(self, shapes: Shapes, claims: Mapping[str, Any], where: str) -> None:
        self.shapes, self.claims, self.where = shapes, flattened(claims), where

    def broken(self, reason: str) -> BrokenCheckpoint:
        return BrokenCheckpoint(f"{self.where}: {reason}")

    def other(self, reason: str) -> UserError:
        return UserError(f"{self.where}: {reason}")

    # Sizes

    def shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        shape = self.shapes.get(name)
        if shape is None or len(shape) != dimensions or 0 in shape:
            state = "missing" if shape is None else f"of shape {shape}"
            raise self.broken(f"{name} is {state}; not a whole StyleGAN2")
        return shape

    def resolutions(self, pattern: str, first: int = 4) -> list[int]:
        levels = sorted(int(m[1]) for name in self.shapes if (m := re.fullmatch(pattern, name)))
        if not levels or levels != [first << level for level in range(len(levels))]:
            sample = sample_of(self.shapes)
            raise self.broken(f"its blocks {levels[:12]} are not a StyleGAN2's; it holds {sample}")
        return levels

    def width(self, name: str) -> int:
        """Return the number of feature maps that a 3x3 convolution gives."""
        shape = self.shape(name, 4)
        if shape[2:] != (3, 3):
            raise self.other(f"{name} has kernels of {shape[2]}x{shape[3]}; only 3x3 are known")
        return shape[0]

    def z_dim(self, label_features: int) -> int:
        """Return the length of z, 0 if only labels are embedded, in `label_features` numbers."""
        inputs = self.shape("mapping.fc0.weight", 2)[1]
        if inputs < label_features:
            raise self.broken(f"mapping.fc0.weight takes {inputs} numbers and no label's")
        return inputs - label_features

    def label_size(self, features: int) -> int:
        """Return the length of labels, 0 without; they must be embedded in `features` numbers."""
        if "mapping.embed.weight" not in self.shapes:
            return 0
        embedded, c_dim = self.shape("mapping.embed.weight", 2)
        if embedded != features:
            raise self.other(f"labels embedded in {embedded} numbers; only {features} are known")
        return c_dim

    def mapping_layers(self, features: int) -> int:
        """Count the mapping layers; each must give as many numbers as w has."""
        names = [name for name in self.shapes if re.fullmatch(r"mapping\.fc\d+\.weight", name)]
        for name in names:
            width = self.shape(name, 2)[0]
            if width != features:
                raise self.other(f"{name} gives {width} numbers; only {features} are known")
        return len(names)

    def channel_rule(self, channels: Mapping[int, int]) -> tuple[int, int]:
        """Return (channel_base, channel_max) for these feature maps, as claimed if that fits.

        Otherwise the base is the smallest that fits. Each block bounds it from below; the widest
        may be limited by the maximum, and is then as wide as the next one would allow.
        """
        most = max(channels.values())
        candidates = [
            (self.claims.get("channel_base"), self.claims.get("channel_max", most)),
            (max(count * r for r, count in channels.items()), most),
        ]
        for base, limit in candidates:
            if type(base) is int and type(limit) is int and all(
                channels_at(r, base, limit) == count for r, count in channels.items()
            ):  # fmt: skip
                return base, limit
        raise self.other(
            f"feature maps {list(channels.values())} follow no min(base / resolution, max); such a "
            "network is not supported"
        )

    def base_sides(self, resolutions: Sequence[int]) -> tuple[int, int]:
        """Return (h, w) of a discriminator's smallest block; the tensors give only h * w."""
        maps = self.shape("b4.conv.weight", 4)[0]
        inputs = self.shape("b4.fc.weight", 2)[1]
        area, rest = divmod(inputs, maps)
        if rest:
            raise self.broken(f"b4.fc.weight takes {inputs} numbers of {maps} maps")
        sides = [(h, area // h) for h in range(1, area + 1) if area % h == 0]
        for claimed in self.claimed_base_sides(len(resolutions) - 1):
            if claimed not in sides:
                raise self.contradiction("a smallest block of", claimed, f"{area} pixels in it")
            return claimed
        square = self.claims.get("square")
        sides = [(h, w) for h, w in sides if h == (2 * w if square is False else w)]
        if not sides and square:
            raise self.contradiction("square", True, f"{area} pixels in the smallest block")
        if not sides:
            raise self.other(
                f"its smallest block has {area} pixels, and nothing in the file says in how many "
                "rows"
            )
        return sides[0]

    def claimed_base_sides(self, levels: int) -> Iterator[tuple[int, int]]:
        """Yield (h, w) of the smallest block by the claims: the generator's, then its own."""
        for name, shift in (("const_size", 0), ("init_res", 0), ("img_size", levels)):
            match self.claims.get(name):
                case [int(height), int(width)]:
                    yield height >> shift, width >> shift

    # Designs and arguments

    def generator_design(self, resolutions: Sequence[int]) -> str:
        """Return the design: `skip` adds up colours; `resnet` has shortcuts; `orig` has neither."""
        colours = [f"synthesis.b{r}.torgb.weight" in self.shapes for r in resolutions]
        shortcuts = sum(f"synthesis.b{r}.skip.weight" in self.shapes for r in resolutions)
        if shortcuts not in (0, len(resolutions) - 1) or any(colours[:-1]) != all(colours[:-1]):
            raise self.broken("only some of its blocks have a skip or torgb; damaged")
        if shortcuts and any(colours[:-1]):
            raise self.other("shortcuts and colours in every block; no design that is known")
        return "resnet" if shortcuts else "skip" if all(colours) else "orig"

    def discriminator_design(self, resolutions: Sequence[int]) -> str:
        """Return the design: `resnet` has shortcuts, `skip` reads all sizes, or `orig`."""
        if any(f"b{r}.fromrgb.weight" in self.shapes for r in resolutions[:-1]):
            return "skip"
        shortcuts = sum(f"b{r}.skip.weight" in self.shapes for r in resolutions)
        if shortcuts not in (0, len(resolutions) - 1):
            raise self.broken("only some of its blocks have a skip.weight; damaged")
        return "resnet" if shortcuts else "orig"

    def statistics_group(self, maps: int) -> int:
        """Return the group size of the batch statistics, `maps` maps of the last block's input."""
        if maps not in (0, 1):
            raise self.other(f"{maps} statistics maps in its last block; only 1 is known")
        claimed = self.claims.get("mbstd_num_channels")
        if claimed is not None and claimed != maps:
            raise self.contradiction("mbstd_num_channels", claimed, maps)
        if maps and self.claims.get("mbstd_group_size", 4) is None:
            return WHOLE_BATCH
        return maps and max(1, self.count("mbstd_group_size", 4, WHOLE_BATCH))

    def precision(self, most_blocks: int) -> dict[str, Any]:
        return {
            "low_precision_blocks": self.count("num_fp16_res", 0, most_blocks),
            "low_precision": "float16",
            "conv_clamp": self.number("conv_clamp"),
        }

    def count(self, name: str, default: int, most: int) -> int:
        value = self.claims.get(name)
        return min(value, most) if type(value) is int and value >= 0 else default

    def number(self, name: str, default: float | None = None) -> float | None:
        value = self.claims.get(name, default)
        if value is None:
            return None
        if type(value) not in (int, float) or not 0 < value < float("inf"):
            return default
        return float(value)

    # Checks

    def check_sides(
        self, img_size: list[int], base: Sequence[int], resolutions: Sequence[int]
    ) -> None:
        """Compare the picture's sides with `Generator`'s limits and with the claims.

        `img_resolution` is the name of the largest block, 4 * 2^k, in NVIDIA's program, in
        StyleGAN-Human (`square=False` for twice as high as wide) and in eps696's (`init_res` for
        the smallest block); others may mean one side or both.
        """
        pictures = f"{img_size[1]}x{img_size[0]} pictures"
        if max(img_size) > LARGEST_SIDE:
            raise self.other(f"{pictures}; {LARGEST_SIDE} is the most")
        try:
            fits = pyramid(img_size)[0] == tuple(base)
        except UserError:
            fits = False
        if not fits:
            block = f"{base[1]}x{base[0]}"
            raise self.other(
                f"{pictures} from a smallest block of {block}; its longer side must be 4 to 7"
            )
        possible = {
            "img_resolution": (resolutions[-1], *img_size, img_size, img_size[::-1]),
            "img_size": (img_size,),
            "init_res": (list(base),),
            "square": (img_size[0] == img_size[1],),
        }
        for name, values in possible.items():
            claimed = self.claims.get(name)
            if claimed is not None and claimed not in values:
                raise self.contradiction(name, claimed, pictures)

    def check_filters(self) -> None:
        taps = len(RESAMPLE_TAPS)
        for name, shape in self.shapes.items():
            if name.endswith("resample_filter") and shape != (taps, taps):
                raise self.other(f"{name} has shape {shape}; only {taps}x{taps} is known")

    def check_last_layers(self, features: int, c_dim: int) -> None:
        hidden = self.shape("b4.fc.weight", 2)[0]
        if hidden != features:
            raise self.other(f"its last hidden layer is {hidden} wide; only {features} is known")
        outputs, expected = self.shape("b4.out.weight", 2)[0], features if c_dim else 1
        if outputs != expected:
            raise self.other(
                f"its last layer gives {outputs} numbers and not {expected}; labels that enter it "
                "in such a way are not supported"
            )

    def agree(self, actual: Mapping[str, Any], names: Iterable[str] | None = None) -> None:
        """Compare claims with the tensors' values, by these names or all that the tensors give."""
        for name in actual if names is None else names:
            claimed = self.claims.get(name)
            if claimed is not None and claimed != actual[name]:
                raise self.contradiction(name, claimed, actual[name])

    def contradiction(self, name: str, claimed: Any, actual: Any) -> BrokenCheckpoint:
        return self.broken(
            f"it says {name} {str(claimed)[:40]} and its tensors {actual}; damaged or edited"
        )
