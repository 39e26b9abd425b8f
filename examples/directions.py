"""Find directions in a model without labels, and walk a picture along them.

python examples/directions.py toycars64 out/walks.png
"""

import sys
from pathlib import Path

import numpy as np
import torch

from framework import LayerMap, load_generator, to_uint8
from framework.control.discover import pca_directions, sampled_w, sefa_directions
from framework.media.images import grid, save_png

VALUES = (-3.0, -1.5, 0.0, 1.5, 3.0)  # standard deviations


def walks(model: str, seed: int = 2, count: int = 3) -> np.ndarray:
    """Return a row of pictures for each direction, uint8 (H, W, C)."""
    generator = load_generator(model)
    layers, w = LayerMap.of(generator), sampled_w(generator)
    directions = pca_directions(layers, w, count)
    directions += sefa_directions(generator, layers, w, ["pose", "shape"], count)
    z = torch.from_numpy(np.random.RandomState(seed).randn(1, generator.z_dim)).float()
    with torch.no_grad():
        start = generator.mapping(z, truncation_psi=0.7)
        steps = [direction.step(generator.num_ws) for direction in directions]
        ws = torch.cat([start + value * step for step in steps for value in VALUES])
        pictures = to_uint8(generator.synthesis(ws, noise_mode="const"))
    print(", ".join(direction.name for direction in directions))
    return grid(pictures, columns=len(VALUES))


def main(model: str = "toycars64", out: str = "out/walks.png") -> None:
    """Write the rows of a model."""
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    save_png(out, walks(model))
    print(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
