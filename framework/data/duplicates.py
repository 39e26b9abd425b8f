"""Pictures that occur more than once: equal pixels, or nearly so."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from PIL import Image

GRID = 8
# Of 128. On 100x100 pictures JPEG at quality 75 flips at most 8 bits, halving the size 5 in the
# median, 13 at most; among 2.2 million pairs of 2,100 different vehicles one is within 8.
NEAR_BITS = 8
MAX_COMPARED = 50_000  # pictures; the search compares every pair


def difference_hash(picture: np.ndarray) -> bytes:
    """Hash a picture to 128 bits that survive re-encoding: is each cell brighter than the last?

    A uint8 (H, W, C) is averaged to 9x8 and 8x9 grey cells; 64 comparisons to the right, 64
    downwards.
    """
    grey = Image.fromarray(picture.squeeze()).convert("L")
    bits = []
    for columns, rows, axis in ((GRID + 1, GRID, 1), (GRID, GRID + 1, 0)):
        cells = np.asarray(grey.resize((columns, rows), Image.Resampling.BOX)).astype(np.int16)
        bits.append((np.diff(cells, axis=axis) > 0).ravel())
    return np.packbits(np.concatenate(bits)).tobytes()


def equal_groups(names: Sequence[str], keys: Iterable[Hashable]) -> list[list[str]]:
    """Return groups of two or more names with the same key, in the order of the names."""
    groups: dict[Hashable, list[str]] = defaultdict(list)
    for name, key in zip(names, keys, strict=True):
        groups[key].append(name)
    return [group for group in groups.values() if len(group) > 1]


def near_pairs(
    names: Sequence[str], hashes: Sequence[bytes], max_bits: int = NEAR_BITS
) -> list[tuple[str, str, int]]:
    """Return pairs of names whose hashes differ in at most `max_bits` bits, closest first."""
    if not names:
        return []
    words = np.frombuffer(b"".join(hashes), np.uint64).reshape(len(names), -1)
    pairs = []
    for first in range(len(names) - 1):
        distance = np.bitwise_count(words[first + 1 :] ^ words[first]).sum(axis=1)
        for offset in np.flatnonzero(distance <= max_bits).tolist():
            pairs.append((names[first], names[first + 1 + offset], int(distance[offset])))
    return sorted(pairs, key=lambda pair: pair[2])
