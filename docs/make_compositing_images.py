"""Draw the pictures of docs/compositing.md that show fillings and textures.

python docs/make_compositing_images.py
python docs/make_compositing_images.py REPORT/toycars.png REPORT/hands.png     # also worst fillings
"""

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from PIL import Image, ImageFilter  # noqa: E402

from framework.compositing.filling import FillStep  # noqa: E402
from framework.compositing.quilting import grown, quilted  # noqa: E402
from framework.compositing.textures import analogy, texture, transfer  # noqa: E402
from framework.data.toycars import ToyCars  # noqa: E402
from framework.media.draw import titled  # noqa: E402
from framework.media.images import to_float, to_uint8  # noqa: E402
from framework.ops.compiled import use_ops  # noqa: E402

IMAGES = ROOT / "docs" / "images"
SIDE_PX, BRICK_PX = 160, (20, 10)
SHOWN_PX = 932, 766  # of the sheets of fillings: their six worst rows


def bricks(side_px: int = 64) -> np.ndarray:
    """Draw a brick wall, uint8 (H, W, 3)."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side_px, :side_px]
    wide, high = BRICK_PX
    row = y // high
    x = x + (row % 2) * wide // 2
    tones = rng.normal(0, 12, (8, 8))[row % 8, x // wide % 8]
    mortar = (y % high < 2) | (x % wide < 2)
    wall = np.where(mortar[..., None], [200, 195, 185], np.array([150, 70, 50]) + tones[..., None])
    return (wall + rng.normal(0, 6, (side_px, side_px, 1))).clip(0, 255).astype(np.uint8)


def last(steps: Iterator[FillStep]) -> np.ndarray:
    """Carry out all steps; the picture at the strip's size."""
    *_, step = steps
    picture = Image.fromarray(to_uint8(step.picture)[0])
    return np.asarray(picture.resize((SIDE_PX, SIDE_PX), Image.Resampling.NEAREST))


def main(*sheets: str) -> None:
    """Write the pictures."""
    use_ops("auto")
    wall = bricks()
    cars = ToyCars(SIDE_PX, 10)
    photo, before = cars.image(3), cars.image(4)
    after = np.array(Image.fromarray(before).filter(ImageFilter.EMBOSS))
    wall_, photo_, before_, after_ = (to_float(x)[None] for x in (wall, photo, before, after))
    size = SIDE_PX, SIDE_PX
    panels = {
        "exemplar": np.asarray(Image.fromarray(wall).resize(size, Image.Resampling.NEAREST)),
        "quilting": last(quilted(wall_, size, 25)),
        "field": last(texture(wall_, size)),
        "pixels": last(grown(wall_, (48, 48))),
        "photograph": photo,
        "in bricks": last(transfer(photo_, wall_, 5, 2.0)),
        "before": before,
        "after": after,
        "as after": last(analogy(before_, after_, photo_)),
    }
    strip = Image.fromarray(titled(list(panels.values()), list(panels)))
    strip.save(IMAGES / "textures.webp", quality=80)
    for sheet, name, height in zip(sheets, ("fillings", "fillings_hands"), SHOWN_PX, strict=False):
        worst = Image.open(sheet).convert("RGB")
        worst.crop((0, 0, worst.width, height)).save(IMAGES / f"{name}.webp", quality=80)


if __name__ == "__main__":
    main(*sys.argv[1:])
