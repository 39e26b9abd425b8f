"""What of a mask is painted."""

import numpy as np
import pytest
from PIL import Image

from framework.media.masks import read_mask

PAINTED = np.zeros((16, 12), bool)
PAINTED[4:9, 3:10] = True


def layer(mode):
    """White strokes on a transparent layer whose hidden colour is white, too."""
    rgba = np.full((16, 12, 4), 255, np.uint8)
    rgba[..., 3] = 255 * PAINTED
    image = Image.fromarray(rgba)
    if mode == "RGBA":
        return image, {}
    if mode == "LA":
        return image.convert("LA"), {}
    indices = Image.fromarray(PAINTED.astype(np.uint8))  # both colours of the palette are white
    indices.putpalette([255] * 6)
    indices.info["transparency"] = 0
    return indices, {"transparency": 0}


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("ending", ["png", "webp", "tif"])
# A3f
def test_what_is_transparent_is_not_painted(tmp_path, mode, ending):
    image, options = layer(mode)
    if ending != "png":
        image, options = image.convert("RGBA"), {"lossless": True} if ending == "webp" else {}
    image.save(tmp_path / f"mask.{ending}", **options)
    assert np.array_equal(read_mask(tmp_path / f"mask.{ending}"), PAINTED)


def test_a_palette_with_alpha_is_a_layer_too(tmp_path):
    colours = Image.new("PA", (12, 16))
    colours.putpalette([255] * 768)
    colours.putalpha(Image.fromarray((255 * PAINTED).astype(np.uint8)))
    colours.convert("RGBA").save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png"), PAINTED)


def test_a_declared_colour_is_transparent(tmp_path):
    grey = np.where(PAINTED, 200, 255).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png", transparency=255)
    assert np.array_equal(read_mask(tmp_path / "grey.png"), PAINTED)


@pytest.mark.parametrize(
    ("colour", "alpha", "counts"),
    [(255, 128, 1), (255, 127, 0), (128, 255, 1), (127, 255, 0), (180, 180, 0), (190, 180, 1)],
)
def test_paint_counts_from_half_of_white_on_as_opaque_as_it_is(tmp_path, colour, alpha, counts):
    Image.new("LA", (9, 8), (colour, alpha)).save(tmp_path / "mask.png")
    assert (read_mask(tmp_path / "mask.png") == counts).all()


def test_a_mask_without_transparency_is_white_on_black(tmp_path):
    Image.fromarray(PAINTED).save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png"), PAINTED)
