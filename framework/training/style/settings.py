"""Settings of the run of a decoder of styles."""

from dataclasses import dataclass

from framework.training.settings import AveragedSettings


@dataclass(frozen=True)
class StyleDecoderSettings(AveragedSettings):
    """Settings of `StyleTraining`.

    Args:
        lr: Learning rate, at the beginning.
        lr_final: Learning rate after `lr_kimg`, reached on half a cosine; None keeps `lr`.
        lr_kimg: Thousands of images until `lr_final`.
        betas: Adam's decay rates.
        mirror: Show each picture mirrored half of the time.
        micro_batch: Images a process works on at once; its whole share if None.
        seed: Seed of everything random.
        width: Channels of the decoder at full depth, a multiple of 4.
        patterns: Pictures drawn by code that stand in for paintings (`framework.data.patterns`);
            half of all styles are these, half other pictures of the batch.
        style_weight: Weight of the style beside the content (Huang and Belongie 2017, equation 11).
        identity_weight: Weight of the error of pixels where a picture gets its own style.
        ema_kimg: Half-life of the average of the network, which is the one that is published, in
            thousands of images.
        ema_rampup: The half-life is at most this share of the images seen; null for no ramp.
    """

    lr: float = 2e-3
    width: int = 64
    patterns: int = 200
    style_weight: float = 3.0
    identity_weight: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("width", least=4, most=1024)
        self._whole("patterns", least=1, most=100_000)
        self._number("style_weight", "identity_weight")
        if self.width % 4:
            raise self._error("width", "a multiple of 4")
