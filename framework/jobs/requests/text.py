"""What a person asks of a text. Needs no torch."""

from dataclasses import dataclass
from typing import Annotated

from framework.errors import UserError
from framework.fields import Shown
from framework.jobs.requests.drag import Paste, Seam
from framework.jobs.requests.framing import FRAMING, Framing
from framework.jobs.requests.pictures import MAX_SEED

_OF_PHOTOGRAPHS = ("stages", *FRAMING)
_MOST, _MOST_LOOKS, _MOST_STEPS, _MOST_STRENGTH = 64, 50, 10_000, 4.0


@dataclass(frozen=True, kw_only=True)
class TextRequest(Framing):
    """Pictures that a text describes.

    Args:
        text: What is to be seen, such as "a red car with big wheels". What it does not name is that
            of the picture that is changed.
        out: New or empty folder.
        model: Zoo name, model folder or file: .safetensors, run .ckpt, another program's .pkl or
            .pt; with `edit` by default the edit's, with an inverted image the image's.
        n: Pictures, of as many seeds; one where `image` or `edit` is changed.
        seed: Seed of the first picture that the text changes.
        image: Photograph to change, NAME.inv.safetensors (or the folder that invert or text wrote),
            or another program's latents: .pt, .npz, .npy, .safetensors.
        edit: edit.safetensors of a drag, whose last picture is changed.
        text_encoder: File or folder of the text encoder, as training writes it; by default the
            model folder's own text.safetensors.
        clip: File of CLIP's weights (open_clip's ViT-B-32; extra `clip`): the latents are optimised
            until CLIP finds the text in the picture, in place of a text encoder, and for any model.
        strength: Share of the way from the picture to what the text says; more than 1 exaggerates.
            With `clip` the weight of the text against the picture before.
        looks: Times that the image encoder looks at the result and corrects it.
        clip_steps: Steps of the optimisation with `clip`.
        pick: Which picture of a file with several latents: its name or its number, counted from 0;
            the last by default.
        paste: What of the edit goes back into the photograph: changed, only where it differs; box,
            all that the model sees; none, no pasted.png.
        photo: Photograph of an inverted image, where it does not lie beside it.
        stages: Of embed,refine,tune, which a photograph goes through; all by default.
        seam: How the edit meets the photograph: feather fades, gradient shifts colours until they
            agree, hard does neither.
        psi: Truncation of seeds' pictures: 1 the full variety, 0 the average picture.
        class_: Class of a model trained with labels, counted from 0.
        device: auto, cpu, cuda, cuda:1 or mps.
    """

    text: Annotated[str, Shown("TEXT", in_place=True)]
    out: Annotated[str, Shown("PATH")]
    model: Annotated[str | None, Shown("MODEL")] = None
    n: Annotated[int, Shown("N")] = 4
    seed: Annotated[int, Shown("N")] = 0
    image: Annotated[str | None, Shown("FILE")] = None
    edit: Annotated[str | None, Shown("FILE")] = None
    text_encoder: Annotated[str | None, Shown("FILE")] = None
    clip: Annotated[str | None, Shown("FILE")] = None
    strength: Annotated[float, Shown("SHARE")] = 1.0
    looks: Annotated[int, Shown("N", advanced=True)] = 4
    clip_steps: Annotated[int, Shown("N", advanced=True)] = 200
    pick: Annotated[str | None, Shown("N|NAME", advanced=True)] = None
    paste: Annotated[Paste, Shown(advanced=True)] = "changed"
    photo: Annotated[str | None, Shown("PHOTO", advanced=True)] = None
    stages: Annotated[str | None, Shown("LIST", advanced=True)] = None
    seam: Annotated[Seam, Shown(advanced=True)] = "feather"
    psi: Annotated[float, Shown("PSI", advanced=True)] = 0.7
    class_: Annotated[int | None, Shown("N", advanced=True)] = None
    device: Annotated[str, Shown("DEVICE", advanced=True)] = "auto"

    def __post_init__(self) -> None:
        """Check what goes together.

        Raises:
            UserError: Naming the field that is missing, wrong or too much.
        """
        super().__post_init__()
        if not self.text.strip():
            raise UserError("the text is empty; say what is to be seen, such as 'a red car'")
        if self.image is not None and self.edit is not None:
            raise UserError("`image` and `edit` given; give one of them, or none to begin with")
        if self.starts_with_seeds and self.model is None:
            raise UserError(": give a zoo name, a model folder or a file", "model")
        if self.clip is not None and self.text_encoder is not None:
            raise UserError("`clip` and `text_encoder` given; give one of them")
        if self.clip is not None and self.looks != TextRequest.looks:
            raise UserError(f"{self.looks}: not with `clip`, which takes `clip_steps`", "looks")
        if self.clip is None and self.clip_steps != TextRequest.clip_steps:
            raise UserError(f"{self.clip_steps}: only with `clip`", "clip_steps")
        _check("n", self.n, 1, _MOST)
        _check("clip_steps", self.clip_steps, 1, _MOST_STEPS)
        _check("seed", self.seed, 0, MAX_SEED - self.n)
        _check("looks", self.looks, 1, _MOST_LOOKS)
        if not 0 < self.strength <= _MOST_STRENGTH:
            raise UserError(
                f"{self.strength:g}: give a number above 0, up to {_MOST_STRENGTH:g}", "strength"
            )
        for name in (*_OF_PHOTOGRAPHS, "photo", "pick"):
            value, of_edit = getattr(self, name), self.edit is not None and name == "photo"
            if value is not None and self.image is None and not of_edit:
                raise UserError(f"{value}: only with `image`", name)

    @property
    def starts_with_seeds(self) -> bool:
        """Whether pictures of seeds are changed, and no picture was given."""
        return self.image is None and self.edit is None


def _check(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise UserError(f"{value}: give {least} to {most}", name)
