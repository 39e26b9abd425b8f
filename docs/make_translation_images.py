"""Draw the picture of docs/translation.md that shows sketches with texts, and say how it was.

    python docs/make_translation_images.py         # by the model's own encoder, or by another

Held-out cars' sketches; of each the most likely picture, and what three texts make of it. It prints
how far each row of pictures follows the sketch, as the judge of docs/translation.md reads it.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from framework.data.toycars import ToyCars  # noqa: E402
from framework.evaluation.translation.reader import Reader, ink_agreement, inked  # noqa: E402
from framework.jobs.from_condition import draw  # noqa: E402
from framework.jobs.requests.translation import FromSketchRequest  # noqa: E402
from framework.media.draw import enlarge, rgb, titled  # noqa: E402
from framework.media.images import to_float  # noqa: E402

TEXTS = (None, "a red car", "a yellow car under a dusky sky", "a blue car with big wheels")
MODEL, CARS, SHOWN, SEED, FACTOR = "toycars64", 24, 5, 777, 2


def picture(encoder: str | None, sketch: Path, text: str | None, folder: Path) -> np.ndarray:
    """What the command draws of a sketch and a text, uint8 (64, 64, 3)."""
    out = folder / f"{sketch.stem}-{TEXTS.index(text)}"
    draw(
        FromSketchRequest(
            sketch=str(sketch), model=MODEL, encoder=encoder, text=text, n=1, psi=0.0, out=str(out)
        )
    )
    with Image.open(out / "picture0.png") as image:
        return np.array(image)


def main(encoder: str | None = None) -> None:
    """Draw all, measure all, and write the first cars."""
    sketches = [ToyCars(64, CARS, SEED)[i].sketch for i in range(CARS)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for i, sketch in enumerate(sketches):
            Image.fromarray(sketch).save(folder / f"{i}.png")
        drawn = [
            np.stack([picture(encoder, folder / f"{i}.png", text, folder) for i in range(CARS)])
            for text in TEXTS
        ]
    read, wanted = Reader.open(), inked(np.stack(sketches))
    for text, pictures in zip(TEXTS, drawn, strict=True):
        agreement = ink_agreement(read(to_float(pictures)).ink, wanted)
        error = agreement.std() / len(agreement) ** 0.5
        print(f"{text or 'no text'}: F1 {agreement.mean():.3f} +- {1.96 * error:.3f}")
    columns = [[rgb(sketch[..., None]) for sketch in sketches], *drawn]
    names = ["the sketch", *(text or "no text" for text in TEXTS)]
    rows = [
        np.concatenate([enlarge(one, FACTOR) for one in column[:SHOWN]], axis=1)
        for column in columns
    ]
    sheet = np.concatenate([titled([row], [name]) for row, name in zip(rows, names, strict=True)])
    file = ROOT / "docs/images/sketch_texts.webp"
    Image.fromarray(sheet).save(file, quality=85, method=6)


if __name__ == "__main__":
    main(*sys.argv[1:])
