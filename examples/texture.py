"""Make more of a texture, and draw a photograph with it.

python examples/texture.py bricks.png photo.jpg out
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from framework import to_uint8
from framework.compositing.filling import FillStep
from framework.compositing.quilting import quilted
from framework.compositing.textures import transfer
from framework.media.images import read_image, save_png, to_float
from framework.ops.compiled import use_ops


def last(steps: Iterator[FillStep]) -> np.ndarray:
    """Carry out all steps and return the picture, uint8 (H, W, 3)."""
    *_, step = steps
    return to_uint8(step.picture)[0]


def main(exemplar: str = "bricks.png", photo: str = "photo.jpg", out: str = "out/texture") -> None:
    """Write the texture at twice its size, and the photograph in it."""
    use_ops("auto")
    texture, picture = (to_float(read_image(path))[None] for path in (exemplar, photo))
    height, width = texture.shape[2:]
    Path(out).mkdir(parents=True, exist_ok=True)
    save_png(Path(out) / "texture.png", last(quilted(texture, (2 * height, 2 * width))))
    save_png(Path(out) / "transfer.png", last(transfer(picture, texture, likeness=2.0)))
    print(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
