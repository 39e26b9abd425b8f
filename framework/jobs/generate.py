"""Pictures drawn from seeds."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from framework.files import check_new_folder, new_folder
from framework.jobs.models import Networks, render, seed_latents
from framework.jobs.requests.pictures import GenerateRequest, parse_seeds
from framework.jobs.steering import open_steering
from framework.media.images import grid, save_png


@dataclass(frozen=True)
class GenerateOutcome:
    """The outcome of `generate`: seeds, truncation, and the files, the sheet last if asked for."""

    seeds: list[int]
    psi: float
    files: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome for scripts, ready for JSON."""
        return vars(self)


def generate(request: GenerateRequest) -> GenerateOutcome:
    """Draw a picture of every seed into a new folder.

    Raises:
        UserError: Naming the field, if anything does not fit; then nothing is left behind.
    """
    seeds = parse_seeds(request.seeds)
    check_new_folder(request.out)
    networks = Networks(request.model, request.device)
    generator, steering = networks.generator, open_steering(request, networks)

    def draw(seed: int) -> np.ndarray:
        ws = seed_latents(generator, seed, request.psi, request.class_)
        return render(generator, steering.moved(ws))

    folder = Path(request.out)
    pictures: list[np.ndarray] = []
    files: list[Path] = []
    for seed in seeds:
        picture = draw(seed)
        if not files:  # not before the first picture: an unknown class leaves nothing behind
            new_folder(folder)
        files.append(folder / f"seed{seed:04d}.png")
        save_png(files[-1], picture)
        if request.grid:
            pictures.append(picture)
    if request.grid:
        columns = request.columns or math.ceil(math.sqrt(len(pictures)))
        files.append(folder / "grid.png")
        save_png(files[-1], grid(np.stack(pictures), columns))
    return GenerateOutcome(seeds, request.psi, list(map(str, files)))
