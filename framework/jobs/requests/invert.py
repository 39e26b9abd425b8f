"""What a person asks of an inversion. Needs no torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from framework.dashboard import WandbMode
from framework.errors import UserError
from framework.fields import Shown
from framework.jobs.requests.framing import Crop, Framing

Perceptual = Literal[
    "auto", "dfeat", "lite0", "lpips", "lpips-vgg", "lpips-alex", "lpips-squeeze", "multiscale"
]
LARGEST_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class InversionChoice:
    """How photographs are inverted; None is nothing said.

    Args:
        stages: Of embed,refine,tune, in this order; all by default. Without embed the search begins
            at the model's mean picture.
        perceptual: How pictures are compared beside their pixels: dfeat is features of the model's
            own discriminator, lite0 of EfficientNet-Lite0 (the extra features), multiscale is L1
            and SSIM, lpips needs weights; auto takes dfeat where the model has a discriminator.
        perceptual_weights: File of lpips' weights, or the folder they are in.
        refine_steps: Updates of the latents; by default 200, or 400 without an encoder.
        tune_steps: Updates of the weights; by default 100.
        config: YAML file with the settings of the stages, such as configs/edit/invert/default.yaml.
        seed: Of all that is drawn.
    """

    stages: Annotated[str | None, Shown("LIST")] = None
    perceptual: Annotated[Perceptual, Shown(advanced=True)] = "auto"
    perceptual_weights: Annotated[str | None, Shown("PATH", advanced=True)] = None
    refine_steps: Annotated[int | None, Shown("N", advanced=True)] = None
    tune_steps: Annotated[int | None, Shown("N", advanced=True)] = None
    config: Annotated[str | None, Shown("YAML", advanced=True)] = None
    seed: Annotated[int | None, Shown("N")] = None


@dataclass(frozen=True, kw_only=True)
class InvertRequest(Framing, InversionChoice):
    """Photographs to be put into a model.

    Args:
        photos: Photographs, or folders of them; several get a folder each in OUT.
        model: Zoo name, model folder or file: .safetensors, run .ckpt, another program's .pkl or
            .pt.
        out: New or empty folder.
        max_seconds: Seconds a photograph at most, all stages together.
        wandb: auto is what WANDB_MODE says, else online where somebody is logged in, else offline.
        device: auto, cpu, cuda, cuda:1 or mps.
    """

    photos: Annotated[list[str], Shown("PHOTO", in_place=True)]
    model: Annotated[str, Shown("MODEL")]
    out: Annotated[str, Shown("PATH")]
    max_seconds: Annotated[float | None, Shown("SEC", advanced=True)] = None
    wandb: Annotated[WandbMode, Shown(advanced=True)] = "auto"
    device: Annotated[str, Shown("DEVICE", advanced=True)] = "auto"


@dataclass(frozen=True, kw_only=True)
class InvertReportRequest(InversionChoice):
    """A report of how well a model inverts photographs that its encoder never saw.

    Args:
        data: Folder or zip of the photographs that the encoder was trained on, or toycars.
        model: Zoo name, model folder or file: .safetensors, run .ckpt, another program's .pkl or
            .pt.
        out: New or empty folder, or one of the same report to go on with.
        held_out: Share of the photographs that the encoder's training did not see, as its
            data.held_out said; 0 if it saw none of them.
        count: Held-out photographs that go through all stages and baselines.
        stages: Of embed,refine,tune, in this order; all by default.
        editability: Also drag results there and back and edit them at random.
        crop: How photographs get the model's shape, as in the encoder's training.
        perceptual: How pictures are compared beside their pixels; see invert.
        config: YAML file with the settings of the stages.
        seed: Of every choice.
        device: auto, cpu, cuda, cuda:1 or mps.
    """

    data: Annotated[str, Shown("FOLDER")]
    model: Annotated[str, Shown("MODEL")]
    out: Annotated[str, Shown("PATH")]
    held_out: Annotated[float, Shown("SHARE")] = 0.1
    count: Annotated[int, Shown("N")] = 20
    editability: bool = True
    crop: Crop = "center"
    seed: Annotated[int, Shown("N")] = 0
    device: Annotated[str, Shown("DEVICE", advanced=True)] = "auto"

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UserError: Naming the field.
        """
        if not 0 <= self.held_out <= LARGEST_SHARE:
            raise UserError(
                f"{self.held_out:g}: give a share from 0 to {LARGEST_SHARE:g}", "held_out"
            )
        if self.count < 1:
            raise UserError(f"{self.count}: give at least 1", "count")
