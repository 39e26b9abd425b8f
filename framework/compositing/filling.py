"""Holes of photographs, filled: what is asked, what is seen while it is done, what comes out."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from framework.compositing.fill_registry import DEFAULT_METHOD, fill_method, fill_methods
from framework.compositing.photograph import Photograph
from framework.errors import UserError
from framework.settings import Settings

MOST_PATCH_PX = 31
_WINDOW = 1.0  # of the hole's longer side, around it: where patches come from
_LEAST_WINDOW_PX = 64


@dataclass(frozen=True)
class FillSettings(Settings):
    """How a hole is filled.

    Args:
        method: Name of a file in `framework/compositing/fill_methods`.
        patch_px: Side of a patch in pixels; an odd number.
        seed: Seed of random searches.
    """

    method: str = DEFAULT_METHOD
    patch_px: int = 7
    seed: int = 0

    def __post_init__(self) -> None:
        """Check all values.

        Raises:
            UserError: Naming the setting.
        """
        self._choice("method", fill_methods())
        self._whole("patch_px", least=3, most=MOST_PATCH_PX)
        self._whole("seed", most=2**32 - 1)
        if self.patch_px % 2 == 0:
            raise self._error("patch_px", "an odd number")


@dataclass(frozen=True, eq=False)
class FillStep:
    """A filling on its way.

    Args:
        picture: The picture so far, float32 (1, C, H, W); smaller than the whole on coarse levels.
        stage: What is done now, in words.
        step: Number of this step, from 1.
        steps: Number of the last one, as far as is known.
    """

    picture: Tensor
    stage: str
    step: int
    steps: int


class Filling:
    """A photograph and the hole in it.

    Only a window around the hole is looked at: as far again as the hole is long. The colours under
    transparency do not count; transparency itself is filled like a colour.

    Args:
        photo: The photograph: grey or colour, 8 or 16 bits, with or without transparency.
        mask: float32 (H, W), 1 where the photograph is to be made up.

    Raises:
        UserError: If the sizes differ, or the mask covers nothing or everything.
    """

    def __init__(self, photo: Photograph, mask: np.ndarray) -> None:
        hole = np.asarray(mask) > 0.5
        _check(photo.size, hole)
        self.photo, self.hole = photo, hole
        self._box = _window(hole)

    def steps(self, settings: FillSettings) -> Iterator[FillStep]:
        """Fill it; what any step shows can be kept (`filled`)."""
        part = replace(self.photo, levels=self.photo.levels[self._box])
        planes = (
            [part.on_white_levels()] if part.alpha is None else [part.on_white_levels(), part.alpha]
        )
        levels = torch.from_numpy(np.concatenate(planes, axis=2).astype(np.float32))
        picture = (levels * (2 / part.white) - 1).movedim(2, 0)[None].contiguous()
        yield from fill_method(settings.method)(
            picture, torch.from_numpy(self.hole[self._box].copy()), settings
        )

    def filled(self, step: FillStep) -> Photograph:
        """Return the photograph with a step's picture in its hole; all else is as it was."""
        hole, white = self.hole[self._box], self.photo.white
        part, size = step.picture, (hole.shape[0], hole.shape[1])
        if part.shape[2:] != size:
            part = F.interpolate(part, size, mode="bilinear")
        shown = ((part[0].movedim(0, 2).clamp(-1, 1) + 1) / 2).numpy()[hole]
        levels = self.photo.levels.copy()
        if self.photo.alpha is not None:  # on white a pixel is opaque * colour + 1 - opaque
            opaque = np.maximum(shown[:, -1:], 1 / white)
            shown[:, :-1] = (shown[:, :-1] - (1 - opaque)) / opaque
        levels[self._box][hole] = np.rint(shown.clip(0, 1) * white)
        return replace(self.photo, levels=levels)


def _check(size: tuple[int, int], hole: np.ndarray) -> None:
    """Refuse a hole that does not fit.

    Raises:
        UserError: If the sizes differ, or the hole is nothing or everything.
    """
    (height, width), (rows, columns) = size, hole.shape
    if (height, width) != (rows, columns):
        raise UserError(f"it has {columns}x{rows} px, the photograph {width}x{height}")
    if not hole.any():
        raise UserError("it is empty: paint white what is to be filled")
    if hole.all():
        raise UserError("it covers everything: nothing is left to fill from")


def _window(hole: np.ndarray) -> tuple[slice, slice]:
    """Return the rows and columns to look at."""
    ends = [np.flatnonzero(hole.any(axis=axis))[[0, -1]] for axis in (1, 0)]
    longest = max(int(last - first) + 1 for first, last in ends)
    reach = max(_LEAST_WINDOW_PX, round(_WINDOW * longest))
    rows, columns = (
        slice(max(0, int(first) - reach), int(last) + 1 + reach) for first, last in ends
    )
    return rows, columns
