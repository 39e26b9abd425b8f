"""Settings of the run of a network that fills holes."""

from dataclasses import dataclass

from framework.training.settings import AveragedSettings


@dataclass(frozen=True)
class FillingSettings(AveragedSettings):
    """Settings of `FillingTraining`.

    Args:
        lr: Learning rate, at the beginning.
        lr_final: Learning rate after `lr_kimg`, reached on half a cosine; None keeps `lr`.
        lr_kimg: Thousands of images until `lr_final`.
        betas: Adam's decay rates.
        mirror: Show each picture mirrored half of the time.
        micro_batch: Images a process works on at once; its whole share if None.
        seed: Seed of everything random.
        width: Channels of the networks at full depth, a multiple of 4.
        hole_area: Share of the picture that a hole takes, about.
        discount: Weight of an error, to the power of the pixels from the hole's border (Yu et al.
            2018, section 3.2): there it is known best what belongs there.
        adversarial: Weight of the judge's opinion (Iizuka et al. 2017, eq. 4).
        adversarial_from_kimg: Thousands of images before the judge counts; from the same moment on
            it learns (Iizuka et al. 2017, section 3.5).
        ema_kimg: Half-life of the average of the network, which is the one that is published, in
            thousands of images.
        ema_rampup: The half-life is at most this share of the images seen; null for no ramp.
    """

    lr: float = 2e-3
    width: int = 48
    hole_area: float = 0.1
    discount: float = 0.97
    adversarial: float = 0.01
    adversarial_from_kimg: float = 40.0
    ema_kimg: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("width", least=4, most=1024)
        self._number("hole_area", "discount", above_zero=True)
        self._number("hole_area", below=0.5)
        self._number("adversarial", "adversarial_from_kimg")
        if self.discount > 1:
            raise self._error("discount", "at most 1")
        if self.width % 4:
            raise self._error("width", "a multiple of 4")
