"""Sources of training pictures: folders, zips, tar shards, the toy cars.

`open_dataset("photos/", size=64)` scans every file and names the unusable ones;
`decoded(dataset)` gives all pictures as uint8 (N, C, H, W), `mapped(dataset, folder)` the same
from a file that is read on demand and shared between processes.
"""

from framework.data.cache import mapped
from framework.data.images import ImageDataset, decoded, open_dataset

__all__ = ["ImageDataset", "decoded", "mapped", "open_dataset"]
