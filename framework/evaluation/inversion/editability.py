"""Whether inverted pictures can still be edited, measured with the model's own networks alone.

A reconstruction alone says little: latents far from the generator's own give faithful pictures that
fall apart when they are edited (Tov et al. 2021; Katsumata et al. 2024).
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.drag.algorithm import drag_points
from framework.drag.settings import DragSettings
from framework.models.frozen import NOISE_MODE
from framework.models.stylegan2 import Discriminator, Generator
from framework.models.stylegan2.statistics import StyleStatistics, styles_of_seeds

Point = tuple[float, float]
POINTS_RULE = (
    "largest gradients of luminance (central differences) in the middle half of both sides, each "
    "at least an eighth of the shorter side from those before it"
)
_AT_ONCE = 16


# -------------------------------------------------------------------------------------- latents


@torch.no_grad()
def sampled_ws(generator: Generator, count: int, seed: int = 0) -> Tensor:
    """Latents of the generator's own pictures, not truncated, (count, num_ws, w_dim).

    Inverted latents are compared with them. z is drawn on the CPU; classes take turns.
    """
    return torch.cat(list(styles_of_seeds(generator, count, seed, at_once=count)))


def latent_error(ws: Tensor, true: Tensor, statistics: StyleStatistics) -> Tensor:
    """Distance of latents (N, num_ws, w_dim) from the true ones, in standard deviations of w.

    Returns:
        Root mean square over layers and coordinates, shape (N,).
    """
    apart = statistics.normalise(ws) - statistics.normalise(true)
    return apart.square().mean(dim=(1, 2)).sqrt()


def share_below(values: Sequence[float], reference: Sequence[float]) -> list[float]:
    """Share of the reference that is smaller than each value: 0.5 is typical, 1 beyond all."""
    return [sum(r < value for r in reference) / len(reference) for value in values]


# ------------------------------------------------------------------------------ drag there, back


class Return(NamedTuple):
    """A drag and the drag back, with `steps` and `status` of both.

    Attributes:
        handles: Where the points were, (x, y) in pixels.
        targets: Where the points were pulled, (x, y) in pixels.
        start: Picture before, shape (1, C, H, W); `there` after the drag, `back` after the drag
            back.
        missed_px: Mean distance of the points to their targets after the drag, as tracked.
        home_px: Mean distance of the points to their handles after the drag back, as tracked.
    """

    handles: tuple[Point, ...]
    targets: tuple[Point, ...]
    start: Tensor
    there: Tensor
    back: Tensor
    missed_px: float
    home_px: float
    steps: tuple[int, int]
    status: tuple[str, str]


def strong_points(image: Tensor, count: int = 2) -> tuple[Point, ...]:
    """Points (x, y) that a user might pull: where the middle of a picture changes most.

    They follow `POINTS_RULE`, at most `count`, strongest first, ties in reading order. The picture
    is (C, H, W) or (1, C, H, W).
    """
    grey = image.detach().float().reshape(-1, *image.shape[-2:]).mean(dim=0).cpu()
    height, width = grey.shape
    padded = F.pad(grey[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    across, down = padded[1:-1, 2:] - padded[1:-1, :-2], padded[2:, 1:-1] - padded[:-2, 1:-1]
    strength = across.square() + down.square()

    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
    free = (rows >= height // 4) & (rows < height - height // 4)
    free = free & (columns >= width // 4) & (columns < width - width // 4)
    apart_px, points = min(height, width) / 8, []
    while len(points) < count and bool(free.any()):
        y, x = divmod(int(strength.masked_fill(~free, -1.0).argmax()), width)
        points.append((float(x), float(y)))
        free = free & ((columns - x) ** 2 + (rows - y) ** 2 >= apart_px**2)
    return tuple(points)


def outward(points: Sequence[Point], size: tuple[int, int], by_px: float) -> tuple[Point, ...]:
    """Move points (x, y) straight away from the centre of a picture (H, W), but not out of it.

    A point exactly in the centre goes to the right.
    """
    middle_x, middle_y = (size[1] - 1) / 2, (size[0] - 1) / 2
    targets = []
    for x, y in points:
        away_x, away_y = x - middle_x, y - middle_y
        length = math.hypot(away_x, away_y)
        cos, sin = (away_x / length, away_y / length) if length > 0 else (1.0, 0.0)
        targets.append(_inside((x + by_px * cos, y + by_px * sin), size))
    return tuple(targets)


def there_and_back(
    generator: Generator,
    ws: Tensor,
    handles: Sequence[Point],
    by_px: float,
    settings: DragSettings,
    **networks: Any,
) -> Return:
    """Drag points (x, y) of a picture `by_px` pixels outward, then back to where they were.

    An inversion that can be edited moves, and comes back: compare the picture after both drags with
    the one before, in the units of the reconstruction. `ws` are one picture's, (1, num_ws, w_dim);
    `networks` are those that methods of dragging use, by their names in `drag_points`.

    Raises:
        InvalidEdit: If the model gives NaN for these latents.
    """
    with torch.no_grad():
        start = generator.synthesis(ws, noise_mode=NOISE_MODE)
    size = (int(start.shape[2]), int(start.shape[3]))
    targets = outward(handles, size, by_px)
    *_, there = drag_points(generator, ws, handles, targets, settings=settings, **networks)
    arrived = [_inside((float(x), float(y)), size) for x, y in there.points.tolist()]
    *_, home = drag_points(generator, there.ws, arrived, handles, settings=settings, **networks)
    with torch.no_grad():
        moved, back = (generator.synthesis(s.ws, noise_mode=NOISE_MODE) for s in (there, home))
    return Return(
        handles=tuple(handles),
        targets=targets,
        start=start,
        there=moved,
        back=back,
        missed_px=there.mean_distance_px,
        home_px=home.mean_distance_px,
        steps=(there.step, home.step),
        status=(there.status, home.status),
    )


def _inside(point: Point, size: tuple[int, int]) -> Point:
    """The nearest point inside the picture (H, W)."""
    return min(max(point[0], 0.0), size[1] - 1.0), min(max(point[1], 0.0), size[0] - 1.0)


# ---------------------------------------------------------------------------------- random edits


def random_edits(statistics: StyleStatistics, count: int, length: float, seed: int = 0) -> Tensor:
    """Random directions in W (count, w_dim), drawn on the CPU, coordinates scaled by their spread.

    `length` is their root mean square over coordinates, in standard deviations; they are meant to
    be added to all layers' latents.
    """
    shape = (count, len(statistics.w_std))
    normal = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    unit = normal / normal.square().mean(dim=1, keepdim=True).sqrt()
    return length * unit.to(statistics.w_std) * statistics.w_std


@torch.no_grad()
def realism(generator: Generator, discriminator: Discriminator, ws: Tensor) -> Tensor:
    """The discriminator's logits (N,) of the pictures of latents; higher is more like a photograph.

    Each picture is judged alone: others in a batch would change its logit.
    """
    images = [generator.synthesis(part, noise_mode=NOISE_MODE) for part in ws.split(_AT_ONCE)]
    logits = [discriminator(image[None]) for image in torch.cat(images)]
    return torch.cat(logits)[:, 0]


def realism_shifts(
    generator: Generator, discriminator: Discriminator, ws: Tensor, edits: Tensor
) -> tuple[Tensor, Tensor]:
    """How `random_edits` (K, w_dim) change a discriminator's logits of the pictures of `ws`.

    Returns:
        Logits before any edit, (N,), and the change by each edit, (N, K).
    """
    before = realism(generator, discriminator, ws)
    edited = ws[:, None] + edits[None, :, None]
    after = realism(generator, discriminator, edited.flatten(0, 1)).view(len(ws), len(edits))
    return before, after - before[:, None]
