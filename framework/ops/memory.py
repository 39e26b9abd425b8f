"""The C library's allocator, set to keep large blocks.

glibc returns every freed block above 128 KiB to the system and fetches fresh pages for the next
one; each elementwise tensor operation then pays for page faults, several times its own cost.
"""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_KEEP_BELOW_BYTES = 1 << 30


def tune_malloc() -> bool:
    """Raise glibc's mmap and trim thresholds to 1 GiB for this process.

    Returns:
        Whether the thresholds were raised; False where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    success = mallopt(_M_MMAP_THRESHOLD, _KEEP_BELOW_BYTES)
    success &= mallopt(_M_TRIM_THRESHOLD, 2 * _KEEP_BELOW_BYTES - 1)
    return bool(success & mallopt(_M_TOP_PAD, 64 << 20))


def release_free() -> None:
    """Return free blocks to the system, kept ones included, so that memory can be measured."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        pass  # not glibc: nothing was kept
