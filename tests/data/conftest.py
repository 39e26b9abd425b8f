"""Pictures to make folders of."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def put():
    """Write a picture of noise, different for each seed: `put(path, seed=0, size=(16, 16))`."""

    def write(path: Path, seed: int = 0, size: tuple[int, int] = (16, 16), **options) -> Path:
        pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, **options)
        return path

    return write
