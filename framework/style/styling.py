"""A photograph and the picture whose style it gets: what is worked on, and what comes out."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from framework.compositing.filling import FillStep
from framework.compositing.photograph import Photograph
from framework.media.images import to_float
from framework.style.carry import Carrier, strips
from framework.style.registry import style_method
from framework.style.settings import StyleNetworks, StyleSettings

_LEAST_SIDE_PX = 32  # of what is worked on: the features' network halves it four times
_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601


class Styling:
    """A photograph and the picture whose style it gets.

    Both are worked on at `settings.work_px`, neither enlarged but to 32 px a side; what is made is
    carried to the photograph's full size. The photograph's numbers are taken as they are
    and its colour profile stays, like its depth and transparency; a grey file stays grey.

    Args:
        photo: The photograph: grey or colour, 8 or 16 bits, with or without transparency.
        style: The style's picture, of any size and kind.
        settings: How.
    """

    def __init__(self, photo: Photograph, style: Photograph, settings: StyleSettings) -> None:
        self.photo, self.settings = photo, settings
        self._content = _worked(photo.shown(), settings.work_px)
        self._style = _worked(style.shown(), settings.work_px)

    @property
    def work_size(self) -> tuple[int, int]:
        """(height, width) at which the photograph is worked on."""
        return self._content.shape[2], self._content.shape[3]

    def steps(
        self, networks: StyleNetworks, device: torch.device | str = "cpu"
    ) -> Iterator[FillStep]:
        """Give it the style; what any step shows can be kept (`styled`)."""
        method = style_method(self.settings.method)
        content, style = self._content.to(device), self._style.to(device)
        yield from method.run(content, style, networks, self.settings)

    def styled(self, step: FillStep) -> Photograph:
        """Return the photograph with a step's style, in full size and of its own kind."""
        photo, made = self.photo, step.picture.cpu()
        small = F.adaptive_avg_pool2d(self._content, (made.shape[2], made.shape[3]))
        strokes = not style_method(self.settings.method).KEEPS_EDGES
        carrier = Carrier(small, made, strokes)
        shown, levels = photo.on_white_levels(), photo.levels.copy()
        for rows in strips(photo.size[0]):
            part = torch.from_numpy(shown[rows].astype(np.float32)).movedim(2, 0)[None]
            part = (part * (2 / photo.white) - 1).expand(-1, 3, -1, -1)
            full = (carrier.carried(part, rows, photo.size).clamp(-1, 1) + 1) / 2
            _put(levels[rows], full[0].movedim(0, 2).numpy(), photo)
        return replace(photo, levels=levels)


def _put(levels: np.ndarray, colours: np.ndarray, photo: Photograph) -> None:
    """Put colours, (rows, W, 3) in [0, 1] on white, into a photograph's own levels (rows, W, C).

    Colours that transparency hides stay, and transparency does.
    """
    channels = levels.shape[2] - (photo.alpha is not None)
    if channels == 1:
        colours = colours @ np.array(_GREY, np.float32)[:, None]
    if photo.alpha is not None:  # on white a pixel is opaque * colour + 1 - opaque
        opaque = levels[..., -1:] / np.float32(photo.white)
        colours = (colours - (1 - opaque)) / np.maximum(opaque, 1 / photo.white)
        colours = np.where(opaque > 0, colours, levels[..., :-1] / np.float32(photo.white))
    levels[..., :channels] = np.rint(colours.clip(0, 1) * photo.white)


def _worked(picture: np.ndarray, work_px: int) -> Tensor:
    """Turn a picture, uint8 (H, W, 3), into float32 (1, 3, h, w) in [-1, 1] that is worked on."""
    image = Image.fromarray(picture)
    factor = min(1.0, work_px / max(image.size))
    width, height = (max(_LEAST_SIDE_PX, round(side * factor)) for side in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    return to_float(np.array(image))[None]
