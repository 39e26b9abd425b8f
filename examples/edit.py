"""Mix two pictures by layer: the pose of one with everything else of the other.

python examples/edit.py toycars64 out/mixed.png
"""

import sys
from pathlib import Path

import numpy as np
import torch

from framework import LayerMap, load_generator, to_uint8
from framework.control.layers import mix, resample
from framework.media.images import grid, save_png


def mixes(model: str, content: int = 2, style: int = 7, variants: int = 2) -> np.ndarray:
    """Return content, style, their mix, and the mix with other layers, uint8 (H, W, C)."""
    generator = load_generator(model)
    pose = LayerMap.of(generator).group("pose")
    seeds = [content, style, *range(100, 100 + variants)]
    z = np.concatenate([np.random.RandomState(s).randn(1, generator.z_dim) for s in seeds])
    with torch.no_grad():
        ws = generator.mapping(torch.from_numpy(z).float(), truncation_psi=0.7)
        mixed = mix(ws[:1], ws[1:2], pose)
        shown = torch.cat([ws[:2], mixed, resample(mixed, pose, ws[2:])])
        pictures = to_uint8(generator.synthesis(shown, noise_mode="const"))
    return grid(pictures, columns=len(pictures))


def main(model: str = "toycars64", out: str = "out/mixed.png") -> None:
    """Write the row of a model."""
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    save_png(out, mixes(model))
    print(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
