"""How close a reconstruction is to its photograph, in numbers with their protocol.

Published numbers of one model differ by a factor of two between papers, because of the range of the
values, the peak, the size and the rounding; `protocol` states them.
"""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from framework.errors import UserError

Box = tuple[int, int, int, int]
SSIM_WINDOW_PX = 11
# Shortest side for which torchmetrics takes so many scales, and the scales' weights from fine to
# coarse (Wang et al. 2003: five; three for pictures that are too small for five).
_SCALES = (
    (176, (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)),
    (44, (0.2096, 0.4659, 0.3245)),
    (0, (1.0,)),
)


def mse_pm1(a: Tensor, b: Tensor, box: Box | None = None) -> Tensor:
    """Mean squared error of values in [-1, 1], as most inversion papers print it ("L2").

    Args:
        a: Pictures (N, C, H, W) in [-1, 1]; values outside are clamped, as in a file.
        b: Other pictures, same shape.
        box: Valid box (left, top, right, bottom), half-open pixels; the whole picture if None.

    Returns:
        Error of each picture, shape (N,).
    """
    a, b = _shown(a, b, box)
    return (a - b).square().mean(dim=(1, 2, 3))


def mse01(a: Tensor, b: Tensor, box: Box | None = None) -> Tensor:
    """Mean squared error of values in [0, 1], a quarter of `mse_pm1`; arguments as there."""
    return mse_pm1(a, b, box) / 4


def psnr(a: Tensor, b: Tensor, box: Box | None = None) -> Tensor:
    """Peak signal-to-noise ratio in dB, 10 log10(peak^2 / mse), peak 1 on [0, 1].

    That is peak 2, peak^2 = 4, on [-1, 1]; numbers that use 2 / mse are 3.01 dB too low. Infinite
    for equal pictures. Arguments as in `mse_pm1`.
    """
    return -10 * mse01(a, b, box).log10()


def ssim(a: Tensor, b: Tensor, box: Box | None = None) -> Tensor:
    """Structural similarity (Wang et al. 2004) on [0, 1], torchmetrics'.

    Arguments as in `mse_pm1`.

    Raises:
        UserError: If the compared area is smaller than half the window.
    """
    a, b = _from_black(*_shown(a, b, box))
    if min(a.shape[2:]) <= SSIM_WINDOW_PX // 2:
        raise UserError(f"pictures of {a.shape[3]}x{a.shape[2]} px are too small for SSIM")
    similarity = _library().structural_similarity_index_measure(
        a, b, data_range=1.0, reduction="none"
    )
    assert isinstance(similarity, Tensor)
    return similarity


def ms_ssim(a: Tensor, b: Tensor, box: Box | None = None) -> Tensor:
    """Structural similarity at as many scales as the size allows; see `scales`.

    Wang et al. 2003, torchmetrics'. The usual five scales need sides of 176 px; below, three scales
    give another number, and `protocol` says which it is. Arguments as in `mse_pm1`.
    """
    weights = scales(a.shape[2:], box)
    if len(weights) == 1:
        return ssim(a, b, box)
    a, b = _from_black(*_shown(a, b, box))
    return _library().multiscale_structural_similarity_index_measure(
        a, b, data_range=1.0, betas=weights, reduction="none"
    )


def _library() -> Any:
    """Torchmetrics' measures, which are slow to import, and not needed by most."""
    return import_module("torchmetrics.functional.image")


def scales(size: tuple[int, ...] | torch.Size, box: Box | None = None) -> tuple[float, ...]:
    """Weights of `ms_ssim`'s scales for pictures of (H, W) px, from fine to coarse."""
    side = min(size) if box is None else min(box[2] - box[0], box[3] - box[1])
    return next(weights for least, weights in _SCALES if side >= least)


def protocol(size: tuple[int, int], box: Box | None = None) -> dict[str, Any]:
    """How this module computes its numbers for pictures of (H, W) px; JSON values."""
    weights = scales(size, box)
    return {
        "size": f"{size[1]}x{size[0]}",
        "valid_box": list(box) if box else None,
        "values": "float32, clamped to [-1, 1], not rounded",
        "mse_pm1": "of values in [-1, 1]",
        "mse01": "of values in [0, 1], a quarter of mse_pm1",
        "psnr": "dB, peak 1 on values in [0, 1]",
        "ssim": f"on [0, 1], Gaussian {SSIM_WINDOW_PX}x{SSIM_WINDOW_PX}, sigma 1.5, channels' mean",
        "ms_ssim": {"scales": len(weights), "weights": list(weights)},
        "library": "torchmetrics (ssim, ms_ssim)",
    }


def _shown(a: Tensor, b: Tensor, box: Box | None) -> tuple[Tensor, Tensor]:
    """Both sets of pictures as a file would show them, cut to the box."""
    if a.shape != b.shape:
        raise UserError(f"pictures of {tuple(a.shape)} and {tuple(b.shape)} cannot be compared")
    height, width = a.shape[2:]
    left, top, right, bottom = box or (0, 0, width, height)
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise UserError(f"valid box {box}: not inside pictures of {width}x{height} px")
    first, second = (x[:, :, top:bottom, left:right].float().clamp(-1, 1) for x in (a, b))
    return first, second


def _from_black(*pictures: Tensor) -> Iterator[Tensor]:
    """Convert values to [0, 1]: SSIM compares brightness, and on [-1, 1] pictures differ more."""
    return ((x + 1) / 2 for x in pictures)
