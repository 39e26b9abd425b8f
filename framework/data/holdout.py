"""Pictures held out from training, chosen by their names alone.

Whether a picture is held out does not depend on how many others there are or on their order, so a
training run and a report on it, or two data sets that share pictures, agree about each of them.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from framework.data.images import ImageDataset
from framework.errors import UserError

LARGEST_SHARE = 0.5


def is_held_out(name: str, share: float) -> bool:
    """Whether the picture called `name` is among the `share` (0 to 1) that is held out.

    A larger share holds out all that a smaller one does. Names are those of `ImageDataset.name`:
    paths inside the source, `toycar00000123` for toy cars.
    """
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def split(
    dataset: ImageDataset, share: float, flag: str = "--data.held_out"
) -> tuple["Part", "Part"]:
    """Split a data set into the part for training and the `share` (about; above 0) held out.

    Raises:
        UserError: If one of the two would be empty; it names `flag`.
    """
    out = [is_held_out(dataset.name(index), share) for index in range(len(dataset))]
    numbers = np.flatnonzero(out), np.flatnonzero(np.logical_not(out))
    if not all(map(len, numbers)):
        raise UserError(
            f"{flag} {share:g}: of {len(dataset)} pictures it leaves "
            f"{len(numbers[1])} to train on and {len(numbers[0])} to look at"
        )
    held_out, training = numbers
    return Part(dataset, training.tolist(), f"without {share:g}"), Part(
        dataset, held_out.tolist(), f"only {share:g}"
    )


class Part(ImageDataset):
    """Some of the pictures of a data set, under numbers of their own.

    `kind` tells this part from others, for the fingerprint.
    """

    def __init__(self, whole: ImageDataset, numbers: Sequence[int], kind: str) -> None:
        self.whole, self.numbers = whole, list(numbers)
        self.size, self.channels = whole.size, whole.channels
        self.label_dim, self.classes = whole.label_dim, whole.classes
        self.fingerprint = hashlib.sha256(f"{whole.fingerprint} {kind}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.numbers)

    def image(self, index: int) -> np.ndarray:
        """Picture `index`, uint8 (C, H, W)."""
        return self.whole.image(self.numbers[index])

    def name(self, index: int) -> str:
        """Name of picture `index` in the whole."""
        return self.whole.name(self.numbers[index])

    def label(self, index: int) -> np.ndarray:
        """Label of picture `index`, float32 (label_dim,)."""
        return self.whole.label(self.numbers[index])

    def raw_label(self, index: int) -> int | list[float] | None:
        """Label of picture `index` as `dataset.json` holds it."""
        return self.whole.raw_label(self.numbers[index])

    def captions(self, index: int, count: int) -> list[str]:
        """Texts that describe picture `index`, as the whole has them."""
        return self.whole.captions(self.numbers[index], count)

    def remarks(self) -> list[str]:
        """Remarks of the whole."""
        return self.whole.remarks()

    def facts(self) -> dict[str, Any]:
        """Facts of the whole, with the count of this part."""
        return {**self.whole.facts(), **super().facts(), "of": len(self.whole)}
