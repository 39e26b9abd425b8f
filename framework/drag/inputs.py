"""The inputs of a drag, checked against the model before anything is computed."""

import warnings
from typing import Any

import torch
from torch import Tensor

from framework.drag.interface import Drag, Draggable
from framework.drag.points import Point, check_points
from framework.errors import InvalidEdit


def check_drag(
    draggable: Draggable, state: Any, handles: Any, targets: Any, mask: Any = None
) -> Drag:
    """Check all inputs of a drag (described in `drag_points`).

    Raises:
        InvalidEdit: If state, points or mask do not fit the model.
    """
    handles, targets = check_points(handles, targets, draggable.img_size)
    start = draggable.own(state)
    mask = check_mask(mask, draggable.img_size, handles)
    like = draggable.trainable(start)
    where = {"device": like.device, "dtype": like.dtype}
    return Drag(
        start=start,
        handles=torch.tensor(handles, **where),
        targets=torch.tensor(targets, **where),
        mask=None if mask is None else mask.to(**where),
    )


def check_mask(mask: Any, img_size: tuple[int, int], handles: list[Point]) -> Tensor | None:
    """Check a mask: shape (H, W), values 0 to 1, 1 = may change; True and False are fine.

    Returns:
        A float tensor (H, W), or None if there is no mask.

    Raises:
        InvalidEdit: If size or values do not fit (a mask is never resized here), or all is zero.
    """
    if mask is None:
        return None
    try:
        mask = torch.as_tensor(mask)
    except (TypeError, ValueError, RuntimeError):
        raise InvalidEdit(f"mask {type(mask).__name__}: expected numbers (H, W)") from None
    if tuple(mask.shape) != tuple(img_size):
        raise InvalidEdit(
            f"mask {tuple(mask.shape)}: expected the picture's (height, width) {tuple(img_size)}"
        )
    if mask.is_complex():
        raise InvalidEdit("mask: expected numbers from 0 to 1, got complex ones")
    mask = mask.detach().to(torch.float32)
    if not bool(((mask >= 0) & (mask <= 1)).all()):  # also false for NaN
        raise InvalidEdit("mask: values must be from 0 (stays) to 1 (may change)")
    if not bool(mask.any()):
        raise InvalidEdit("mask: all zero, nothing may change; give 1 to what may, or no mask")
    for i, (x, y) in enumerate(handles):
        if mask[round(y), round(x)] == 0:
            warnings.warn(f"handle {i} ({x:g}, {y:g}) lies where the mask is 0", stacklevel=2)
    return mask
