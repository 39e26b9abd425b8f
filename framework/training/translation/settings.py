"""Settings of the runs of translations."""

from dataclasses import dataclass

from framework.models.translation.condition import MOST_LABELS
from framework.training.settings import AveragedSettings


@dataclass(frozen=True)
class TranslationSettings(AveragedSettings):
    """Settings of every translation.

    Args:
        lr: Learning rate, at the beginning.
        lr_final: Learning rate after `lr_kimg`, reached on half a cosine; None keeps `lr`.
        lr_kimg: Thousands of images until `lr_final`.
        betas: Adam's decay rates.
        mirror: Show each pair mirrored half of the time.
        micro_batch: Images a process works on at once; its whole share if None.
        seed: Seed of everything random.
        num_labels: Number of labels, where conditions are labels; ones above are refused.
        judge_width: Channels of the judge's first layer.
        judge_layers: Halvings of the judge: 3 see patches of 70 px, 2 of 34 px, 1 of 16 px.
        ema_kimg: Half-life of the average of the network, which is the one that is published, in
            thousands of images.
        ema_rampup: The half-life is at most this share of the images seen; null for no ramp.
    """

    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    num_labels: int = 10
    judge_width: int = 32
    judge_layers: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("num_labels", least=2, most=MOST_LABELS)
        self._whole("judge_width", least=1, most=1024)
        self._whole("judge_layers", least=1, most=5)


@dataclass(frozen=True)
class Pix2PixSettings(TranslationSettings):
    """Settings of `Pix2PixTraining`.

    Args:
        width: Channels of the U-Net at half size.
        depth: How often it halves the sides.
        dropout: Share of values that is dropped; its only noise.
        l1: Weight of the difference from the true picture (Isola et al. 2017, eq. 4).
    """

    width: int = 24
    depth: int = 4
    dropout: float = 0.5
    l1: float = 100.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("width", least=1, most=1024)
        self._whole("depth", least=2, most=9)
        self._number("dropout", below=1)
        self._number("l1")


@dataclass(frozen=True)
class CycleGANSettings(TranslationSettings):
    """Settings of `CycleGANTraining`.

    Args:
        width: Channels of both generators at full size.
        blocks: Residual blocks of each.
        cycle: Weight of coming back to where one started (Zhu et al. 2017, eq. 3).
        identity: Weight of leaving what is already on the other side, in shares of `cycle`
            (section 5.2).
        buffer: Earlier results among which the judges see half of theirs (section 4).
    """

    width: int = 16
    blocks: int = 4
    cycle: float = 10.0
    identity: float = 0.5
    buffer: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("width", least=1, most=1024)
        self._whole("blocks", most=64)
        self._number("cycle", "identity")
        self._whole("buffer", most=10_000)


@dataclass(frozen=True)
class SpadeSettings(TranslationSettings):
    """Settings of `SpadeTraining`.

    Args:
        judge_lr: Learning rate of the judges, at the beginning (Heusel et al. 2017).
        width: Channels of the generator at 4 px.
        z_dim: Length of a style.
        hidden: Channels between the map and its scales and shifts.
        judge_scales: Judges, each for pictures of half the size of the last's.
        feature_matching: Weight of the difference of the judges' features.
        perceptual: Weight of the difference of a frozen network's features.
        features: Model whose discriminator is that network; null compares by `multiscale`.
        kl: Weight of how far the styles of pictures are from normal; 0 for no reader of styles.
    """

    lr: float = 1e-4
    betas: tuple[float, float] = (0.0, 0.9)
    judge_lr: float = 4e-4
    width: int = 96
    z_dim: int = 32
    hidden: int = 24
    judge_scales: int = 2
    feature_matching: float = 10.0
    perceptual: float = 10.0
    features: str | None = "features64"
    kl: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        self._number("judge_lr", above_zero=True)
        self._whole("width", "z_dim", "hidden", least=1, most=1024)
        self._whole("judge_scales", least=1, most=4)
        self._number("feature_matching", "perceptual", "kl")
