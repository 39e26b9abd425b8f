"""DragBench, the benchmark of DragDiffusion (Shi et al. 2024), read from its published layout.

`CATEGORY/SAMPLE/` holds `original_image.png`, `user_drag.png` and `meta_data.pkl`: a pickle of a
table with `prompt`, `points` (handle and target in turn, (x, y) in the picture's pixels) and `mask`
(H, W). The pickle is read as data; no code in it is run.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from framework.errors import BrokenCheckpoint, UserError
from framework.formats.source_file import read_file
from framework.formats.storages import StoredTensor
from framework.formats.symbols import NumpyArray, with_tensors
from framework.formats.torch_files import read_plain_pickle

PICTURE, METADATA = "original_image.png", "meta_data.pkl"
_MOST_POINTS, _LARGEST_PX = 128, 1 << 16
Point = tuple[float, float]


@dataclass(frozen=True, eq=False)
class DragBenchSample:
    """A task of DragBench.

    Args:
        category: Its category.
        name: Name of its folder.
        picture: File of its picture.
        prompt: What the picture shows, in words.
        handles: Points (x, y) in the picture's pixels.
        targets: Where they should go.
        mask: What may change, uint8 (H, W), 0 or 1.
    """

    category: str
    name: str
    picture: Path
    prompt: str
    handles: tuple[Point, ...]
    targets: tuple[Point, ...]
    mask: np.ndarray


def read_dragbench(folder: str | Path) -> Iterator[DragBenchSample]:
    """Read all tasks of a folder, in the order of their names.

    Raises:
        UserError: If there are none.
        BrokenCheckpoint: If a description is damaged, or is not of this layout.
        UnsafeCheckpoint: If a description asks for code to be run.
    """
    files = sorted(Path(folder).glob(f"*/*/{METADATA}"))
    if not files:
        raise UserError(f"{folder}: no CATEGORY/SAMPLE/{METADATA} in it; give DragBench's folder")
    for file in files:
        yield _sample(file)


def _sample(file: Path) -> DragBenchSample:
    picture = file.with_name(PICTURE)
    if not picture.is_file():
        raise UserError(f"{picture}: missing")
    value = with_tensors(read_plain_pickle(read_file(file)))
    if not isinstance(value, dict) or not {"prompt", "points", "mask"} <= value.keys():
        raise BrokenCheckpoint(f"{file}: not a table with prompt, points and mask")
    points, mask = _points(value["points"]), _mask(value["mask"])
    if not isinstance(value["prompt"], str) or points is None or mask is None:
        raise BrokenCheckpoint(f"{file}: prompt, points or mask are not as DragBench has them")
    *_, category, name, _ = file.parts
    handles, targets = tuple(points[::2]), tuple(points[1::2])
    return DragBenchSample(category, name, picture, value["prompt"], handles, targets, mask)


def _points(values: Any) -> list[Point] | None:
    """Points in pairs; None if they are none."""
    values = _plain(values)
    if (
        not isinstance(values, list | tuple)
        or len(values) % 2
        or not 0 < len(values) < _MOST_POINTS
    ):
        return None
    points: list[Point] = []
    for value in values:
        pair = _plain(value)
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            return None
        if not all(type(number) in (int, float) for number in pair):
            return None
        x, y = map(float, pair)
        if not (0 <= x < _LARGEST_PX and 0 <= y < _LARGEST_PX):
            return None
        points.append((x, y))
    return points


def _plain(value: Any) -> Any:
    """Convert arrays to lists; anything else is passed through unchanged."""
    tensor = value.tensor if isinstance(value, NumpyArray) else value
    return tensor.read().tolist() if isinstance(tensor, StoredTensor) else value


def _mask(value: Any) -> np.ndarray | None:
    """A mask of 0 and 1; None if it is none."""
    if not isinstance(value, StoredTensor):
        return None
    tensor = value.read()
    if tensor.ndim != 2:
        return None
    return (tensor > 0).numpy().astype(np.uint8)
