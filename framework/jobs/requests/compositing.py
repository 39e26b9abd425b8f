"""What a person asks around the drag: filled holes. Needs no torch."""

from dataclasses import dataclass
from typing import Annotated

from framework.compositing.fill_registry import DEFAULT_METHOD, fill_methods
from framework.errors import UserError
from framework.fields import Shown
from framework.jobs.requests.pictures import MAX_SEED

MOST_PATCH_PX = 31


@dataclass(frozen=True, kw_only=True)
class FillRequest:
    """A photograph whose hole is filled from the rest of it.

    Args:
        photo: Picture file: grey or colour, 8 or 16 bits, with or without transparency.
        mask: Picture of the same size, painted white where the photograph is to be made up.
        out: New or empty folder.
        method: How: the name of a file in framework/compositing/fill_methods.
        patch: Side in pixels of the patches that are compared; an odd number.
        seed: Seed of random searches.
    """

    photo: Annotated[str, Shown("PHOTO", in_place=True)]
    mask: Annotated[str, Shown("PATH")]
    out: Annotated[str, Shown("PATH")]
    method: Annotated[str, Shown("NAME")] = DEFAULT_METHOD
    patch: Annotated[int, Shown("PX", advanced=True)] = 7
    seed: Annotated[int, Shown("SEED", advanced=True)] = 0

    def __post_init__(self) -> None:
        """Check method, patch and seed.

        Raises:
            UserError: Naming the field.
        """
        if self.method not in fill_methods():
            raise UserError(f"{self.method}: expected one of {', '.join(fill_methods())}", "method")
        check_patch(self.patch)
        check_seed(self.seed)


def check_patch(side: int) -> None:
    """Refuse the side of a patch that is even, too small or too large."""
    if not (3 <= side <= MOST_PATCH_PX and side % 2):
        raise UserError(f"{side}: give an odd number from 3 to {MOST_PATCH_PX}", "patch")


def check_seed(seed: int) -> None:
    """Refuse a seed that no generator of random numbers takes."""
    if not 0 <= seed <= MAX_SEED:
        raise UserError(f"{seed}: give 0 to {MAX_SEED}", "seed")
