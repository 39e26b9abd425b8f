"""Where everything in a picture goes: dense optical flow, chained along a path of pictures.

OpenCV's DIS (Kroeger et al. 2016) follows every pixel from a picture to the next one of a path
whose latents change little by little. On paths of toy cars it was nearer to a judge of key points
than matched features of the generator, in a tenth of the time (docs/drag.md).
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from framework.errors import UserError

try:
    import cv2
except ImportError:  # an extra: `check_opencv` says so
    cv2 = None

FINEST_SCALE = 0  # the whole picture's resolution: these are small
SIDE_PX = 128  # larger pictures are reduced to about this side first
LEAST_SIDE_PX = 16


def check_opencv() -> None:
    """Refuse to go on without OpenCV.

    Raises:
        UserError: Saying what to install.
    """
    if cv2 is None:
        raise UserError("optical flow needs OpenCV: pip install 'dragline[editor]'")


def check_size(img_size: tuple[int, int]) -> None:
    """Refuse pictures, (height, width), that are too small to follow anything in.

    Raises:
        UserError: If a side is shorter than `LEAST_SIDE_PX`.
    """
    if min(img_size) < LEAST_SIDE_PX:
        height, width = img_size
        raise UserError(f": pictures of {width}x{height} px are too small, give a model of at least"
                        f" {LEAST_SIDE_PX} px", "generator")  # fmt: skip


def grey_of(pictures: Tensor) -> np.ndarray:
    """Pictures (N, C, H, W) in [-1, 1] in grey, uint8 (N, h, w), reduced to about `SIDE_PX`."""
    factor = max(1, max(pictures.shape[2:]) // SIDE_PX)
    grey = F.avg_pool2d(pictures.mean(dim=1, keepdim=True).clamp(-1, 1), factor)
    return ((grey[:, 0] + 1) * 127.5).round().to("cpu", torch.uint8).numpy()


def flow(before: np.ndarray, after: np.ndarray) -> Tensor:
    """Follow each pixel of grey pictures, uint8 (N, h, w): moves (dx, dy), (N, 2, h, w)."""
    check_opencv()
    cv2.setNumThreads(1)  # type: ignore[union-attr]  # equal on every machine
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # type: ignore[union-attr]
    dis.setFinestScale(FINEST_SCALE)
    moves = [dis.calc(*pair, None) for pair in zip(before, after, strict=True)]  # type: ignore[call-overload]
    return torch.from_numpy(np.stack(moves)).permute(0, 3, 1, 2).contiguous()


def chained(flows: Sequence[Tensor]) -> Tensor:
    """Chain flows, (N, 2, H, W) each: every one is read where those before it end."""
    moves = flows[0]
    for each in flows[1:]:
        moves = moves + sampled(each, ends(moves))
    return moves


def ends(moves: Tensor) -> Tensor:
    """Where a flow, (N, 2, H, W), takes each pixel: (x, y), shape (N, H, W, 2)."""
    height, width = moves.shape[2:]
    like = {"device": moves.device, "dtype": moves.dtype}
    rows, columns = torch.meshgrid(
        torch.arange(height, **like), torch.arange(width, **like), indexing="ij"
    )
    return torch.stack([columns, rows], dim=-1) + moves.permute(0, 2, 3, 1)


def sampled(maps: Tensor, places: Tensor) -> Tensor:
    """Read maps (N, C, H, W) at places (x, y) in their pixels, (N, A, B, 2): (N, C, A, B)."""
    height, width = maps.shape[2:]
    last = places.new_tensor([max(width - 1, 1), max(height - 1, 1)])
    return F.grid_sample(maps, places / last * 2 - 1, padding_mode="border", align_corners=True)


def zoom(moves: Tensor) -> Tensor:
    """How much a flow widens what is around each pixel: the log of the scale, (N, H, W).

    Half its divergence, by differences across four pixels.

    Args:
        moves: A flow, shape (N, 2, H, W).
    """
    padded = F.pad(moves, [2] * 4, mode="replicate")
    across = padded[:, 0, 2:-2, 4:] - padded[:, 0, 2:-2, :-4]
    down = padded[:, 1, 4:, 2:-2] - padded[:, 1, :-4, 2:-2]
    return ((across + down) / 8).clamp(-0.5, 1).log1p()
