"""What is painted on a model's picture, filled in the photograph that the picture is of."""

from pathlib import Path

import numpy as np

from framework.compositing.filling import Filling, FillSettings, FillStep
from framework.compositing.geometry import Geometry, fit_geometry, to_photo_mask
from framework.compositing.photograph import Photograph
from framework.errors import UserError
from framework.jobs.paste import OpenImage
from framework.jobs.photograph import Photo, check_channels, framed_photo
from framework.models.stylegan2 import Generator
from framework.ops.compiled import use_if_built

_NAME = "filled.png"


class PaintedFilling:
    """A hole painted on a model's picture, on its way to be filled.

    The hole is filled in the photograph, with the edit in its place, and not in the model's small
    picture of it. A picture that is of no photograph is one itself.

    Args:
        generator: The model.
        picture: Its picture, uint8 (H, W, C).
        inverted: The inverted image that the picture is, or began as; None if it is of a seed.
        mask: What is to be filled, (H, W), above 0.5 inside; None if nothing is painted.
        method: Name of a way to fill; None for the usual one.

    Raises:
        UserError: If nothing is painted, or everything, or there is no such method.
    """

    def __init__(
        self,
        generator: Generator,
        picture: np.ndarray,
        inverted: OpenImage | None,
        mask: np.ndarray | None,
        method: str | None = None,
    ) -> None:
        if mask is None:
            raise UserError("nothing is painted: paint over what is to be filled", "mask")
        check_channels(generator)
        settings = FillSettings() if method is None else FillSettings(method=method)
        self._generator = generator
        photo, self._geometry = _whole(picture, inverted)
        hole = to_photo_mask(mask, self._geometry)
        if hole.all():
            raise UserError("it covers everything: nothing is left to fill from", "mask")
        self._filling = Filling(photo, hole.astype(np.float32))
        use_if_built("nearest_patches")  # drags stay the command line's, bit for bit
        self.steps = self._filling.steps(settings)

    def seen(self, step: FillStep) -> np.ndarray:
        """Return the model's view of a step's photograph, uint8 (H, W, C)."""
        return self._filling.filled(step).canvas(self._geometry, self._generator.img_channels)

    def saved(self, step: FillStep, folder: Path) -> Photo:
        """Write a step's photograph into a folder, and return it as a model sees it."""
        filled = self._filling.filled(step)
        filled.save(folder / _NAME)
        return framed_photo(folder / _NAME, filled, self._geometry, self._generator)


def _whole(picture: np.ndarray, inverted: OpenImage | None) -> tuple[Photograph, Geometry]:
    """Return the photograph with a picture in its place, and that place."""
    if inverted is not None and (geometry := inverted.image.geometry) is not None:
        pasted = inverted.pasted(picture, "changed", "feather")
        if pasted is not None:
            return pasted, geometry
    size = picture.shape[0], picture.shape[1]
    return Photograph(picture), fit_geometry(size, size)
