"""What a person asks to be drawn from a sketch or from labels. Needs no torch."""

from dataclasses import dataclass
from typing import Annotated

from framework.errors import UserError
from framework.fields import Shown
from framework.jobs.requests.compositing import check_seed
from framework.jobs.requests.pictures import Steered

MOST_DRAWN = 64


@dataclass(frozen=True, kw_only=True)
class ConditionRequest(Steered):
    """Pictures drawn from a condition.

    Args:
        model: A StyleGAN2 with an encoder of such inputs (zoo name, model folder or file), or the
            folder of a translation.
        out: New or empty folder.
        n: Pictures, which differ in what the input leaves open.
        encoder: File of the encoder, or its folder, where the model folder holds none.
        text: What else is to be seen, such as "a red car under a clear sky": the input decides the
            shape, the text changes what it names; of a StyleGAN2.
        text_encoder: File or folder of the text encoder, as training writes it; by default the
            model folder's own text.safetensors.
        style_seed: Seed of a picture whose styles the layers of `layers` take; of a StyleGAN2.
        layers: Groups of layers (pose, shape, colour, detail) or numbers such as 0-2,5.
        style: Picture whose style all take, of a translation that reads one (SPADE).
        psi: Truncation: 1 the full variety, 0 what is most likely.
        seed: Seed of what the input leaves open.
        device: auto, cpu, cuda, cuda:1 or mps.
    """

    model: Annotated[str, Shown("MODEL")]
    out: Annotated[str, Shown("PATH")]
    n: Annotated[int, Shown("N")] = 4
    encoder: Annotated[str | None, Shown("FILE")] = None
    text: Annotated[str | None, Shown("TEXT")] = None
    text_encoder: Annotated[str | None, Shown("FILE", advanced=True)] = None
    style_seed: Annotated[int | None, Shown("N")] = None
    layers: Annotated[str | None, Shown("LAYERS")] = None
    style: Annotated[str | None, Shown("PICTURE")] = None
    psi: Annotated[float, Shown("PSI", advanced=True)] = 0.7
    seed: Annotated[int, Shown("SEED", advanced=True)] = 0
    device: Annotated[str, Shown("DEVICE", advanced=True)] = "auto"

    def __post_init__(self) -> None:
        """Check numbers, and what goes together.

        Raises:
            UserError: Naming the field.
        """
        super().__post_init__()
        if not 1 <= self.n <= MOST_DRAWN:
            raise UserError(f"{self.n}: give 1 to {MOST_DRAWN}", "n")
        check_seed(self.seed)
        if (self.style_seed is None) != (self.layers is None):
            raise UserError("`style_seed` and `layers` belong together; give both")
        if self.text is not None and not self.text.strip():
            raise UserError(": is empty; say what is to be seen, such as 'a red car'", "text")
        if self.text_encoder is not None and self.text is None:
            raise UserError(f"{self.text_encoder}: only with `text`", "text_encoder")

    @property
    def of_stylegan(self) -> list[str]:
        """The fields that are given and mean something to a StyleGAN2 alone."""
        values = {"style_seed": self.style_seed, "encoder": self.encoder, "text": self.text}
        given = [name for name, value in values.items() if value is not None]
        return [*given, *(["direction"] if self.direction else [])]


@dataclass(frozen=True, kw_only=True)
class FromSketchRequest(ConditionRequest):
    """Pictures drawn from a sketch.

    Args:
        sketch: Picture file of the sketch, dark lines on white, of any size.
    """

    sketch: Annotated[str, Shown("SKETCH", in_place=True)]


@dataclass(frozen=True, kw_only=True)
class FromLabelRequest(ConditionRequest):
    """Pictures drawn from a map of labels.

    Args:
        labels: PNG with a number a pixel: a palette's, or levels of grey.
    """

    labels: Annotated[str, Shown("LABELS", in_place=True)]
