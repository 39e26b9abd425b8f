"""What a person asks of layers and directions. Needs no torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from framework.errors import UserError
from framework.fields import Shown
from framework.jobs.requests.drag import Paste, Seam
from framework.jobs.requests.framing import FRAMING, Framing
from framework.jobs.requests.pictures import Steered, parse_seeds

Method = Literal["pca", "sefa", "measured"]
METHODS: tuple[Method, ...] = ("pca", "sefa", "measured")
STARTS = ("seed", "image", "edit")
_OF_PHOTOGRAPHS = ("stages", *FRAMING)
_MOST, _MOST_VARIANTS, _MOST_SAMPLES = 64, 64, 100_000


@dataclass(frozen=True, kw_only=True)
class LayersRequest:
    """What each layer of a model draws.

    Args:
        model: Zoo name, model folder or file: .safetensors, run .ckpt, another program's .pkl or
            .pt.
        out: New or empty folder.
        pairs: Pairs of pictures that are compared.
        psi: Truncation of the pictures: 1 the full variety, 0 the average picture.
        seed: Seed of all pictures.
        device: auto, cpu, cuda, cuda:1 or mps.
    """

    model: Annotated[str, Shown("MODEL")]
    out: Annotated[str, Shown("PATH")]
    pairs: Annotated[int, Shown("N")] = 32
    psi: Annotated[float, Shown("PSI", advanced=True)] = 0.7
    seed: Annotated[int, Shown("N", advanced=True)] = 0
    device: Annotated[str, Shown("DEVICE", advanced=True)] = "auto"

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UserError: Naming the field.
        """
        _check("pairs", self.pairs, 1, 10_000)
        _check("seed", self.seed, 0, 2**32 - 1)


@dataclass(frozen=True, kw_only=True)
class DirectionsRequest:
    """Directions to be found in a model.

    Args:
        model: Zoo name, model folder or file: .safetensors, run .ckpt, another program's .pkl or
            .pt.
        out: New or empty folder.
        methods: Of pca (the spread of w), sefa (the weights of each group of layers) and measured
            (brightness, contrast, red, blue, saturation, measured on pictures).
        count: Directions that pca, and sefa for each group, give.
        attributes: CSV or JSON with a row for each picture: seed (or name, with `latents`) and
            attributes, which are numbers, yes and no, or words.
        latents: File with the latents of the pictures that `attributes` are of, by name or number.
        factor: factor.pt of rosinality's closed_form_factorization.py, whose directions are added.
        texts: Directions from one text to another, of a model with a text encoder, as
            "tall=a low car|a tall car".
        seeds: Seeds of the pictures in the table.
        psi: Truncation of pictures, those of `attributes` too.
        samples: Pictures that are measured.
        class_: Class of a model trained with labels, counted from 0.
        seed: Seed of what is drawn to measure.
        device: auto, cpu, cuda, cuda:1 or mps.
    """

    model: Annotated[str, Shown("MODEL")]
    out: Annotated[str, Shown("PATH")]
    methods: Annotated[tuple[str, ...], Shown("METHOD")] = METHODS
    count: Annotated[int, Shown("N")] = 4
    attributes: Annotated[str | None, Shown("FILE")] = None
    latents: Annotated[str | None, Shown("FILE")] = None
    factor: Annotated[str | None, Shown("FILE")] = None
    texts: Annotated[tuple[str, ...], Shown("NAME=TEXT|TEXT")] = ()
    seeds: Annotated[str, Shown("LIST", advanced=True)] = "1,2"
    psi: Annotated[float, Shown("PSI", advanced=True)] = 0.7
    samples: Annotated[int, Shown("N", advanced=True)] = 1000
    class_: Annotated[int | None, Shown("N", advanced=True)] = None
    seed: Annotated[int, Shown("N", advanced=True)] = 0
    device: Annotated[str, Shown("DEVICE", advanced=True)] = "auto"

    def __post_init__(self) -> None:
        """Check numbers and names.

        Raises:
            UserError: Naming the field.
        """
        for method in self.methods:
            if method not in METHODS:
                raise UserError(f"{method}: give of {', '.join(METHODS)}", "methods")
        _check("count", self.count, 1, _MOST)
        _check("samples", self.samples, 20, _MOST_SAMPLES)
        _check("seed", self.seed, 0, 2**32 - 1)
        if len(parse_seeds(self.seeds)) > _MOST:
            raise UserError(f"{self.seeds}: more than {_MOST} for a table", "seeds")
        if self.latents is not None and self.attributes is None:
            raise UserError(f"{self.latents}: only with `attributes`", "latents")


@dataclass(frozen=True, kw_only=True)
class EditRequest(Steered, Framing):
    """One picture changed along directions, or by another picture's layers.

    Args:
        out: New or empty folder.
        model: Zoo name, model folder or file: .safetensors, run .ckpt, another program's .pkl or
            .pt; with `edit` by default the edit's, with an inverted image the image's.
        seed: Seed of the picture.
        image: Photograph, NAME.inv.safetensors (or the folder that invert wrote), or another
            program's latents: .pt, .npz, .npy, .safetensors.
        edit: edit.safetensors of a drag: its last picture.
        style_seed: Seed of a picture whose styles the layers of `layers` take.
        layers: Groups of layers (pose, shape, colour, detail, all) or numbers such as 0-2,5.
        variants: Also draw so many pictures in which the layers that nothing changed are those of
            other seeds.
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

    out: Annotated[str, Shown("PATH")]
    model: Annotated[str | None, Shown("MODEL")] = None
    seed: Annotated[int | None, Shown("N")] = None
    image: Annotated[str | None, Shown("FILE")] = None
    edit: Annotated[str | None, Shown("FILE")] = None
    style_seed: Annotated[int | None, Shown("N")] = None
    layers: Annotated[str | None, Shown("LAYERS")] = None
    variants: Annotated[int, Shown("N")] = 0
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
        Steered.__post_init__(self)
        Framing.__post_init__(self)
        starts = [name for name in STARTS if getattr(self, name) is not None]
        if len(starts) != 1:
            chosen = " and ".join(f"`{name}`" for name in starts) or "none"
            raise UserError(f"give one of `seed`, `image` and `edit` to start from; {chosen} given")
        if self.seed is not None and self.model is None:
            raise UserError(": give a zoo name, a model folder or a file", "model")
        if not self.direction and self.style_seed is None:
            raise UserError("give `direction` NAME=VALUE, or `style_seed` with `layers`")
        if (self.style_seed is None) != (self.layers is None):
            raise UserError("`style_seed` and `layers` belong together; give both")
        _check("variants", self.variants, 0, _MOST_VARIANTS)
        for name in (*_OF_PHOTOGRAPHS, "photo", "pick"):
            value, of_edit = getattr(self, name), self.edit is not None and name == "photo"
            if value is not None and self.image is None and not of_edit:
                raise UserError(f"{value}: only with `image`", name)


def _check(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise UserError(f"{value}: give {least} to {most}", name)
