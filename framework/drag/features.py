"""Features at image pixels, without making the features of the whole image.

The paper resizes a block's features to the image's size and samples them there. A patch needs only
a few of them: both bilinear steps (the resize, then sub-pixel sampling between the resized pixels)
are linear and separable, so a patch is two small matrix products on a box of the features.
Values and gradients equal those of resizing everything; the cost does not depend on the image.
"""

import torch
from torch import Tensor


def patches(features: Tensor, centres: Tensor, radius_px: int, img_size: tuple[int, int]) -> Tensor:
    """Square patches of features, one value per image pixel, around sub-pixel centres.

    Args:
        features: A block's features, shape (1, C, h, w).
        centres: Patch centres (x, y) in image pixels, shape (K, 2), any real numbers.
        radius_px: Patch reaches this many image pixels to each side; n = 2 · radius_px + 1.
        img_size: Image's (height, width), at least (h, w).

    Returns:
        Patches of shape (K, C, n, n). Positions outside the image repeat its border.
    """
    columns, x_weights = _taps(centres[:, 0], radius_px, features.shape[3], img_size[1])
    rows, y_weights = _taps(centres[:, 1], radius_px, features.shape[2], img_size[0])
    boxes = features[0][:, rows[:, :, None], columns[:, None, :]]
    resized_rows = torch.einsum("kyi,ckij->kycj", y_weights, boxes)
    return torch.einsum("kycj,kxj->kcyx", resized_rows, x_weights)


def inside(centres: Tensor, radius_px: int, img_size: tuple[int, int]) -> Tensor:
    """Whether each pixel of the patches around `centres` is in the image: bool, shape (K, n, n)."""
    reach = torch.arange(-radius_px, radius_px + 1, device=centres.device)
    x = centres[:, :1] + reach
    y = centres[:, 1:] + reach
    x_inside = (x >= 0) & (x <= img_size[1] - 1)
    y_inside = (y >= 0) & (y <= img_size[0] - 1)
    return y_inside[:, :, None] & x_inside[:, None, :]


def differences(window: Tensor, templates: Tensor, side: int) -> Tensor:
    """Mean |window - template| at every place of the searched square, shape (K, side, side)."""
    template_side = templates.shape[-1]
    total = window.new_zeros(len(window), side, side)
    for row in range(template_side):
        for column in range(template_side):
            part = window[:, :, row : row + side, column : column + side]
            template = templates[:, :, row, column, None, None]
            total = total + (part - template).abs().mean(dim=1)
    return total / template_side**2


def _taps(centres: Tensor, radius_px: int, size: int, image_size: int) -> tuple[Tensor, Tensor]:
    """Along one axis: the features that a patch needs, (K, m), and their weights, (K, n, m)."""
    reach = torch.arange(-radius_px, radius_px + 1, device=centres.device)
    positions = (centres[:, None] + reach).clamp(0, image_size - 1)
    before = positions.floor()
    fraction = (positions - before)[:, :, None]
    at_before = _feature_position(before, size, image_size)
    at_after = _feature_position((before + 1).clamp(max=image_size - 1), size, image_size)

    # n pixels and the neighbour of the last span n · size / image_size features; two more for the
    # bilinear neighbours at both ends. The number is the same for all points, whatever the data.
    count = min(size, -(-len(reach) * size // image_size) + 2)
    first = at_before[:, :1].floor().clamp(max=size - count)
    taps = first + torch.arange(count, device=centres.device)
    weights = (1 - fraction) * _hat(at_before[:, :, None] - taps[:, None, :])
    weights = weights + fraction * _hat(at_after[:, :, None] - taps[:, None, :])
    return taps.long(), weights


def _feature_position(pixels: Tensor, size: int, image_size: int) -> Tensor:
    """Where an image pixel's centre lies among the features (resize with align_corners=False)."""
    return ((pixels + 0.5) * (size / image_size) - 0.5).clamp(0, size - 1)


def _hat(distance: Tensor) -> Tensor:
    """Weight of a feature in linear interpolation, by its distance."""
    return (1 - distance.abs()).clamp(min=0)
