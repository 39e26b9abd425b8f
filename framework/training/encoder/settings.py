"""Settings of an encoder's run, and what follows from them and the images seen."""

from dataclasses import dataclass
from typing import Literal, get_args

from framework.errors import UserError
from framework.ops.compiled import Mode
from framework.training.precision import Autocast
from framework.training.settings import MOST_IMAGES, AnnealedSettings, TrainingGroup

_MOST_UNITS, _MOST_CHANNEL_BASE, _MOST_BLOCKS, _MOST_WIDTH = 8192, 2**20, 64, 1024
PerceptualNetwork = Literal[
    "auto", "dfeat", "lite0", "lpips", "lpips-vgg", "lpips-alex", "lpips-squeeze", "multiscale"
]  # fmt: skip


@dataclass(frozen=True)
class Architecture(TrainingGroup):
    """Sizes of the encoder, and its normalisation.

    Args:
        channel_base: `dragline`: feature maps times resolution, before the maximum.
        channel_max: `dragline`: largest number of feature maps.
        blocks: `dragline`: residual blocks of each resolution.
        map_channels: `dragline`: width of the feature pyramid.
        head_features: `dragline`: units of each head's hidden layer.
        width: `e4e` and `psp`: feature maps of the stem; 64 as published.
        norm: `group` is the same in training and use; `batch` is as published for e4e and psp.
    """

    group = "architecture"

    channel_base: int = 1536
    channel_max: int = 192
    blocks: int = 1
    map_channels: int = 64
    head_features: int = 256
    width: int = 64
    norm: Literal["group", "batch"] = "group"

    def __post_init__(self) -> None:
        self._whole("channel_base", least=1, most=_MOST_CHANNEL_BASE)
        self._whole("channel_max", "map_channels", least=1, most=_MOST_UNITS)
        self._whole("blocks", least=1, most=_MOST_BLOCKS)
        self._whole("head_features", least=1, most=MOST_IMAGES)
        self._whole("width", least=1, most=_MOST_WIDTH)


@dataclass(frozen=True)
class Weights(TrainingGroup):
    """Weights of the terms of the loss; a term of weight 0 is not computed.

    Args:
        pixel: Mean square difference of pictures in [-1, 1].
        perceptual: How different they look.
        similarity: How different what they show is, 1 - cosine.
        adv_image: Passing for real before a trained copy of the model's discriminator.
        adv_latent: Styles passing for the mapping network's.
        delta: Distance of layers' styles from the first layer's, summed over layers.
        w_norm: Distance of the styles from the mean style.
        nscd: Style vectors pointing away from random pictures' (LSAP); 0.5 times the number of the
            generator's layers there, in place of `adv_latent`.
        latent: Mean square error of the styles, in variances of w, on pictures of the generator.
    """

    group = "weights"

    pixel: float = 1.0
    perceptual: float = 1.0
    similarity: float = 0.0
    adv_image: float = 0.0
    adv_latent: float = 0.0
    delta: float = 0.0
    w_norm: float = 0.0
    nscd: float = 0.0
    latent: float = 1.0

    def __post_init__(self) -> None:
        self._number("pixel", "perceptual", "similarity", "adv_image", "adv_latent")
        self._number("delta", "w_norm", "nscd", "latent")
        if self.pixel == 0 and self.perceptual == 0:
            raise UserError(
                "0, weights.perceptual=0: nothing would teach it to read pictures", "weights.pixel"
            )


@dataclass(frozen=True)
class Judges(TrainingGroup):
    """The networks that tell how different two pictures are.

    Args:
        perceptual_network: How different they look: `dfeat`, by features of the model's own
            discriminator; `lite0`, of EfficientNet-Lite0 (the extra `features`);
            `lpips-vgg`, `lpips-alex` or `lpips-squeeze`, or `lpips` for whichever of them is here;
            `multiscale`, no network; `auto`, the first, or without a discriminator the last.
        perceptual_weights: Published file of LPIPS' backbone, or a folder of such files.
        similarity_network: How different what they show is: `resnet50`; `arcface` for faces;
            `clip`.
        similarity_weights: Weights file of `similarity_network`.
        allow_download: Download missing files.
        loss_px: Most pixels of the longer side at which pictures are compared (by `dfeat` at their
            own size); None for their own.
    """

    group = "judges"

    perceptual_network: PerceptualNetwork = "auto"
    perceptual_weights: str | None = None
    similarity_network: Literal["arcface", "resnet50", "clip"] = "resnet50"
    similarity_weights: str | None = None
    allow_download: bool = False
    loss_px: int | None = None

    def __post_init__(self) -> None:
        self._whole("loss_px", least=1, most=4096)
        self._choice("perceptual_network", get_args(PerceptualNetwork))


