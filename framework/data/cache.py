"""Decoded pictures in one file, mapped into memory, for large data sets.

The file is named by the data set's fingerprint, so it can belong to no other, and is read on
demand. Processes of one machine share its pages.
"""

import shutil
from pathlib import Path

import numpy as np

from framework.data.images import ImageDataset, pictures
from framework.data.scan import Progress
from framework.errors import UserError
from framework.files import whole_file

_NAME_LENGTH = 32


def mapped(
    dataset: ImageDataset, folder: str | Path, progress: Progress | None = None
) -> np.ndarray:
    """Map all pictures, uint8 (N, C, H, W), from a file in `folder`, which is written if missing.

    Changes to the array stay in this process.

    Raises:
        UserError: If the folder cannot be written to or the disk is too full, or if a file of this
            name holds something else.
    """
    shape = (len(dataset), dataset.channels, *dataset.size)
    needed = int(np.prod(shape, dtype=np.int64))
    path = Path(folder) / f"{dataset.fingerprint[:_NAME_LENGTH]}.uint8"
    if not path.exists():
        _write(dataset, path, needed, progress)
    if path.stat().st_size != needed:
        raise UserError(f"{path}: not the decoded pictures of this data set; delete it")
    return np.memmap(path, np.uint8, mode="c", shape=shape)


def _write(dataset: ImageDataset, path: Path, needed: int, progress: Progress | None) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if needed > free:
            text = f"{needed / 1e9:.1f} GB of pictures, {free / 1e9:.1f} GB of disk"
            raise UserError(f"--data.cache {path.parent}: does not fit ({text})")
        with whole_file(path) as temporary, open(temporary, "wb") as file:
            for _, picture in pictures(dataset, progress):
                file.write(np.ascontiguousarray(picture).data)
    except OSError as error:
        raise UserError(f"--data.cache {path.parent}: {error.strerror or error}") from error
