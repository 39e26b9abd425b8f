"""A folder of any pictures turned into one zip of equal ones, in NVIDIA's layout."""

import json
import zipfile
from pathlib import Path
from typing import Any

from framework.data.fit import Crop, Filter
from framework.data.images import ImageDataset, open_dataset
from framework.data.labels import LabelSource
from framework.data.scan import OnBad, Progress
from framework.data.sources import LABEL_FILE
from framework.errors import UserError
from framework.files import check_new_file, folder_above, whole_file
from framework.media.images import png_bytes

EPOCH = (1980, 1, 1, 0, 0, 0)  # one date for all entries: the same pictures give the same zip


def prepare(  # noqa: D417 - the others are of `open_dataset`
    source: str | Path,
    out: str | Path,
    size: int | tuple[int, int] | None = None,
    channels: int = 3,
    crop: Crop = "center",
    filter: Filter = "lanczos",
    dedup: bool = False,
    on_bad: OnBad = "error",
    labels: LabelSource = "none",
    follow_links: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write a data set as a zip of PNGs, `00000/img00000000.png` and so on, with `dataset.json`.

    Nothing is compressed (reading is what training waits for), and the file appears whole or not at
    all. Further arguments are those of `open_dataset`.

    Args:
        source: Folder or zip of pictures, or `toycars`.
        out: The zip to write.

    Returns:
        The data set's facts, as `ImageDataset.facts`, and its `remarks`.

    Raises:
        UserError: If `out` exists, is no `.zip` or cannot be written, or if `open_dataset` refuses.
    """
    out = Path(out)
    if out.suffix.lower() != ".zip":
        raise UserError(f"{out}: give a name that ends in .zip", "out")
    check_new_file(out)
    dataset = open_dataset(
        source, size, channels, labels != "none", on_bad, crop, filter, labels, dedup,
        follow_links, progress,
    )  # fmt: skip
    try:
        with folder_above(out), whole_file(out) as temporary:
            _write(dataset, temporary)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror or error})", "out") from None
    return {**dataset.facts(), "remarks": dataset.remarks()}


def _write(dataset: ImageDataset, path: Path) -> None:
    labels = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for index in range(len(dataset)):
            name = f"{index // 1000:05d}/img{index:08d}.png"
            picture = dataset.image(index).transpose(1, 2, 0)
            archive.writestr(zipfile.ZipInfo(name, EPOCH), png_bytes(picture, compress_level=0))
            labels.append([name, dataset.raw_label(index)])
        content = {
            "labels": labels if dataset.label_dim else None,
            "classes": list(dataset.classes),
        }
        archive.writestr(zipfile.ZipInfo(LABEL_FILE, EPOCH), json.dumps(content))