@dataclass(frozen=True)
class Schedule(TrainingGroup):
    """Changes over the run, in thousands of images seen.

    Args:
        progressive_kimg: [start, every]: images until the second layer's style may differ from the
            first's, and from each layer to the next (e4e); None for all from the beginning.
        adv_image_kimg: [start, end]: images until `adv_image` begins to count, and until it counts
            fully; at full weight from the beginning it may dominate.
        synthetic_kimg: Images at the beginning that the generator makes: their styles are known.
        synthetic_share: Share of such pictures in every batch after that.
    """

    group = "schedule"

    progressive_kimg: tuple[float, float] | None = None
    adv_image_kimg: tuple[float, float] = (0.0, 0.0)
    synthetic_kimg: float = 0.0
    synthetic_share: float = 0.0

    def __post_init__(self) -> None:
        self._number("progressive_kimg", "adv_image_kimg", "synthetic_kimg")
        self._number("synthetic_share", most=1)
        if self.progressive_kimg is not None and in_images(self.progressive_kimg[1]) < 1:
            rule = "the second, thousands of images from each layer to the next, to be positive"
            raise self._error("progressive_kimg", rule)
        if self.adv_image_kimg[1] < self.adv_image_kimg[0]:
            raise self._error("adv_image_kimg", "an end that is not before the beginning")

    def stage(self, seen_images: int, num_ws: int) -> int | None:
        """Return how many layers may differ in style from the first; None for all."""
        if self.progressive_kimg is None:
            return None
        start, every = map(in_images, self.progressive_kimg)
        return 0 if seen_images < start else min(1 + (seen_images - start) // every, num_ws - 1)

    def ramp(self, seen_images: int) -> float:
        """Return how much the adversarial term counts, 0 to 1."""
        start, end = map(in_images, self.adv_image_kimg)
        if end <= start:
            return float(seen_images >= start)
        return min(max((seen_images - start) / (end - start), 0), 1)

    def share(self, seen_images: int) -> float:
        """Return the share of pictures that the generator makes."""
        return 1.0 if seen_images < in_images(self.synthetic_kimg) else self.synthetic_share

    @property
    def makes_pictures(self) -> bool:
        """Whether the generator makes any pictures of the run."""
        return in_images(self.synthetic_kimg) > 0 or self.synthetic_share > 0


@dataclass(frozen=True)
class Discriminators(TrainingGroup):
    """Training of the discriminators of `adv_image` and `adv_latent`.

    Args:
        d_lr: Learning rate of the one of pictures; the encoder's final one if None.
        r1_gamma: Weight of the R1 of that one.
        r1_interval: Batches from one step of that R1 to the next.
        latent_lr: Learning rate of the one of styles.
        latent_r1_gamma: Weight of the R1 of that one.
        latent_r1_interval: Batches from one step of that R1 to the next.
    """

    group = "discriminators"

    d_lr: float | None = None
    r1_gamma: float = 10.0
    r1_interval: int = 16
    latent_lr: float = 2e-5
    latent_r1_gamma: float = 10.0
    latent_r1_interval: int = 16

    def __post_init__(self) -> None:
        self._number("d_lr", "latent_lr", above_zero=True)
        self._number("r1_gamma", "latent_r1_gamma")
        self._whole("r1_interval", "latent_r1_interval", least=1)


@dataclass(frozen=True)
class Averaging(TrainingGroup):
    """The average of the encoder, which is the one that is published.

    Args:
        ema_kimg: Half-life in thousands of images.
        ema_rampup: The half-life is at most this share of the images seen; null for no ramp.
    """

    group = "averaging"

    ema_kimg: float = 2.0
    ema_rampup: float | None = 0.05

    def __post_init__(self) -> None:
        self._number("ema_kimg", above_zero=True)
        self._number("ema_rampup")


@dataclass(frozen=True)
class Machine(TrainingGroup):
    """How numbers are computed; the same run may go on with other values.

    Args:
        low_precision: What encoder, generator and the features that compare pictures compute in:
            `auto` is bfloat16 on CPUs that have it and on CUDA. Losses are float32, and so are
            `similarity` and the discriminators of `adv_image` and `adv_latent`.
        ops: `torch`; `auto` compiles kernels on first use where they measured faster, `compiled`
            all of them. A machine without a compiler goes on with torch, except for `compiled`.
    """

    group = "machine"

    low_precision: Autocast = "auto"
    ops: Mode = "torch"

    def __post_init__(self) -> None:
        self._choice("low_precision", get_args(Autocast))


@dataclass(frozen=True)
class EncoderSettings(AnnealedSettings):
    """Settings of `EncoderTraining`.

    Args:
        generator: Any model that opens here: a shipped one's name, a model folder, a checkpoint of
            a run, another program's file. It stays as it is.
        start_from: Any model whose encoder this one starts as: of the same kind and sizes, for a
            generator with as many styles (a former state of this one, or of the same family). A run
            that starts so needs no `progressive_kimg`.
        encoder: `dragline`, small, with heads that layers share; `e4e` or `psp`, IR-SE50 with a
            stack of convolutions for every layer (150 million parameters at 64 px).
        iterations: How often the encoder looks; more than once, it sees its own reconstruction
            beside the picture and corrects it (ReStyle), and each look is trained.
        lr: Learning rate of the encoder, at the beginning.
        lr_final: Learning rate after `lr_kimg`, reached on half a cosine; None keeps `lr`.
        lr_kimg: Thousands of images until `lr_final`.
        betas: Adam's decay rates.
        mirror: Show each picture mirrored half of the time.
        micro_batch: Images a process works on at once; its whole share if None.
        seed: Seed of everything random.
        architecture: Sizes of the encoder, and its normalisation.
        weights: Weights of the terms of the loss.
        judges: Networks that tell how different two pictures are.
        schedule: Changes over the run.
        discriminators: Training of the discriminators of `adv_image` and `adv_latent`.
        averaging: The average of the encoder.
        machine: How numbers are computed.
    """

    generator: str = "vehicles64"
    start_from: str | None = None
    encoder: Literal["dragline", "e4e", "psp"] = "dragline"
    iterations: int = 1
    architecture: Architecture = Architecture()
    weights: Weights = Weights()
    judges: Judges = Judges()
    schedule: Schedule = Schedule()
    discriminators: Discriminators = Discriminators()
    averaging: Averaging = Averaging()
    machine: Machine = Machine()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("iterations", least=1, most=1024)

    @property
    def image_discriminator_lr(self) -> float:
        """Learning rate of the discriminator of pictures."""
        return self.discriminators.d_lr or self.lr_final or self.lr


def in_images(kimg: float) -> int:
    """Return whole images: 0.07 kimg times 1000 is a little more than 70."""
    return round(kimg * 1000)
