"""Draw the pictures of styles in docs/compositing.md, and measure its table of them.

python docs/make_style_images.py
python docs/make_style_images.py RUN/network-000010     # also by a trained decoder

Distances are those of a network that no method sees, the shipped discriminator `features64`, on
tiles of its size.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from torch import Tensor  # noqa: E402

from framework.compositing.photograph import Photograph  # noqa: E402
from framework.data.patterns import pattern  # noqa: E402
from framework.data.toycars import ToyCars  # noqa: E402
from framework.evaluation.generator.features import open_discriminator  # noqa: E402
from framework.formats.decoder_folder import DECODERS  # noqa: E402
from framework.media.draw import titled  # noqa: E402
from framework.media.images import to_float, to_uint8  # noqa: E402
from framework.models.features.distance import DiscriminatorDistance  # noqa: E402
from framework.models.features.lite0 import load_lite0  # noqa: E402
from framework.models.features.weights import LITE0, find_weights  # noqa: E402
from framework.models.style.statistics import gram, gram_distance  # noqa: E402
from framework.style.colours import in_colours_of  # noqa: E402
from framework.style.settings import StyleNetworks, StyleSettings  # noqa: E402
from framework.style.styling import Styling  # noqa: E402

SIDE_PX, TILE_PX = 192, 64
# Toy cars, and patterns: strokes, mosaic, hatching, dots, marble; last another car.
PAIRS = [(3, 10), (4, 21), (5, 2), (6, 13), (7, 24), (8, None)]
IMAGES = ROOT / "docs" / "images"


Make = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Ruler:
    """Features of the shipped discriminator, of all tiles of a picture."""

    def __init__(self) -> None:
        self._distance = DiscriminatorDistance(open_discriminator("features64").discriminator)

    @torch.no_grad()
    def features(self, picture: np.ndarray) -> list[Tensor]:
        """Return features (1, C, tiles * h, w) of uint8 (H, W, 3)."""
        tiles = to_float(picture)[None].unfold(2, TILE_PX, TILE_PX).unfold(3, TILE_PX, TILE_PX)
        tiles = tiles.permute(0, 2, 3, 1, 4, 5).flatten(0, 2).contiguous()
        levels = self._distance.features(tiles)
        return [level.transpose(0, 1).flatten(1, 2)[None] for level in levels]

    def content(self, a: np.ndarray, b: np.ndarray) -> float:
        """Return how differently two pictures look, place by place."""
        return float(self._distance.compare(self.features(a), self.features(b)))

    def style(self, picture: np.ndarray, style: np.ndarray) -> float:
        """Return how far a picture's Gram matrices are from a style's."""
        return float(gram_distance(self.features(picture), [gram(f) for f in self.features(style)]))


def by(method: str, networks: StyleNetworks) -> Make:
    """Return a method as a function of photograph and style."""

    def make(photo: np.ndarray, style: np.ndarray) -> np.ndarray:
        styling = Styling(Photograph(photo), Photograph(style), StyleSettings(method))
        *_, last = styling.steps(networks)
        return styling.styled(last).levels

    return make


def colours(photo: np.ndarray, style: np.ndarray) -> np.ndarray:
    """Give a photograph a style's colours alone."""
    return to_uint8(in_colours_of(*(to_float(x)[None] for x in (photo, style)), 1.0))[0]


def main(decoder: str | None = None) -> None:
    """Write the pictures, print the table."""
    torch.set_num_threads(1)
    weights = find_weights(LITE0)
    if weights is None:
        raise SystemExit(f"{LITE0.name} is not installed: {LITE0.install}")
    opened = DECODERS.load(decoder) if decoder else None
    networks = StyleNetworks(load_lite0(weights).rectified, opened)
    makes: dict[str, Make] = {"photograph": lambda photo, style: photo, "colours": colours}
    names = ("gatys", "photo", "adain") if decoder else ("gatys", "photo")
    makes |= {name: by(name, networks) for name in names}
    ruler, cars, rows = Ruler(), ToyCars(SIDE_PX, 10), []
    numbers: dict[str, list[tuple[float, float, float]]] = {name: [] for name in makes}
    for car, number in PAIRS:
        photo = cars.image(car)
        style = cars.image(1) if number is None else pattern(number, SIDE_PX)
        panels = {"style": style}
        for name, make in makes.items():
            start_sec = time.process_time()
            made = panels[name] = make(photo, style)
            seconds = time.process_time() - start_sec
            numbers[name].append((ruler.content(made, photo), ruler.style(made, style), seconds))
        rows.append(titled(list(panels.values()), list(panels)))
    Image.fromarray(np.vstack(rows)).save(IMAGES / "styles.webp", quality=75)
    print("| | content | style | CPU seconds |\n|---|---|---|---|")
    for name, measured in numbers.items():
        content, style, seconds = np.mean(measured, axis=0)
        print(f"| `{name}` | {content:.3f} | {style:.3f} | {seconds:.1f} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
