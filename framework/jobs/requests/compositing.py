"""What a person asks around the drag: filled holes, textures, style. Needs no torch."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from framework.compositing.fill_registry import DEFAULT_METHOD, fill_methods
from framework.errors import UserError
from framework.fields import Shown
from framework.jobs.requests.framing import FRAMING, Framing
from framework.jobs.requests.pictures import MAX_SEED
from framework.style.registry import (
    BY_DECODER,
    LEAST_WORK_PX,
    MOST_STEPS,
    MOST_STRENGTH,
    MOST_WORK_PX,
    style_methods,
)
from framework.style.registry import DEFAULT_METHOD as DEFAULT_STYLE

MOST_PATCH_PX = 31
BY_MODEL = "gan"
METHODS = (*fill_methods(), BY_MODEL)
MOST_SIDE_PX = 4096
TextureMethod = Literal["quilting", "field", "pixels"]


@dataclass(frozen=True, kw_only=True)
class FillRequest(Framing):
    """A photograph whose hole is filled from the rest of it, or by a model of such pictures.

    Args:
        photo: Picture file: grey or colour, 8 or 16 bits, with or without transparency.
        mask: Picture of the same size, painted white where the photograph is to be made up.
        out: New or empty folder.
        method: How: the name of a file in framework/compositing/fill_methods, or gan: by a model,
            inverted with the inside of the mask free.
        model: Zoo name, model folder or file, for gan.
        patch: Side in pixels of the patches that are compared; an odd number.
        seed: Seed of random searches.
        crop: How the photograph gets the shape of the model's pictures, see invert; for gan, as all
            that follows.
        box: Part of the photograph that the model sees, "left,top,right,bottom" in its pixels; the
            largest central one by default. It must hold the hole and something around it.
        rotate: Degrees by which the photograph is turned counter-clockwise, see invert.
        align: Two points of the photograph, "x,y:x,y", laid where `align_to` says, see invert.
        align_to: Two points "x,y:x,y" of the model's picture, see invert.
        device: auto, cpu, cuda, cuda:1 or mps.
    """

    photo: Annotated[str, Shown("PHOTO", in_place=True)]
    mask: Annotated[str, Shown("PATH")]
    out: Annotated[str, Shown("PATH")]
    method: Annotated[str, Shown("NAME")] = DEFAULT_METHOD
    model: Annotated[str | None, Shown("MODEL")] = None
    patch: Annotated[int, Shown("PX", advanced=True)] = 7
    seed: Annotated[int, Shown("SEED", advanced=True)] = 0
    device: Annotated[str, Shown("DEVICE", advanced=True)] = "auto"

    def __post_init__(self) -> None:
        """Check method, patch, seed, and what goes with which method.

        Raises:
            UserError: Naming the field.
        """
        super().__post_init__()
        if self.method not in METHODS:
            raise UserError(f"{self.method}: expected one of {', '.join(METHODS)}", "method")
        if self.method == BY_MODEL and self.model is None:
            raise UserError(": give the model that fills: a zoo name, a folder or a file", "model")
        for name in () if self.method == BY_MODEL else ("model", *FRAMING):
            if getattr(self, name) is not None:
                raise UserError(f"{getattr(self, name)}: only with `method` {BY_MODEL}", name)
        check_patch(self.patch)
        check_seed(self.seed)


@dataclass(frozen=True, kw_only=True)
class TextureRequest:
    """More of a texture.

    Args:
        exemplar: Picture file of the texture, of any size.
        out: New or empty folder.
        size: Width and height of the result, such as 512x512; by default twice the exemplar's.
        method: quilting lays blocks that are cut where they differ least, field lets patches
            agree, pixels grows the texture pixel by pixel (slow).
        patch: Side in pixels of blocks, patches or of the window; an odd number. By default 25 for
            quilting, 9 for field, 11 for pixels.
        seed: Seed of the choice among what fits.
    """

    exemplar: Annotated[str, Shown("EXEMPLAR", in_place=True)]
    out: Annotated[str, Shown("PATH")]
    size: Annotated[str | None, Shown("WxH")] = None
    method: TextureMethod = "quilting"
    patch: Annotated[int | None, Shown("PX", advanced=True)] = None
    seed: Annotated[int, Shown("SEED", advanced=True)] = 0

    def __post_init__(self) -> None:
        """Check size, patch and seed.

        Raises:
            UserError: Naming the field.
        """
        _ = self.pixels
        if self.patch is not None:
            check_patch(self.patch)
        check_seed(self.seed)

    @property
    def pixels(self) -> tuple[int, int] | None:
        """(height, width) of the result; None for twice the exemplar's."""
        if self.size is None:
            return None
        match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", self.size)
        width, height = (int(match[1]), int(match[2])) if match else (0, 0)
        if not (1 <= width <= MOST_SIDE_PX and 1 <= height <= MOST_SIDE_PX):
            raise UserError(
                f"{self.size!r}: give width x height such as 512x512, each at most {MOST_SIDE_PX}",
                "size",
            )
        return height, width


