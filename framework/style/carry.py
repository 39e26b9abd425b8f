"""A small picture that was made of a photograph, carried to the photograph's full size.

Around each pixel what was made is taken for an affine map of the photograph's colours (the guided
filter of He et al. 2010, for colours section 3.4; on a small picture, He and Sun 2015). The maps
are smooth, so they can be enlarged, and the full photograph goes through them with all its edges.
What they do not explain, a brush's strokes, is enlarged as it is, and added if it is wanted.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

_RADIUS_PX = 4  # of the windows
_EPSILON = 1e-3  # variance of colours that counts as flat, of [-1, 1]
_STRIP_PX = 256  # rows at once


class Carrier:
    """The maps from a small photograph to what was made of it.

    Args:
        content: The small photograph, float32 (1, 3, h, w) in [-1, 1].
        made: What was made of it, of the same size.
        strokes: Whether to add what the maps do not explain.
    """

    def __init__(self, content: Tensor, made: Tensor, strokes: bool) -> None:
        turn, shift = affine_maps(content, made)
        self._maps = torch.cat([turn.flatten(1, 2), shift], dim=1)
        self._rest = made - mapped(self._maps, content) if strokes else torch.zeros_like(made)

    def carried(self, part: Tensor, rows: slice, size: tuple[int, int]) -> Tensor:
        """Return some rows of what was made, at the photograph's full size.

        Args:
            part: These rows of the photograph, float32 (1, 3, rows, W).
            rows: Which they are.
            size: (H, W) of the photograph.
        """
        large = _enlarged(torch.cat([self._maps, self._rest], dim=1), rows, size)
        return mapped(large[:, :12], part) + large[:, 12:]


def strips(height: int) -> Iterator[slice]:
    """Cut rows into strips, so that large photographs fit in memory."""
    for top in range(0, height, _STRIP_PX):
        yield slice(top, min(height, top + _STRIP_PX))


def affine_maps(content: Tensor, made: Tensor) -> tuple[Tensor, Tensor]:
    """Return around each pixel the affine map of colours that is nearest to what was made.

    Args:
        content: (1, 3, h, w).
        made: (1, 3, h, w).

    Returns:
        Matrices (1, 3, 3, h, w), made by content channels, and shifts (1, 3, h, w).
    """
    mean, of_made = _mean(content), _mean(made)
    products = _mean((content[:, :, None] * content[:, None]).flatten(1, 2)).unflatten(1, (3, 3))
    crossed = _mean((made[:, :, None] * content[:, None]).flatten(1, 2)).unflatten(1, (3, 3))
    variance = (products - mean[:, :, None] * mean[:, None]).permute(0, 3, 4, 1, 2)
    shared = (crossed - of_made[:, :, None] * mean[:, None]).permute(0, 3, 4, 1, 2)
    flat = _EPSILON * torch.eye(3, dtype=content.dtype, device=content.device)
    # The matrix is symmetric, so turn = shared @ inverse is the solution's transpose.
    turn = torch.linalg.solve(variance + flat, shared.transpose(3, 4)).permute(0, 4, 3, 1, 2)
    shift = of_made - (turn * mean[:, None]).sum(dim=2)
    return _mean(turn.flatten(1, 2)).unflatten(1, (3, 3)), _mean(shift)


def mapped(maps: Tensor, content: Tensor) -> Tensor:
    """Put colours (1, 3, h, w) through maps (1, 12, h, w): nine of a matrix, three of a shift."""
    turn = maps[:, :9].unflatten(1, (3, 3))
    return (turn * content[:, None]).sum(dim=2) + maps[:, 9:]


def _mean(values: Tensor) -> Tensor:
    """The mean in a window around each pixel, of those inside the picture."""
    side = 2 * _RADIUS_PX + 1
    return F.avg_pool2d(values, side, 1, _RADIUS_PX, count_include_pad=False)


def _enlarged(values: Tensor, rows: slice, size: tuple[int, int]) -> Tensor:
    """Some rows of values (1, C, h, w) enlarged to a size, linearly, as if it were done whole."""
    height, width = values.shape[2], size[1]
    y = torch.arange(rows.start, rows.stop, device=values.device)
    y = (y + 0.5) * (height / size[0]) - 0.5
    y = y.clamp(0, height - 1)
    above = y.floor().long().clamp(max=max(0, height - 2))
    below = (above + 1).clamp(max=height - 1)
    share = (y - above)[:, None]
    lines = torch.lerp(values[:, :, above], values[:, :, below], share)
    return F.interpolate(lines, (len(y), width), mode="bilinear")
