"""Fill what a mask covers in a photograph, from the rest of it.

python examples/fill.py photo.jpg mask.png out/filled.png
"""

import sys
from pathlib import Path

from framework.compositing.filling import Filling, FillSettings
from framework.compositing.photograph import Photograph
from framework.media.masks import read_mask
from framework.ops.compiled import use_ops


def filled(photo: str, mask: str, settings: FillSettings) -> Photograph:
    """Return the photograph with its hole filled; nothing else of it changes."""
    filling = Filling(Photograph.read(photo), read_mask(mask))
    for step in filling.steps(settings):
        print(f"\r{step.stage}: {step.step} of {step.steps}", end="", file=sys.stderr)
    return filling.filled(step)


def main(photo: str = "photo.jpg", mask: str = "mask.png", out: str = "out/filled.png") -> None:
    """Write the filled photograph."""
    use_ops("auto")  # compiled where that is faster; without this line all is torch's own
    picture = filled(photo, mask, FillSettings())
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    picture.save(out)
    print(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
