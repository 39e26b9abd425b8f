"""What each layer of a model draws, measured: one layer is resampled, and the pictures compared.

Every measure is a difference of two pictures, divided by that of two unrelated pictures of the
model: 1 is as different as two of its pictures are.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.control.attributes import luma
from framework.control.layers import LayerMap, mix
from framework.models.features.distance import Distance
from framework.models.frozen import NOISE_MODE
from framework.models.stylegan2 import Generator
from framework.models.stylegan2.statistics import styles_of_seeds

_AT_ONCE = 8
_REGIONS = 4
_LEAST = 1e-8
FEATURES = "features"
KINDS = ("outline", "structure", "colour", "detail")
# What a layer mostly draws: the measures of which it has the largest share of all layers' changes.
PARTS = {"form": ("outline", "structure"), "colour": ("colour",), "detail": ("detail",)}


def outline_change(a: Tensor, b: Tensor) -> Tensor:
    """How the edges of luma differ at a quarter of the size: 1 less their correlation, (N,)."""
    return 1 - _correlation(_edges(_pooled(luma(a), 4)), _edges(_pooled(luma(b), 4)))


def structure_change(a: Tensor, b: Tensor) -> Tensor:
    """How the edges of luma differ at half the size: 1 less their correlation, (N,)."""
    return 1 - _correlation(_edges(_pooled(luma(a), 2)), _edges(_pooled(luma(b), 2)))


def colour_change(a: Tensor, b: Tensor) -> Tensor:
    """How mean colours differ, in each of 4 x 4 regions: their root mean square difference."""
    gap = F.adaptive_avg_pool2d(a, _REGIONS) - F.adaptive_avg_pool2d(b, _REGIONS)
    return gap.square().mean(dim=(1, 2, 3)).sqrt()


def detail_change(a: Tensor, b: Tensor) -> Tensor:
    """How luma differs in what half the size does not hold: the root mean square, (N,)."""
    gap = _finest(luma(a)) - _finest(luma(b))
    return gap.square().mean(dim=(1, 2, 3)).sqrt()


def changes(a: Tensor, b: Tensor, distance: Distance | None = None) -> dict[str, Tensor]:
    """Measure how pictures (N, C, H, W) in [-1, 1] differ, (N,) each; with features if given."""
    a, b = a.clamp(-1, 1), b.clamp(-1, 1)
    functions = (outline_change, structure_change, colour_change, detail_change)
    found = {name: of(a, b) for name, of in zip(KINDS, functions, strict=True)}
    return found if distance is None else found | {FEATURES: distance(a, b)}


@dataclass(frozen=True)
class LayerAnalysis:
    """What the layers of a model draw. Changes are means by measure, relative to `unrelated`.

    Args:
        by_resolution: Its layers by resolution.
        measured: Its layers, each in the group of what it mostly draws, see `measured_map`.
        layers: For each layer, what changes when it is another picture's.
        groups: Likewise for each group by resolution.
        measured_groups: Likewise for each group of the measured map.
        unrelated: The absolute mean change of two unrelated pictures.
        pairs: Pairs of pictures that were compared.
    """

    by_resolution: LayerMap
    measured: LayerMap
    layers: list[dict[str, float]]
    groups: dict[str, dict[str, float]]
    measured_groups: dict[str, dict[str, float]]
    unrelated: dict[str, float]
    pairs: int

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        rows = zip(self.by_resolution.resolutions, mostly(self.layers), self.layers, strict=True)
        layers = [
            {"layer": i, "resolution": resolution, "mostly": part, **_rounded(row)}
            for i, (resolution, part, row) in enumerate(rows)
        ]
        return {
            "map": self.measured.to_dict(), "layers": layers,
            "groups": {name: _rounded(row) for name, row in self.groups.items()},
            "measured_groups": {name: _rounded(row) for name, row in self.measured_groups.items()},
            "unrelated": _rounded(self.unrelated), "pairs": self.pairs,
        }  # fmt: skip


def mostly(layers: Sequence[Mapping[str, float]]) -> list[str]:
    """Return the part of `PARTS` that each layer mostly draws, of the changes of all layers."""
    totals = {kind: sum(row[kind] for row in layers) or 1.0 for kind in KINDS}

    def share(row: Mapping[str, float], part: str) -> float:
        return sum(row[kind] / totals[kind] for kind in PARTS[part]) / len(PARTS[part])

    return [max(PARTS, key=lambda part: share(row, part)) for row in layers]


def measured_map(by_resolution: LayerMap, layers: Sequence[Mapping[str, float]]) -> LayerMap:
    """Put layers that mostly draw colour or detail into those groups, whatever their resolution.

    The others draw form: `pose` up to 8 px, `shape` above.
    """
    names = [
        by_resolution.form(layer) if part == "form" else part
        for layer, part in enumerate(mostly(layers))
    ]
    return LayerMap(by_resolution.resolutions, tuple(names))


def analyse_layers(
    generator: Generator,
    pairs: int = 32,
    psi: float = 0.7,
    seed: int = 0,
    distance: Distance | None = None,
) -> LayerAnalysis:
    """Resample each layer, and each group, from another picture, and measure what changes.

    Args:
        generator: The generator.
        pairs: Pairs of pictures.
        psi: Truncation of both.
        seed: Seed of the pictures.
        distance: Distance of features, measured too if given.
    """
    layer_map = LayerMap.of(generator)
    whole = layer_map.group("all")
    sets = [whole, *((i,) for i in whole), *layer_map.groups.values()]
    unrelated, *rows = resampled(generator, sets, pairs, psi, seed, distance)

    def relative(row: Mapping[str, float]) -> dict[str, float]:
        return {name: value / max(unrelated[name], _LEAST) for name, value in row.items()}

    layers, groups = rows[: len(whole)], rows[len(whole) :]
    layers = [relative(row) for row in layers]
    measured = measured_map(layer_map, layers)
    own = resampled(generator, [*measured.groups.values()], pairs, psi, seed, distance)
    return LayerAnalysis(
        layer_map, measured, layers,
        dict(zip(layer_map.groups, map(relative, groups), strict=True)),
        dict(zip(measured.groups, map(relative, own), strict=True)),
        unrelated, pairs,
    )  # fmt: skip


@torch.no_grad()
def resampled(
    generator: Generator,
    sets: Sequence[Sequence[int]],
    pairs: int,
    psi: float,
    seed: int,
    distance: Distance | None = None,
) -> list[dict[str, float]]:
    """Return the mean changes of pictures when sets of layers are another picture's."""
    sums: list[dict[str, float]] = [{} for _ in sets]
    for first, second in _pairs(generator, pairs, psi, seed):
        before = generator.synthesis(first, noise_mode=NOISE_MODE)
        for total, layers in zip(sums, sets, strict=True):
            after = generator.synthesis(mix(first, second, layers), noise_mode=NOISE_MODE)
            for name, values in changes(before, after, distance).items():
                total[name] = total.get(name, 0.0) + values.sum().item() / pairs
    return sums


