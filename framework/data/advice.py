"""Remarks on pictures, a line each, before hours are spent on training."""

import shlex
from collections.abc import Sequence
from statistics import median

from framework.data.fit import Crop

_FAR, _SHARE = 1.25, 0.1  # enlargement, and share of pictures beyond it, worth a line
_SMALLER = 1 / 4  # share of the pictures' own size
_FEW, _MANY, _NO_AUGMENT = 200, 20_000, 100_000
_SHIPPED_SIDE = 64
_LARGEST_SIDE = 512  # largest side for a first training run on one GPU


def enlargement(size: tuple[int, int], target: tuple[int, int], crop: Crop) -> float:
    """Return the factor by which a picture of `size` is enlarged (above 1) to fit `target`."""
    ratios = [new / old for new, old in zip(target, size, strict=True)]
    return min(ratios) if crop == "pad" else max(ratios)


def size_remarks(
    sizes: Sequence[tuple[int, int]], target: tuple[int, int], crop: Crop = "center"
) -> list[str]:
    """Return a line if pictures are enlarged by much or lose most of their detail, else none.

    Args:
        sizes: Sizes (H, W) of the pictures.
        target: Size (H, W) that they are brought to.
        crop: Crop to the shape of that size.
    """
    factors = [enlargement(size, target, crop) for size in sizes]
    if not factors:
        return []
    middle, pixels = median(factors), f"{target[1]}x{target[0]} px"
    smaller = sum(factor > 1 for factor in factors)
    side = fitting_side([min(target) / factor for factor in factors])
    if sum(factor > _FAR for factor in factors) > _SHARE * len(factors):
        return [
            f"{smaller} of {len(factors)} pictures are smaller than {pixels} and are enlarged, in "
            f"the median {middle:.3g} times; a size of {side} shows what is in them"
        ]
    if middle < _SMALLER:
        return [
            f"in the median the pictures are {1 / middle:.3g} times as large as {pixels}; a size "
            f"of up to {side} keeps more of them"
        ]
    return []


def class_remarks(classes: Sequence[str], count: int) -> list[str]:
    """Return a line if the labels carry no information."""
    if count != 1:
        return []
    name = f" ({classes[0]})" if classes else ""
    return [f"one class only{name}: such labels tell nothing, leave them out"]


def fitting_side(sides: Sequence[float]) -> int:
    """Return the largest power of two, 16 to 1024, within the median of some sides."""
    return min(1024, 2 ** max(4, int(median(sides)).bit_length() - 1))


def next_commands(
    source: str, sizes: Sequence[tuple[int, int]], classes: int, unusable: int
) -> list[str]:
    """Return comments and commands to run next, best first, for usable pictures' sizes (H, W)."""
    if not sizes:
        return []
    count, side = len(sizes), fitting_side([min(size) for size in sizes])
    common = f"--data.source {shlex.quote(source)}"
    common += " --data.labels folders" if classes > 1 else ""
    common += " --data.on_bad skip" if 0 < unusable <= count else ""
    fade = ' --model.transition_kimg "[200,400]"' if classes > 1 and count < _MANY else ""
    small = f" --data.size {side}" if side < _SHIPPED_SIDE else ""
    frozen = f" --model.transfer.freeze_d_layers {4 if side == 32 else 0}" if small else ""
    tune = (
        "python train.py fit --config configs/train/stylegan2/finetune.yaml "
        f"{common} --model.start_from vehicles64{small}{frozen}{fade}"
    )
    lines = [f"# from a shipped model, at {min(side, _SHIPPED_SIDE)} px, with ADA:", tune]
    if count < _FEW:
        lines[0] = f"# {count} pictures are few; {lines[0].removeprefix('# ')}"
    if side <= _SHIPPED_SIDE:
        return lines
    large = min(side, _LARGEST_SIDE)
    widths = " --model.networks.channel_base 32768" if large == 512 else ""
    augment = " --model.augment none" if count >= _NO_AUGMENT else ""
    scratch = (
        "python train.py fit --config configs/train/stylegan2/auto.yaml "
        f"{common} --data.size {large}{widths}{augment}{fade}"
    )
    also = [f"# from scratch, at {large} px, on a GPU:", scratch]
    return [*also, *lines] if count >= _MANY else [*lines, *also]
