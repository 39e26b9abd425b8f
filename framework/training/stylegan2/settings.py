"""Settings of a StyleGAN2's run (Karras et al. 2020)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from framework.errors import UserError, blame
from framework.ops.compiled import Mode
from framework.settings import is_number
from framework.training.precision import Choice
from framework.training.settings import MOST_IMAGES, TrainingGroup, TrainingSettings
from framework.training.stylegan2.ada import parse_changes
from framework.training.stylegan2.augment import parse_policy
from framework.training.stylegan2.objectives import LossName, Penalty

_MOST_AVERAGES, _MOST_UNITS, _MOST_CHANNEL_BASE, _MOST_LAYERS = 8, 8192, 2**20, 64


@dataclass(frozen=True)
class Networks(TrainingGroup):
    """Sizes of generator and discriminator; those of the pictures come from the data.

    None, for all but `mbstd_group_size`, takes the size of the model of `start_from`, or without
    one the paper's.

    Args:
        z_dim: Length of the latent z; 512.
        w_dim: Length of the style w; 512.
        mapping_layers: Depth of the mapping network; 8.
        channel_base: Feature maps times resolution in the generator; 32768.
        channel_max: Largest number of feature maps in both networks; 512.
        architecture: How blocks of the generator make a picture: `skip` (the paper's), `resnet` or
            `orig`.
        discriminator_channel_base: `channel_base` of the discriminator; the same.
        discriminator_architecture: `resnet` (the paper's), or `orig` without shortcuts (NVIDIA's
            for CIFAR-10).
        mbstd_group_size: Samples in a group of the minibatch standard deviation.
    """

    group = "networks"

    z_dim: int | None = None
    w_dim: int | None = None
    mapping_layers: int | None = None
    channel_base: int | None = None
    channel_max: int | None = None
    architecture: Literal["skip", "resnet", "orig"] | None = None
    discriminator_channel_base: int | None = None
    discriminator_architecture: Literal["resnet", "orig"] | None = None
    mbstd_group_size: int = 4

    def __post_init__(self) -> None:
        self._whole("z_dim", "w_dim", "channel_max", least=1, most=_MOST_UNITS)
        self._whole("channel_base", "discriminator_channel_base", least=1, most=_MOST_CHANNEL_BASE)
        self._whole("mapping_layers", least=1, most=_MOST_LAYERS)
        self._whole("mbstd_group_size", most=MOST_IMAGES)

    def settled(self, sizes: Mapping[str, Any]) -> "Networks":
        """Return settled sizes: `sizes` for those left open, else the paper's."""
        sizes = {**_PAPER, **sizes}
        return replace(self, **{n: v for n, v in sizes.items() if getattr(self, n) is None})

    def sizes(self) -> dict[str, Any]:
        """Return the sizes that may be left open, by name."""
        return {name: value for name, value in asdict(self).items() if name != "mbstd_group_size"}


_PAPER: dict[str, Any] = {
    "z_dim": 512,
    "w_dim": 512,
    "mapping_layers": 8,
    "channel_base": 32768,
    "channel_max": 512,
    "architecture": "skip",
    "discriminator_architecture": "resnet",
}


@dataclass(frozen=True)
class Transfer(TrainingGroup):
    """How a run starts from a trained model.

    Args:
        start_partial: Copy what fits also from a model of other widths, a patchwork.
        freeze_d_layers: Layers of the discriminator, from the picture on, that are not trained
            (FreezeD); for a start from a trained model, where NVIDIA recommend 10 or 13.
    """

    group = "transfer"

    start_partial: bool = False
    freeze_d_layers: int = 0

    def __post_init__(self) -> None:
        self._whole("freeze_d_layers", most=1024)


@dataclass(frozen=True)
class Regularization(TrainingGroup):
    """Regularisation, which keeps both networks smooth.

    Args:
        r1_gamma: Weight of R1 (and R2); None takes 0.0002 * H * W / batch (StyleGAN2-ADA's `auto`).
        r1_interval: Batches from one step of R1 to the next; None takes 16, and for `relativistic`
            puts it into every step.
        gp_weight: Weight of the gradient penalty of `wgan-gp`, which is part of every step.
        lecam_weight: Weight of LeCam regularisation, for small data sets; 0 for none.
        pl_weight: Weight of path length regularisation, 2 in the paper; 0 for none. It smooths the
            latent space, which helps inversion and editing, and costs time and memory.
        pl_interval: Batches from one step of path length regularisation to the next.
        pl_decay: Share of a batch in its mean length.
        pl_batch_shrink: One of so many samples is used for it.
        style_mixing_prob: Share of samples whose late layers follow another latent.
    """

    group = "regularization"

    r1_gamma: float | None = None
    r1_interval: int | None = None
    gp_weight: float = 10.0
    lecam_weight: float = 0.0
    pl_weight: float = 0.0
    pl_interval: int = 4
    pl_decay: float = 0.01
    pl_batch_shrink: int = 2
    style_mixing_prob: float = 0.9

    def __post_init__(self) -> None:
        self._number("r1_gamma", "gp_weight", "lecam_weight", "pl_weight")
        self._number("pl_decay", "style_mixing_prob", most=1)
        self._whole("r1_interval", "pl_interval", "pl_batch_shrink", least=1)

    def r1_weight(self, size: tuple[int, int], batch_size: int) -> float:
        """Return R1's weight for pictures of `size` (H, W) in batches of `batch_size`."""
        auto = 0.0002 * size[0] * size[1] / batch_size
        return auto if self.r1_gamma is None else self.r1_gamma

    def penalty_interval(self, penalty: Penalty) -> int | None:
        """Return the batches between steps of the gradient penalty; None: part of every main step.

        R1 alone is lazy (Karras et al. 2020, section 3.1); R1 and R2 together are not (Huang et al.
        2024) unless a number is given; the penalty of WGAN-GP never is.
        """
        if penalty == "interpolates":
            return None
        return 16 if self.r1_interval is None and penalty == "r1" else self.r1_interval


@dataclass(frozen=True)
class Augmentation(TrainingGroup):
    """Settings of `augment: ada` (Karras et al. 2020, "Training GANs with limited data").

    Args:
        ada_set: ADA's changes: bg, bgc, bgcf, bgcfn, bgcfnc, or names by comma.
        ada_target: Mean sign of D(real) that ADA's strength p aims at; None keeps p.
        ada_kimg: Thousands of images in which p may go from 0 to 1; 100 suits transfer.
        ada_p_max: Upper limit of p.
        ada_p: p at the beginning.
    """

    group = "augmentation"

    ada_set: str = "bgc"
    ada_target: float | None = 0.6
    ada_kimg: float = 500.0
    ada_p_max: float = 0.8
    ada_p: float = 0.0

    def __post_init__(self) -> None:
        self._number("ada_kimg", above_zero=True)
        self._number("ada_p_max", above_zero=True, most=1)
        self._number("ada_p", most=1)
        target = self._plain("ada_target")
        if target is not None and not (is_number(target) and -1 < target < 1):
            raise self._error("ada_target", "a number between -1 and 1")
        with blame("augmentation.ada_set"):
            parse_changes(self.ada_set)


@dataclass(frozen=True)
class Averaging(TrainingGroup):
    """The averages of the generator.

    Args:
        ema_kimg: Half-life of the averaged generator in thousands of images; None takes
            batch * 10 / 32. In a list, the first is the average that is shown and published; the
            others are only in checkpoints and cost memory.
        ema_rampup: The half-life is at most this share of the images seen; null for no ramp.
    """

    group = "averaging"

    ema_kimg: float | list[float] | None = None
    ema_rampup: float | None = 0.05

    def __post_init__(self) -> None:
        self._number("ema_kimg", above_zero=True)
        self._number("ema_rampup")
        kimg = self.ema_kimg
        if isinstance(kimg, list | tuple) and not 0 < len(set(kimg)) == len(kimg):
            raise self._error("ema_kimg", "a half-life, or a list of different ones")
        if isinstance(kimg, list | tuple) and len(kimg) > _MOST_AVERAGES:
            raise self._error("ema_kimg", f"at most {_MOST_AVERAGES} averages")

    def half_lives(self, batch_size: int) -> list[float]:
        """Return the averages' half-lives in kimg; batch * 10 / 32 if None (StyleGAN2-ADA)."""
        kimg = batch_size * 10 / 32 if self.ema_kimg is None else self.ema_kimg
        return [*kimg] if isinstance(kimg, list | tuple) else [kimg]


@dataclass(frozen=True)
class Machine(TrainingGroup):
    """How numbers are computed; the same run may go on with other values.

    Args:
        low_precision: `auto` is float16 on CUDA, bfloat16 on CPUs that have it, else none.
        low_precision_blocks: How many of the largest blocks run in low precision.
        channels_last: Memory layout of features; faster convolutions on most machines.
        ops: `torch`; `auto` compiles kernels on first use where they measured faster (1.4 times the
            steps on a CPU with bfloat16), `compiled` all of them. A machine without a compiler goes
            on with torch, except for `compiled`.
    """

    group = "machine"

    low_precision: Choice = "auto"
    low_precision_blocks: int = 4
    channels_last: bool = True
    ops: Mode = "torch"

    def __post_init__(self) -> None:
        self._choice("low_precision", get_args(Choice))
        self._whole("low_precision_blocks", most=_MOST_LAYERS)


@dataclass(frozen=True)
class StyleGAN2Settings(TrainingSettings):
    """Settings of `StyleGAN2Training`.

    Args:
        start_from: Any model that opens here, to start from what fits of it instead of at random:
            another picture size, other labels or channels may leave parts new; a table says which.
        augment: For small data sets: `ada` (Karras et al. 2020), or DiffAugment's changes out of
            color,translation,cutout; `none`, or empty, for none.
        loss: `nonsaturating` and `hinge` with R1, `wgan-gp` with its own penalty, `relativistic`
            with R1 and R2 (R3GAN's; the discriminator's step takes about twice as long).
        lr: Learning rate of both networks, before the lazy-regularisation correction.
        discriminator_lr: The discriminator's, if it is another one (TTUR, Heusel et al. 2017).
        betas: Adam's decay rates.
        mirror: Show each picture mirrored half of the time.
        transition_kimg: With labels on few pictures, where they begin to count and where they count
            fully, [start, end] (Shahbazi et al. 2022); without it such runs may collapse to one
            picture a class. None lets them count from the start.
        micro_batch: Images a process works on at once; its whole share if None.
        seed: Seed of everything random.
        networks: Sizes of generator and discriminator.
        regularization: Regularisation, which keeps both networks smooth.
        augmentation: Settings of `augment: ada`.
        averaging: The averages of the generator.
        transfer: How a run starts from a trained model.
        machine: How numbers are computed.
    """

    lr: float = 0.0025
    discriminator_lr: float | None = None
    betas: tuple[float, float] = (0.0, 0.99)
    mirror: bool = True
    start_from: str | None = None
    augment: str = ""
    loss: LossName = "nonsaturating"
    transition_kimg: tuple[float, float] | None = None
    networks: Networks = Networks()
    regularization: Regularization = Regularization()
    augmentation: Augmentation = Augmentation()
    averaging: Averaging = Averaging()
    transfer: Transfer = Transfer()
    machine: Machine = Machine()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._choice("loss", get_args(LossName))
        self._number("discriminator_lr", above_zero=True)
        self._number("transition_kimg")
        if (fade := self.transition_kimg) and not fade[0] < fade[1]:
            raise self._error("transition_kimg", "a beginning before its end")
        _ = self.policy
        if self.loss == "wgan-gp" and (gamma := self.regularization.r1_gamma):
            raise UserError(
                f"{gamma}: wgan-gp has a penalty of its own, gp_weight; leave r1_gamma at null",
                "regularization.r1_gamma",
            )

    @property
    def adaptive(self) -> bool:
        """Whether pictures pass through ADA."""
        return self.augment.strip() == "ada"

    @property
    def policy(self) -> tuple[str, ...]:
        """DiffAugment's changes that `augment` names."""
        return () if self.augment.strip() in ("ada", "none") else parse_policy(self.augment)
