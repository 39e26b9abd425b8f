"""Change the pictures of four seeds until they are what a text says.

python examples/text.py toycars64 "a red car" out/red.png TEXT_ENCODER
"""

import sys
from pathlib import Path

import numpy as np
import torch

from framework import to_uint8
from framework.jobs.models import Networks, seed_latents
from framework.jobs.text import Reader
from framework.media.images import grid, save_png


def described(model: str, text: str, encoder: str | None, seeds: range = range(4)) -> np.ndarray:
    """Return the pictures of seeds, and below what the text makes of them, uint8 (H, W, C)."""
    networks = Networks(model, "cpu")
    reader = Reader.open(networks, text, encoder)
    ws = torch.cat([seed_latents(networks.generator, seed) for seed in seeds])
    before, after = reader.changed(networks.generator, ws, strength=1.0, looks=4)
    with torch.no_grad():
        shown = torch.cat([before.ws, after.ws])
        pictures = to_uint8(networks.generator.synthesis(shown, noise_mode="const"))
    print("the text decides of the layers", reader.layers())
    return grid(pictures, columns=len(seeds))


def main(
    model: str = "toycars64",
    text: str = "a red car",
    out: str = "out/red.png",
    encoder: str | None = None,
) -> None:
    """Write both rows."""
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    save_png(out, described(model, text, encoder))
    print(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
