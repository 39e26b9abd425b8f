"""Settings of an inversion's three stages. Needs no torch."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from framework.errors import UserError
from framework.settings import MOST_STEPS, Settings

LatentSpace = Literal["w+", "w"]
NoiseChoice = Literal["const", "optimise"]
Parameters = Literal["conv", "all"]
STAGES = ("embed", "refine", "tune")
RESIDUAL_LOOKS = 5  # iterations of an encoder that corrects itself (Alaluf et al. 2021)
STEPS_FROM_MEAN = 400  # steps of refine without an encoder's first guess


@dataclass(frozen=True)
class EmbedSettings(Settings):
    """Settings of the first guess.

    Args:
        iterations: Number of the encoder's looks; more than one only if it was trained to correct
            itself (ReStyle, Alaluf et al. 2021; five there).

    Raises:
        UserError: If a value has the wrong type or is out of range.
    """

    iterations: int = 1

    def __post_init__(self) -> None:
        self._whole("iterations", least=1, most=MOST_STEPS)


@dataclass(frozen=True)
class RefineSettings(Settings):
    """Settings of instance-level optimisation (TediGAN, Xia et al. 2021, section 3.2).

    Lengths in the space of w are in standard deviations of w = mapping(z), so that they mean the
    same for every generator.

    Args:
        steps: Updates of the latents.
        lr: Largest step size of Adam, in standard deviations; it ramps up over the first 5 % of
            the steps and down over the last 25 % (Karras et al. 2020, appendix D).
        space: "w+" moves every layer's latent separately; "w" moves them all by one vector.
        pixel: Weight of the mean squared error of pixels in [-1, 1].
        perceptual: Weight of the perceptual distance.
        encoder: Weight of the mean squared difference between the latents and what the encoder
            sees in their picture, in variances of w: TediGAN's term, which keeps them in domain
            (0.1 does). Off, because a step with it takes half as long again and reconstructs less;
            latents stay no farther from the mean than usual without it.
        prior: Weight of the mean squared distance from `w_avg`, in variances of w: what keeps the
            latents where edits work.
        latent_noise: Normal noise on the latents at the first step, in standard deviations; it
            falls to zero over the first 75 % of the steps (Karras et al. 2020, appendix D).
        noise: "optimise" makes noise maps of the picture's own, kept noise-like by `noise_weight`;
            "const" leaves the generator's.
        noise_weight: Weight of the noise maps' autocorrelation.
        stop: A picture whose perceptual distance is at most this is finished; None for never.
        max_seconds: Seconds after which the stream ends, the caller's own time included; None for
            no limit.
        seed: Seed of the noise on the latents.

    Raises:
        UserError: If a value has the wrong type or is out of range.
    """

    steps: int = 200
    lr: float = 0.1
    space: LatentSpace = "w+"
    pixel: float = 1.0
    perceptual: float = 1.0
    encoder: float = 0.0
    prior: float = 0.02
    latent_noise: float = 0.0
    noise: NoiseChoice = "const"
    noise_weight: float = 1e5
    stop: float | None = None
    max_seconds: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        self._number("lr", above_zero=True)
        self._number("pixel", "perceptual", "encoder", "prior", "latent_noise", "noise_weight")
        self._number("stop", "max_seconds")
        self._whole("steps", most=MOST_STEPS)
        self._whole("seed")
        self._choice("space", get_args(LatentSpace))
        self._choice("noise", get_args(NoiseChoice))


@dataclass(frozen=True)
class Locality(Settings):
    """Settings of the term that keeps a tuned generator unchanged elsewhere (PTI, eq. 5).

    Args:
        weight: Weight of pixel error and perceptual distance between the old and the new
            generator's pictures.
        alpha: Distance from the pivot at which they are compared: root mean square, in standard
            deviations of w.
        every: Updates from one comparison to the next; it then counts `every` times.
        samples: Number of random latents in a comparison.

    Raises:
        UserError: If a value has the wrong type or is out of range.
    """

    weight: float = 0.1
    alpha: float = 1.0
    every: int = 2
    samples: int = 1

    def __post_init__(self) -> None:
        self._number("weight", "alpha", above_zero=True)
        self._whole("every", "samples", least=1)


@dataclass(frozen=True)
class TuneSettings(Settings):
    """Settings of pivotal tuning (PTI, Roich et al. 2022).

    Args:
        steps: Updates of the weights.
        lr: Step size of Adam on the weights of layers with 512 input maps, as PTI's generators
            have; narrower layers have proportionally larger ones, see `tune.speeds`.
        parameters: "conv" changes the weights of the synthesis convolutions, "all" everything in
            the synthesis; the mapping never changes.
        rank: Rank of each convolution's change, as a matrix (O, I k k); None for any change.
        pixel: Weight of the mean squared error of pixels in [-1, 1].
        perceptual: Weight of the perceptual distance.
        locality: See `Locality`; None to let the generator change elsewhere, too.
        stop: Perceptual distance at or below which, for every picture, tuning ends; None for never.
        max_seconds: Seconds after which the stream ends, the caller's own time included; None for
            no limit.
        seed: Seed of the random latents and of the first low-rank factors.

    Raises:
        UserError: If a value has the wrong type or is out of range.
    """

    steps: int = 100
    lr: float = 5e-4
    parameters: Parameters = "conv"
    rank: int | None = None
    pixel: float = 1.0
    perceptual: float = 1.0
    locality: Locality | None = field(default_factory=Locality)
    stop: float | None = None
    max_seconds: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        self._number("lr", above_zero=True)
        self._number("pixel", "perceptual", "stop", "max_seconds")
        self._whole("steps", most=MOST_STEPS)
        self._whole("seed")
        self._whole("rank", least=1)
        self._choice("parameters", get_args(Parameters))
        self._nested("locality", Locality, ", or null")


@dataclass(frozen=True)
class InversionSettings(Settings):
    """The stages of an inversion and their settings.

    Args:
        stages: Some of "embed", "refine" and "tune", in this order. Without "embed" no encoder is
            used and the latents begin at `w_avg`.
        embed: Settings of the first guess; None suits them to the encoder.
        refine: Settings of refine; None suits them to the start: more steps without an encoder.
        tune: Settings of tune.
        max_seconds: Limit of all stages together; refine leaves a quarter of the rest to tune. None
            for the stages' own limits only.

    Raises:
        UserError: If a value has the wrong type or is out of range.
    """

    stages: tuple[str, ...] = STAGES
    embed: EmbedSettings | None = None
    refine: RefineSettings | None = None
    tune: TuneSettings = field(default_factory=TuneSettings)
    max_seconds: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", _checked_stages(self.stages))
        self._nested("embed", EmbedSettings, ", or null")
        self._nested("refine", RefineSettings, ", or null")
        self._nested("tune", TuneSettings)
        self._number("max_seconds", above_zero=True)

    def suited(self, has_encoder: bool, residual: bool = False) -> "InversionSettings":
        """Return the settings with all values set.

        Args:
            has_encoder: Whether an encoder makes the first guess.
            residual: Whether the encoder corrects itself.
        """
        has_encoder = has_encoder and "embed" in self.stages
        looks = RESIDUAL_LOOKS if has_encoder and residual else 1
        steps = RefineSettings.steps if has_encoder else STEPS_FROM_MEAN
        return replace(
            self,
            embed=self.embed or EmbedSettings(iterations=looks),
            refine=self.refine or RefineSettings(steps=steps),
        )


def _checked_stages(stages: Any) -> tuple[str, ...]:
    """Check that the stages are some of `STAGES` in its order."""
    names = stages.split(",") if isinstance(stages, str) else stages
    if isinstance(names, list | tuple):
        names = tuple(name.strip() if isinstance(name, str) else name for name in names)
        if names and names == tuple(name for name in STAGES if name in names):
            return names
    raise UserError(f"{stages!r}: give some of {','.join(STAGES)}, in this order", "stages")
