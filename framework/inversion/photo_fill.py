"""A hole in a photograph filled by a generator: what a model makes of it, put into the rest."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import binary_dilation

from framework.compositing.colours import colour_map
from framework.compositing.filling import FillStep
from framework.compositing.geometry import Geometry, to_canvas, valid_mask
from framework.compositing.photograph import Photograph
from framework.compositing.poisson import blend, interpolate
from framework.compositing.scales import Holed, membrane_in
from framework.errors import UserError
from framework.inversion.prior_fill import PriorFillSettings, fill_by_prior
from framework.media.images import to_float, to_uint8
from framework.media.modes import WHITE
from framework.models.encoders.style_encoder import StyleEncoder
from framework.models.features.distance import Distance
from framework.models.stylegan2 import Generator
from framework.models.stylegan2.statistics import style_statistics

_RING_PX = 6  # of the model's picture, around the hole: whose colours the filling gets
_SMOOTH_MARGIN_PX = 64  # of the photograph, around the hole: what its smooth colours are from
_MARGIN_PX = 2  # of the photograph, around the hole: what Poisson blending continues from


class Painter(NamedTuple):
    """A model that makes pictures up, all on one device.

    Attributes:
        generator: The frozen generator.
        distance: Perceptual distance; None for pixels alone.
        encoder: Encoder for the first guess; None begins at the mean picture.
    """

    generator: Generator
    distance: Distance | None = None
    encoder: StyleEncoder | None = None


class PriorFilling:
    """A photograph, the hole in it, and the model that fills it.

    Args:
        photo: The photograph.
        mask: float32 (H, W), 1 where the photograph is to be made up.
        by: The model, and what it needs to be inverted.
        geometry: Place of the photograph on the model's picture.

    Raises:
        UserError: If the sizes differ, the mask covers nothing or everything, or the model does not
            see the hole with something around it.
    """

    def __init__(
        self, photo: Photograph, mask: np.ndarray, by: Painter, geometry: Geometry
    ) -> None:
        self.photo, self.hole, self._by = photo, np.asarray(mask) > 0.5, by
        self._geometry = geometry
        if self.hole.shape != photo.size:
            (rows, columns), (high, wide) = self.hole.shape, photo.size
            raise UserError(f"it has {columns}x{rows} px, the photograph {wide}x{high}")
        if not self.hole.any():
            raise UserError("it is empty: paint white what is to be filled")
        levels = (WHITE * self.hole).astype(np.uint8)[..., None]
        whole = replace(geometry, pad_colour=(0, 0, 0), fill="colour")
        self._canvas_hole = to_canvas(levels, whole)[..., 0] > 0
        self._valid = valid_mask(geometry) > 0
        if self._outside() or not (self._valid & ~self._canvas_hole).any():
            raise UserError(
                "the model must see all of the hole and something around it; give another `box`"
            )

    def steps(self, settings: PriorFillSettings | None = None) -> Iterator[FillStep]:
        """Fill it; what any step shows can be kept (`filled`)."""
        by = self._by
        smooth = interpolate(self._seen.astype(np.float64), self._canvas_hole)
        pixels = np.rint(smooth).clip(0, WHITE).astype(np.uint8)
        device = next(by.generator.parameters()).device
        steps = fill_by_prior(
            by.generator,
            to_float(pixels[None]).to(device),
            torch.from_numpy(self._canvas_hole),
            by.distance,
            settings or PriorFillSettings(),
            encoder=by.encoder,
            statistics=style_statistics(by.generator),
            valid=torch.from_numpy(self._valid),
        )
        for step in steps:
            yield FillStep(step.picture.cpu(), step.stage, step.step + 1, step.steps + 1)

    def filled(self, step: FillStep) -> Photograph:
        """Return the photograph with a step's picture in its hole; all else is as it was.

        The picture gets the colours that the photograph has around the hole, and meets it there by
        its gradients.
        """
        made = to_uint8(step.picture)[0].astype(np.float64)
        near: np.ndarray = np.asarray(binary_dilation(self._canvas_hole, iterations=_RING_PX), bool)
        ring = near & ~self._canvas_hole & self._valid
        if ring.any():
            made = colour_map(made[ring], self._seen[ring])(made)
        edited = np.rint(made).clip(0, WHITE).astype(np.uint8)
        pasted = self.photo.pasted(edited, self._geometry, seam="hard")
        box, levels = self._around(_MARGIN_PX), self.photo.levels.copy()
        hole = self.hole[box]
        blended = pasted.levels[box] if hole.all() else blend(levels[box], pasted.levels[box], hole)
        levels[box][hole] = np.rint(blended[hole]).clip(0, self.photo.white)
        return replace(self.photo, levels=levels)

    @cached_property
    def _seen(self) -> np.ndarray:
        """The photograph as the model sees it, its hole smooth, uint8 (H, W, C).

        Resampling looks around each pixel: what the hole showed must not shine through.
        """
        box, levels = self._around(_SMOOTH_MARGIN_PX), self.photo.levels.copy()
        part = torch.from_numpy(levels[box].astype(np.float32)).movedim(2, 0)[None]
        hole = self.hole[box]
        if not hole.all():
            smooth = membrane_in(Holed(part, torch.from_numpy(hole.copy())))[0].movedim(0, 2)
            levels[box][hole] = np.rint(smooth.numpy()[hole]).clip(0, self.photo.white)
        smoothed = replace(self.photo, levels=levels)
        return smoothed.canvas(self._geometry, self._by.generator.img_channels)

    def _around(self, margin_px: int) -> tuple[slice, slice]:
        """Return rows and columns of the hole and so many pixels around it."""
        rows, columns = (
            slice(max(0, int(ends[0]) - margin_px), int(ends[-1]) + 1 + margin_px)
            for ends in (np.flatnonzero(self.hole.any(axis=axis)) for axis in (1, 0))
        )
        return rows, columns

    def _outside(self) -> bool:
        """Whether some of the hole is beyond what the model sees."""
        y, x = np.nonzero(self.hole)
        at = self._geometry.to_canvas_points([(x.min(), y.min()), (x.max(), y.max())])
        left, top, right, bottom = self._geometry.valid_box
        low, high = np.array([left, top]) - 0.5, np.array([right, bottom]) - 0.5
        return bool(((at < low) | (at > high)).any())
