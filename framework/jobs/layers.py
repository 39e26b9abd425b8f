"""What each layer of a model draws: a table of numbers and one of pictures."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from framework.control.analysis import (
    FEATURES,
    KINDS,
    LayerAnalysis,
    analyse_layers,
    mostly,
    picked_pairs,
)
from framework.control.layers import FILE, numbers
from framework.evaluation.sheet import Row, sheet
from framework.files import check_new_folder, new_folder, write_text
from framework.jobs.models import Networks, check_psi
from framework.jobs.pictures import tiles
from framework.jobs.requests.control import LayersRequest
from framework.jobs.watcher import SILENT, Watcher
from framework.media.images import save_png
from framework.models.features.distance import DiscriminatorDistance

TABLE, PICTURES = "layers.md", "layers.png"
_SHOWN = 4  # pairs in the table of pictures


@dataclass(frozen=True)
class LayersOutcome:
    """The outcome of `layers`.

    Args:
        analysis: The analysis.
        files: Files that were written.
    """

    analysis: LayerAnalysis
    files: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome for scripts, ready for JSON."""
        return {**self.analysis.to_dict(), "files": self.files}


def layers(request: LayersRequest, watcher: Watcher = SILENT) -> LayersOutcome:
    """Analyse a model's layers into a new folder: layers.json, layers.md, layers.png.

    Raises:
        UserError: Naming the field, if anything does not fit; then nothing is left behind.
    """
    check_psi(request.psi)
    folder = check_new_folder(request.out)
    networks = Networks(request.model, request.device)
    generator, distance = networks.layered, None
    if networks.discriminator is not None:
        distance = DiscriminatorDistance(networks.discriminator).to(networks.where)
    watcher.progress(f"comparing {request.pairs} pairs of pictures by layer")
    analysis = analyse_layers(generator, request.pairs, request.psi, request.seed, distance)
    new_folder(folder)
    save_png(folder / PICTURES, _pictures(networks, analysis, request))
    text = f"# Layers of {request.model}\n\n{table(analysis)}"
    write_text(folder / TABLE, text)
    facts = {"model": request.model, "generator_digest": networks.digest, "psi": request.psi}
    write_text(folder / FILE, json.dumps(facts | analysis.to_dict(), indent=2) + "\n")
    return LayersOutcome(analysis, [str(folder / n) for n in (FILE, TABLE, PICTURES)])


def table(analysis: LayerAnalysis) -> str:
    """Return the numbers as a table of Markdown; all changes are relative."""
    kinds = [*KINDS, *([FEATURES] if FEATURES in analysis.unrelated else [])]
    lines = [f"| layers | px | {' | '.join(kinds)} | mostly |", "|---" * (3 + len(kinds)) + "|"]
    sizes = analysis.by_resolution.resolutions
    for i, (row, part) in enumerate(zip(analysis.layers, mostly(analysis.layers), strict=True)):
        cells = [str(i), str(sizes[i]), *(f"{row[kind]:.2f}" for kind in kinds), part]
        lines.append(f"| {' | '.join(cells)} |")
    for name, how, layers, row in _groups(analysis):
        pixels = f"{sizes[layers[0]]}-{sizes[layers[-1]]}"
        cells = " | ".join(f"{row[kind]:.2f}" for kind in kinds)
        lines.append(f"| {name} {how} ({numbers(layers)}) | {pixels} | {cells} | |")
    lines.append(
        f"\nMean change when these layers are another picture's, over {analysis.pairs} pairs; 1 is"
        " as different as two unrelated pictures. Mostly: that of form (outline and structure),"
        " colour and detail of which a layer has the largest share of all layers' changes; the"
        " measured groups are made by it."
    )
    return "\n".join(lines) + "\n"


def _groups(
    analysis: LayerAnalysis,
) -> Iterator[tuple[str, str, tuple[int, ...], dict[str, float]]]:
    """Yield name, map, layers and changes of the groups of both maps."""
    both = (
        ("by px", analysis.by_resolution, analysis.groups),
        ("measured", analysis.measured, analysis.measured_groups),
    )
    for how, layer_map, rows in both:
        for name, row in rows.items():
            yield name, how, layer_map.groups[name], row


@torch.no_grad()
def _pictures(networks: Networks, analysis: LayerAnalysis, request: LayersRequest) -> np.ndarray:
    """Rows are pairs: the picture, the other, and the picture with layers of the other."""
    sizes = analysis.by_resolution.resolutions
    sets, titles = [], []
    for i, size in enumerate(sizes):
        sets.append((i,))
        titles.append(f"layer {i}\n{size} px\n")
    for name, how, layers, _ in _groups(analysis):
        sets.append(layers)
        titles.append(f"{name}\n{how}\n{numbers(layers)}")
    generator = networks.generator
    pairs = picked_pairs(generator, sets, min(_SHOWN, request.pairs), request.psi, request.seed)
    rows: list[Row] = [
        (f"pair {number}", tiles(generator, torch.cat(row))) for number, row in enumerate(pairs, 1)
    ]
    return sheet(["picture", "other", *titles], rows)
