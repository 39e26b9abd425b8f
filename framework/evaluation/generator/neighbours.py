"""Nearest training pictures of generated pictures: the simplest check for memorisation.

python -m framework.evaluation neighbours --model M --data my_pictures --out nearest.png
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from framework.data import ImageDataset
from framework.data.opening import open_pictures
from framework.errors import UserError
from framework.evaluation.generator.features import open_discriminator
from framework.evaluation.generator.measure import check_fit, drawn_labels
from framework.evaluation.generator.real_statistics import pictures as pictures_of
from framework.formats import load_generator
from framework.media.images import WHITE, save_png, to_uint8
from framework.models.stylegan2 import Generator
from framework.models.stylegan2.work import synthesis_gflop
from framework.threads import use_threads

_SIDE_PX = 32
_BATCH = 64
_GAP_PX, _WIDE_GAP_PX = 2, 8
# With a matrix product, rounding would hide the differences of nearly equal pictures.
_EXACT = "donot_use_mm_for_euclid_dist"


def nearest(fakes: Tensor, reals: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Find the `count` training pictures nearest to each generated one, (·, C, H, W) in [-1, 1].

    Distance is the root mean square difference of 32 px versions, so that a pixel's shift does not
    hide a copy.

    Returns:
        Indices into `reals`, shape (N, count), nearest first, and distances, same shape.
    """
    return nearest_vectors(small(fakes), small(reals), count)


def nearest_vectors(points: Tensor, among: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Find the `count` rows of `among` (M, D) nearest to each of `points` (N, D); see `nearest`."""
    rows = [torch.cdist(p, among, compute_mode=_EXACT) for p in points.split(_BATCH)]
    distances = torch.cat(rows) / points.shape[1] ** 0.5
    closest = distances.topk(count, dim=1, largest=False)
    return closest.indices, closest.values


def nearest_other(reals: Tensor, picks: Tensor) -> Tensor:
    """Distance of each training picture in `picks` to the nearest other, shape (len(picks),)."""
    _, distances = nearest(reals[picks], reals, 2)
    return distances[:, 1]


def small(images: Tensor) -> Tensor:
    """Flattened 32 px versions of pictures (N, C, H, W), shape (N, C * 32 * 32)."""
    return F.adaptive_avg_pool2d(images, _SIDE_PX).flatten(1)


def neighbours(
    model: str,
    data: str,
    out: str,
    pictures: int = 16,
    first_seed: int = 0,
    count: int = 5,
    space: Literal["pixels", "features"] = "pixels",
    features: str = "features64",
    psi: float = 1.0,
    crop: Literal["center", "pad", "stretch"] = "center",
) -> dict[str, Any]:
    """Show generated pictures, each beside its nearest training pictures.

    A generator that memorised pictures shows the same picture twice in a row, and its pictures are
    much nearer to the training pictures than those are to each other.

    Args:
        model: Shipped model, model folder, checkpoint or other program's file.
        data: The pictures it was trained on: folder, zip, toycars or local shards (shards:FOLDER).
        out: PNG file to write; each row is a generated picture, a gap and its neighbours.
        pictures: Number of generated pictures.
        first_seed: Seed of the first picture; the others follow.
        count: Number of neighbours of each picture.
        space: Space of the distance: `pixels` of 32 px versions, or `features`.
        features: Model whose discriminator computes the features.
        psi: Truncation; 1 for none.
        crop: How the training pictures were brought to the model's shape.

    Returns:
        The facts that are printed: median distances, and the closest pair of all.

    Raises:
        UserError: If model and pictures do not fit, or there are too few pictures.
    """
    generator = load_generator(model)
    use_threads(synthesis_gflop(generator, pictures))
    dataset = open_pictures(
        data, generator.img_size, generator.img_channels, generator.c_dim > 0, crop
    )
    check_fit(generator, dataset, f"--model {model}", "give what it was trained on")
    if not 0 < count < len(dataset) or pictures < 1:
        raise UserError(
            f"--count {count}, --pictures {pictures}: at least 1, and --count below the "
            f"{len(dataset)} training pictures"
        )
    shown = draw_seeds(generator, dataset, range(first_seed, first_seed + pictures), psi)
    look = _looker(space, features)
    fake = look(torch.from_numpy(shown).permute(0, 3, 1, 2))
    real = _table(dataset, look)
    index, distance = nearest_vectors(fake, real, count)
    some = torch.randperm(len(real), generator=torch.Generator().manual_seed(0))[:256]
    _, among_reals = nearest_vectors(real[some], real, 2)
    _save_sheet(Path(out), shown, dataset, index)

    worst = int(distance[:, 0].argmin())
    picked = int(index[worst, 0])
    return {
        "space": space if space == "pixels" else f"features of {features}",
        "median_to_training": round(distance[:, 0].median().item(), 4),
        "median_between_training": round(among_reals[:, 1].median().item(), 4),
        "nearest_pair": {
            "seed": first_seed + worst,
            "picture": dataset.name(picked),
            "distance": round(distance[worst, 0].item(), 4),
        },
        "out": out,
    }


@torch.no_grad()
def draw_seeds(generator: Generator, dataset: ImageDataset, seeds: range, psi: float) -> np.ndarray:
    """Pictures of seeds by the field's convention, uint8 (N, H, W, C), labels as in `dataset`."""
    z = np.concatenate([np.random.RandomState(s).randn(1, generator.z_dim) for s in seeds])
    parts = torch.from_numpy(z).float().split(_BATCH)
    labels = drawn_labels(dataset, len(seeds), seeds[0], "seeds").split(_BATCH)
    images = [generator(a, b, truncation_psi=psi) for a, b in zip(parts, labels, strict=True)]
    return to_uint8(torch.cat(images))


def _looker(space: str, features: str) -> Callable[[Tensor], Tensor]:
    """The function from uint8 pictures (N, C, H, W) to the vectors that are compared."""
    if space == "pixels":
        return lambda pictures: small(pictures.float() / 127.5 - 1)
    return open_discriminator(features)


def _table(dataset: ImageDataset, look: Callable[[Tensor], Tensor]) -> Tensor:
    """Vectors of all training pictures, shape (M, D)."""
    every = [list(range(i, min(i + _BATCH, len(dataset)))) for i in range(0, len(dataset), _BATCH)]
    return torch.cat([look(pictures_of(dataset, part)) for part in every])


def _save_sheet(path: Path, fakes: np.ndarray, dataset: ImageDataset, index: Tensor) -> None:
    """Write the rows: a generated picture, a wide gap, its neighbours."""
    rows = []
    for fake, near in zip(fakes, index.tolist(), strict=True):
        tiles = [fake, *(dataset.image(i).transpose(1, 2, 0) for i in near)]
        gaps = [_WIDE_GAP_PX] + [_GAP_PX] * len(near)
        padded = [_padded(tile, gap) for tile, gap in zip(tiles, gaps, strict=True)]
        rows.append(np.concatenate(padded, axis=1))
    save_png(path, np.concatenate(rows))


def _padded(tile: np.ndarray, right_px: int) -> np.ndarray:
    """A picture (H, W, C) with white at its right and below."""
    return np.pad(tile, ((0, _GAP_PX), (0, right_px), (0, 0)), constant_values=WHITE)
