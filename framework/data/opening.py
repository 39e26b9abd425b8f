"""Pictures of any source for a training run, cropped and resized as in training."""

from framework.data.fit import Crop
from framework.data.images import ImageDataset, OnBad, open_dataset
from framework.data.shards import PREFIX, open_shards


def open_pictures(
    source: str,
    size: int | tuple[int, int] | None,
    channels: int = 3,
    use_labels: bool = False,
    crop: Crop = "center",
    on_bad: OnBad = "error",
) -> ImageDataset:
    """Open a folder, a zip, `toycars` (see `open_dataset`) or `shards:FOLDER` (see `open_shards`).

    Shards were checked when they were indexed, so `on_bad` does not apply to them.
    """
    if source.startswith(PREFIX):
        return open_shards(source, size, channels, use_labels, crop)
    return open_dataset(source, size, channels, use_labels, on_bad, crop)
