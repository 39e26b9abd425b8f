"""Where training pictures come from: folders, zips, the toy cars.

`open_dataset("photos/", size=64)` scans every file and names the unusable ones;
`decoded(dataset)` gives all pictures as uint8 (N, C, H, W), `mapped(dataset, folder)` the same
from a file that is read as it is needed and that processes share.
"""

from framework.data.cache import mapped
from framework.data.images import ImageDataset, decoded, open_dataset

__all__ = ["ImageDataset", "decoded", "mapped", "open_dataset"]
