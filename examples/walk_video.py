"""Write a video that walks from seed to seed and back to the first.

python examples/walk_video.py toycars64 out/walk.mp4
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from framework import load_generator, to_uint8
from framework.jobs.clips import walk_latents
from framework.media.draw import rgb
from framework.media.video import write_video


def frames(model: str, seeds: list[int], frames_per_leg: int) -> Iterator[np.ndarray]:
    """Yield the pictures of the walk, uint8 (H, W, 3)."""
    generator = load_generator(model)
    z = np.concatenate([np.random.RandomState(s).randn(1, generator.z_dim) for s in seeds])
    keys = generator.mapping(torch.from_numpy(z).float(), truncation_psi=0.7)
    with torch.no_grad():
        for ws in walk_latents(keys, frames_per_leg):
            yield rgb(to_uint8(generator.synthesis(ws, noise_mode="const"))[0])


def main(model: str = "toycars64", out: str = "out/walk.mp4", frames_per_leg: int = 48) -> None:
    """Write the video."""
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    write_video(out, frames(model, [1, 5, 9], frames_per_leg))
    print(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
