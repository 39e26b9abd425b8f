"""Settings that the runs of all encoders of other inputs share."""

from dataclasses import dataclass

from framework.errors import UserError
from framework.training.settings import AveragedSettings, TrainingGroup

_MOST_UNITS = 8192


@dataclass(frozen=True)
class AlignmentWeights(TrainingGroup):
    """Weights of the terms of the loss; a term of weight 0 is not computed.

    Args:
        likelihood: Negative log likelihood of the picture's code under what the input says of it: a
            squared distance whose weights, for each coordinate, the input decides.
        distance: Squared distance of codes, each layer in its own variance (TediGAN, eq. 3).
        ranking: How much a pair that does not belong together is nearer than one that does, or
            less than 1 farther: a hinge.
        contrastive: Cross entropy of which of a micro-batch's pictures belongs to an input, and
            which input to a picture (van den Oord et al. 2018).
    """

    group = "weights"

    likelihood: float = 1.0
    distance: float = 0.0
    ranking: float = 0.0
    contrastive: float = 0.0

    def __post_init__(self) -> None:
        self._number("likelihood", "distance", "ranking", "contrastive")
        if not any(vars(self).values()):
            raise UserError("0, and so are all others: nothing would be learned", self._name(
                "likelihood"))  # fmt: skip


@dataclass(frozen=True)
class AlignmentSettings(AveragedSettings):
    """Settings of `AlignmentTraining`.

    Args:
        generator: A model with an encoder: a shipped one's name, or a model folder. Both stay as
            they are.
        coordinates: Coordinates of the codes that are learned.
        hidden: Units of the head's hidden layer.
        weights: Weights of the terms of the loss.
        warmup_kimg: Thousands of pairs in which the learning rate rises from 0.
        ema_kimg: Half-life of the average of the network, which is the one that is published, in
            thousands of pairs.
        ema_rampup: The half-life is at most this share of the pairs seen; null for no ramp.
    """

    lr: float = 2e-3
    generator: str = "toycars64"
    coordinates: int = 32
    hidden: int = 128
    weights: AlignmentWeights = AlignmentWeights()
    warmup_kimg: float = 5.0
    ema_kimg: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("coordinates", "hidden", least=1, most=_MOST_UNITS)
        self._number("warmup_kimg")
        if self.mirror:
            raise self._error("mirror", "false: what is said of a picture may name a side")
