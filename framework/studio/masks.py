"""Masks as messages: a bit a pixel, row by row, as base64."""

import base64
import binascii

import numpy as np
import torch

from framework.studio.messages import BadMessage


def pack(mask: torch.Tensor | None) -> str | None:
    """Return a mask (H, W) as `messages.SetMask` has it."""
    if mask is None:
        return None
    return base64.b64encode(np.packbits(mask.cpu().numpy() >= 0.5).tobytes()).decode()


def unpack(bits: str, size: tuple[int, int]) -> np.ndarray:
    """Read a mask (H, W), float32, from `messages.SetMask`.

    Raises:
        BadMessage: If it is not as many bits as the picture has pixels.
    """
    try:
        data = base64.b64decode(bits, validate=True)
    except (binascii.Error, ValueError):
        raise BadMessage("SetMask.bits: not what is expected there") from None
    height, width = size
    if len(data) != (height * width + 7) // 8:
        raise BadMessage(f"SetMask.bits: not a mask of {width}x{height} pixels")
    flat = np.unpackbits(np.frombuffer(data, np.uint8))[: height * width]
    return flat.reshape(height, width).astype(np.float32)
