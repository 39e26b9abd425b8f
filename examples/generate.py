"""Draw sixteen pictures from seeds onto one sheet.

python examples/generate.py toycars64 out/sheet.png
"""

import sys
from pathlib import Path

import numpy as np
import torch

from framework import load_generator, to_uint8
from framework.media.images import grid, save_png


def sheet(model: str, count: int = 16, psi: float = 0.7) -> np.ndarray:
    """Return one picture of `count` seeds, uint8 (H, W, C), four a row."""
    generator = load_generator(model)
    # The field's convention: seeds are NumPy's, so that a seed means the same picture everywhere.
    z = np.concatenate([np.random.RandomState(s).randn(1, generator.z_dim) for s in range(count)])
    with torch.no_grad():
        ws = generator.mapping(torch.from_numpy(z).float(), truncation_psi=psi)
        pictures = to_uint8(generator.synthesis(ws, noise_mode="const"))
    return grid(pictures, columns=4)


def main(model: str = "toycars64", out: str = "out/sheet.png") -> None:
    """Write the sheet of a model."""
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    save_png(out, sheet(model))
    print(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