@dataclass(frozen=True, kw_only=True)
class TransferRequest:
    """A photograph in the texture, or in the manner, of another picture.

    Args:
        photo: Picture file that is drawn anew.
        texture: Picture file of the texture, of any size.
        out: New or empty folder.
        before: What the texture's picture was made from, pixel on pixel. Then the photograph gets
            what was done there (an image analogy); without it only light and dark correspond.
        likeness: How much the photograph counts against the texture's own continuity.
        patch: Side in pixels of the patches that are compared; an odd number.
        seed: Seed of random searches.
    """

    photo: Annotated[str, Shown("PHOTO", in_place=True)]
    texture: Annotated[str, Shown("PATH")]
    out: Annotated[str, Shown("PATH")]
    before: Annotated[str | None, Shown("PATH")] = None
    likeness: float = 2.0
    patch: Annotated[int, Shown("PX", advanced=True)] = 5
    seed: Annotated[int, Shown("SEED", advanced=True)] = 0

    def __post_init__(self) -> None:
        """Check numbers.

        Raises:
            UserError: Naming the field.
        """
        if not 0 <= self.likeness <= 100:
            raise UserError(f"{self.likeness:g}: give 0 to 100", "likeness")
        check_patch(self.patch)
        check_seed(self.seed)


@dataclass(frozen=True, kw_only=True)
class StyleRequest:
    """A photograph in the manner of another picture.

    Args:
        content: Picture file that is drawn anew: grey or colour, 8 or 16 bits, with or without
            transparency.
        style: Picture file whose manner it gets, of any size and kind.
        out: New or empty folder.
        method: How: gatys optimises pixels, photo does so within the photograph's edges, adain
            decodes features in one pass.
        strength: Weight of the style: 0 is the photograph, 1 is usual; more, to 10, counts only for
            gatys and photo.
        decoder: Folder that the training of a decoder wrote, for adain.
        work: Longer side in pixels at which both are worked on, at most; the result has the
            photograph's full size.
        steps: Steps at each size, coarse to fine.
        device: auto, cpu, cuda, cuda:1 or mps.
    """

    content: Annotated[str, Shown("CONTENT", in_place=True)]
    style: Annotated[str, Shown("PATH")]
    out: Annotated[str, Shown("PATH")]
    method: Annotated[str, Shown("NAME")] = DEFAULT_STYLE
    strength: float = 1.0
    decoder: Annotated[str | None, Shown("PATH")] = None
    work: Annotated[int, Shown("PX", advanced=True)] = 512
    steps: Annotated[int, Shown("N", advanced=True)] = 40
    device: Annotated[str, Shown("DEVICE", advanced=True)] = "auto"

    def __post_init__(self) -> None:
        """Check method and numbers.

        Raises:
            UserError: Naming the field.
        """
        if self.method not in style_methods():
            methods = ", ".join(style_methods())
            raise UserError(f"{self.method}: expected one of {methods}", "method")
        if self.method == BY_DECODER and self.decoder is None:
            raise UserError(": give the folder that training wrote; docs/compositing.md", "decoder")
        if self.method != BY_DECODER and self.decoder is not None:
            raise UserError(f"{self.decoder}: only with `method` {BY_DECODER}", "decoder")
        if not 0 <= self.strength <= MOST_STRENGTH:
            raise UserError(f"{self.strength:g}: give 0 to {MOST_STRENGTH}", "strength")
        if not LEAST_WORK_PX <= self.work <= MOST_WORK_PX:
            raise UserError(f"{self.work}: give {LEAST_WORK_PX} to {MOST_WORK_PX}", "work")
        if not 1 <= self.steps <= MOST_STEPS:
            raise UserError(f"{self.steps}: give 1 to {MOST_STEPS}", "steps")


def check_patch(side: int) -> None:
    """Refuse the side of a patch that is even, too small or too large."""
    if not (3 <= side <= MOST_PATCH_PX and side % 2):
        raise UserError(f"{side}: give an odd number from 3 to {MOST_PATCH_PX}", "patch")


def check_seed(seed: int) -> None:
    """Refuse a seed that no generator of random numbers takes."""
    if not 0 <= seed <= MAX_SEED:
        raise UserError(f"{seed}: give 0 to {MAX_SEED}", "seed")
