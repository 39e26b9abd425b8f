"""Pictures of any source that a training takes, treated as the training treats them."""

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
    """Open a folder, a zip, `toycars`, or tar shards (`shards:FOLDER`).

    Args:
        source: See `open_dataset` and `open_shards`.
        size: Side or (H, W) of the pictures, in pixels; None where all have the same size already.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA).
        use_labels: Give labels to training.
        crop: "center" cuts, "pad" adds white borders, "stretch" ignores proportions.
        on_bad: "error" stops at files that cannot be used, "skip" leaves them out; shards were
            looked at when they were indexed.

    Raises:
        UserError: See `open_dataset` and `open_shards`.
    """
    if source.startswith(PREFIX):
        return open_shards(source, size, channels, use_labels, crop)
    return open_dataset(source, size, channels, use_labels, on_bad, crop)