def _pairs(
    generator: Generator, pairs: int, psi: float, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the latents of two unrelated pictures, batch by batch."""
    styles = styles_of_seeds(generator, 2 * pairs, seed, at_once=2 * _AT_ONCE)
    for ws in styles:
        ws = generator.mapping.truncate(ws, psi)
        yield ws[0::2], ws[1::2]


def _rounded(row: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in row.items()}


def _pooled(images: Tensor, factor: int) -> Tensor:
    height, width = (max(2, side // factor) for side in images.shape[2:])
    return F.adaptive_avg_pool2d(images, (height, width))


def _finest(images: Tensor) -> Tensor:
    """The finest level of a Laplacian pyramid (Burt and Adelson 1983), with mean and bilinear."""
    coarse = _pooled(images, 2)
    return images - F.interpolate(coarse, images.shape[2:], mode="bilinear", align_corners=False)


def _edges(images: Tensor) -> Tensor:
    """The length of the gradient of pictures (N, 1, h, w), (N, (h - 1) * (w - 1))."""
    across = images[..., :-1, 1:] - images[..., :-1, :-1]
    down = images[..., 1:, :-1] - images[..., :-1, :-1]
    return (across.square() + down.square()).sqrt().flatten(1)


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation of rows (N, M), (N,); 0 where one does not vary."""
    a, b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
    lengths: Tensor = a.norm(dim=1) * b.norm(dim=1)
    return (a * b).sum(dim=1) / lengths.clamp(min=_LEAST)


def picked_pairs(
    generator: Generator, sets: Sequence[Sequence[int]], count: int, psi: float, seed: int
) -> Iterator[list[Tensor]]:
    """Yield, for each of a few pairs, its two latents and the mixes by each set of layers."""
    for first, second in _pairs(generator, count, psi, seed):
        for a, b in zip(first.split(1), second.split(1), strict=True):
            yield [a, b, *(mix(a, b, layers) for layers in sets)]
