"""What a picture is made from: a sketch, a map of labels, or another picture."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch.nn.functional as F
from torch import Tensor

Kind = Literal["sketch", "labels", "picture"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MOST_LABELS = 256


@dataclass(frozen=True)
class Condition:
    """A kind of condition.

    Args:
        kind: `sketch` (grey, dark lines on white), `labels` (a number a pixel) or `picture`.
        img_channels: Channels of its pictures: 1, of a picture its own.
        num_labels: Number of labels; 0 without labels.
        names: Names of the labels, from label 0; empty where they have none.
    """

    kind: Kind
    img_channels: int = 1
    num_labels: int = 0
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        labelled = self.kind == "labels"
        if self.kind not in KINDS or self.img_channels not in (1, 3, 4):
            raise ValueError(f"no condition of kind {self.kind!r}, {self.img_channels} channels")
        if not (2 <= self.num_labels <= MOST_LABELS if labelled else self.num_labels == 0):
            raise ValueError(f"{self.num_labels} labels of a condition of kind {self.kind}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Condition":
        """Read what `to_dict` wrote; ValueError or TypeError if it is something else."""
        return cls(**{**values, "names": tuple(str(name) for name in values["names"])})

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {**asdict(self), "names": list(self.names)}

    @property
    def channels(self) -> int:
        """Channels that a network sees."""
        return self.num_labels or self.img_channels

    def encode(self, levels: Tensor) -> Tensor:
        """Return conditions as networks see them, (N, channels, H, W): labels one-hot.

        Args:
            levels: (N, img_channels, H, W) in [-1, 1]; of labels, label k is k / 127.5 - 1.
        """
        if self.kind != "labels":
            return levels
        labels = ((levels[:, 0] + 1) * 127.5).round().long()
        return F.one_hot(labels, self.num_labels).movedim(-1, 1).to(levels.dtype)
