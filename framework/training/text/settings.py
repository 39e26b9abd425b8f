"""Settings of a text encoder's run."""

from dataclasses import dataclass
from typing import Literal, get_args

from framework.training.alignment.settings import AlignmentSettings
from framework.training.settings import TrainingGroup

Tower = Literal["words", "minilm"]
_MOST_UNITS, _MOST_LAYERS, _MOST_CAPTIONS = 4096, 24, 100


@dataclass(frozen=True)
class Words(TrainingGroup):
    """Sizes of the tower `words`, a Transformer.

    Args:
        width: Width of a word.
        heads: Heads of attention; divides `width`.
        depth: Layers.
    """

    group = "words"

    width: int = 64
    heads: int = 4
    depth: int = 1

    def __post_init__(self) -> None:
        self._whole("width", "heads", least=1, most=_MOST_UNITS)
        self._whole("depth", least=1, most=_MOST_LAYERS)
        if self.width % self.heads:
            raise self._error("heads", f"a divisor of the width, {self.width}")


@dataclass(frozen=True)
class TextSettings(AlignmentSettings):
    """Settings of `TextTraining`.

    Args:
        lr: Learning rate, at the beginning.
        lr_final: Learning rate after `lr_kimg`, reached on half a cosine; None keeps `lr`.
        lr_kimg: Thousands of pairs until `lr_final`.
        betas: Adam's decay rates.
        mirror: Must be false: a caption may name a side.
        micro_batch: Pairs a process works on at once; its whole share if None. `ranking` and
            `contrastive` compare within it.
        seed: Seed of everything random.
        generator: A model with an encoder: a shipped one's name, or a model folder. Both stay as
            they are.
        coordinates: Coordinates of the codes that are learned.
        hidden: Units of the head's hidden layer.
        weights: Weights of the terms of the loss.
        warmup_kimg: Thousands of pairs in which the learning rate rises from 0.
        ema_kimg: Half-life of the average of the network, which is the one that is published, in
            thousands of pairs.
        ema_rampup: The half-life is at most this share of the pairs seen; null for no ramp.
        tower: `words`, a small Transformer over the words of the captions, trained from nothing; or
            `minilm`, sentence vectors of a packaged model, which stays as it is (extra `text`).
        words: Sizes of the tower `words`.
        captions: Folder with NAME.txt for each picture NAME.jpg, a caption a line, as in
            Multi-Modal CelebA-HQ; null for toy cars, which know their own.
        per_picture: Captions of a picture, at most.
    """

    tower: Tower = "words"
    words: Words = Words()
    captions: str | None = None
    per_picture: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._choice("tower", get_args(Tower))
        self._whole("per_picture", least=1, most=_MOST_CAPTIONS)
