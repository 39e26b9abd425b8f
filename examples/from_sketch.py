"""Draw pictures from a sketch, with a translation that training wrote.

python train.py fit --config configs/train/translation/pix2pix.yaml --run.dir runs/pix2pix
python examples/from_sketch.py sketch.png runs/pix2pix/network-000036 out/drawn.png
"""

import sys
from pathlib import Path

import numpy as np
import torch

from framework import to_uint8
from framework.data.fit import fit
from framework.formats.translator_folder import load_translator
from framework.media.images import grid, read_image, save_png, to_float
from framework.media.sketches import as_sketch


def main(
    sketch: str = "sketch.png",
    model: str = "runs/pix2pix/network-000036",
    out: str = "out/drawn.png",
    count: str = "4",
) -> None:
    """Write the sketch and what was drawn from it, side by side."""
    translator = load_translator(model)
    grey, notes = as_sketch(read_image(sketch))
    small = fit(grey[..., None], translator.img_size, "pad")
    levels = to_float(small[None]).expand(int(count), -1, -1, -1)
    with torch.no_grad():
        pictures = to_uint8(translator.pictures(levels, torch.Generator().manual_seed(0)))
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    shown = np.concatenate([np.repeat(small, 3, axis=2)[None], pictures])
    save_png(out, grid(shown, len(shown)))
    print(out, *notes)


if __name__ == "__main__":
    main(*sys.argv[1:])
